"""The text of the systemd unit; tests/contract/test_systemd.py shows that systemd reads it as meant."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.backends import unit
from regsetup.deployment import RestartPolicy
from regsetup.observed import Spec


def a_unit(**changes: Any) -> str:
    values: dict[str, Any] = {
        "name": "registry",
        "identity": "0123456789ab",
        "root": Path("/var/lib/regsetup/registry"),
        "log": Path("/var/lib/regsetup/registry/registry.log"),
        "data": Path("/srv/images"),
        "spec": Spec({"port": "5000"}),
        "argv": ("/opt/venv/bin/python", "-m", "regsetup", "serve", "--realm", "A 100% $afe Registry"),
        "env": (("HTTPS_PROXY", "http://proxy:3128"),),
        "restart": RestartPolicy.UNLESS_STOPPED,
        "system": True,
    }
    return unit.text(**(values | changes))


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if "=" in line]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("serve", "serve"),
        ("/a-b/c_d.e", "/a-b/c_d.e"),
        ("", '""'),
        ("two words", '"two words"'),
        ("100%", "100%%"),
        ('a "b" \\ c', '"a \\"b\\" \\\\ c"'),
        ("two\nlines", '"two\\nlines"'),
        (";", '";"'),
        ("$HOME", "$HOME"),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert unit.quote(word) == written


def test_dollars_are_doubled_on_a_command_line_only() -> None:
    assert unit.quote("$HOME", dollars=True) == "$$HOME"
    assert unit.quote("a $HOME", dollars=True) == '"a $$HOME"'


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_quoted_word_stays_one_line_and_can_be_read_back(word: str) -> None:
    written = unit.quote(word, dollars=True)
    inside = written[1:-1] if written.startswith('"') else written
    plain = inside.replace("%%", "%").replace("$$", "$").replace('\\"', '"').replace("\\\\", "\\")
    assert plain == word
    assert written.startswith('"') or " " not in written


def test_a_system_unit_is_shut_off_but_for_its_data() -> None:
    lines = settings(a_unit())
    assert 'ExecStart=/opt/venv/bin/python -m regsetup serve --realm "A 100%% $$afe Registry"' in lines
    assert "Environment=HTTPS_PROXY=http://proxy:3128" in lines
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ReadWritePaths=/srv/images",
        "PrivateTmp=yes",
        "StandardOutput=journal",
        "LogExtraFields=REGSETUP_ID=0123456789ab",
        "TimeoutStopSec=20",
        "WantedBy=multi-user.target",
    ):
        assert line in lines


def test_a_users_unit_has_only_what_a_users_systemd_can_do() -> None:
    lines = settings(a_unit(system=False))
    assert "StandardOutput=append:/var/lib/regsetup/registry/registry.log" in lines
    assert "WantedBy=default.target" in lines
    assert "NoNewPrivileges=yes" in lines
    assert not [line for line in lines if line.startswith(("Protect", "Private", "ReadWrite", "Capability"))]


@pytest.mark.parametrize("hidden", ["data", "root", "interpreter"])
def test_what_lies_in_tmp_is_not_hidden_by_a_private_one(hidden: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "data": {"data": Path("/tmp/images")},
        "root": {"root": Path("/var/tmp/registry")},
        "interpreter": {"argv": ("/tmp/venv/bin/python", "serve")},
    }
    assert "PrivateTmp=yes" not in settings(a_unit(**changes[hidden]))


@pytest.mark.parametrize(
    ("policy", "restart"),
    [("no", "no"), ("on-failure", "on-failure"), ("unless-stopped", "always"), ("always",) * 2],
)
def test_dockers_restart_policies_are_translated(policy: str, restart: str) -> None:
    assert f"Restart={restart}" in settings(a_unit(restart=RestartPolicy(policy)))


def test_marks_are_read_back() -> None:
    spec = Spec({"port": "5000", "env A": "b\n=c"})
    assert unit.marks(a_unit(spec=spec)) == (Path("/var/lib/regsetup/registry"), spec)


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "[Unit]\nDescription=nginx\n",
        "X-RegsetupRoot=\nX-RegsetupSpec={",
        "X-RegsetupRoot=1\nX-RegsetupSpec={}",
    ],
)
def test_units_of_others_have_no_marks(foreign: str) -> None:
    assert unit.marks(foreign) is None


@pytest.mark.parametrize("system", [True, False])
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, *, system: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "regsetup-registry.service"
    path.write_text(a_unit(system=system, argv=(sys.executable, "a b", "$x %n")))
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    verify = ["systemd-analyze", "verify", "--man=no", *([] if system else ["--user"]), str(path)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env=env)
    assert [line for line in done.stderr.splitlines() if path.name in line] == []
    path.write_text(a_unit(system=system, argv=("/no/such/program",)) + "Nonsense=1\n")
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env=env)
    assert "/no/such/program" in done.stderr
    assert "Nonsense" in done.stderr
