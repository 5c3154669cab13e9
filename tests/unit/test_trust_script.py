"""The exported script, run by dash below a directory of the test's own, with chosen programs on PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca
from regsetup.trust.base import Registry
from regsetup.trust.export import script
from tests.bed.run import need

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    Registries: TypeAlias = Registry | list[Registry]

pytestmark = pytest.mark.slow
ADDRESS = "registry.lan:5000"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
CA = new_ca("registry", Names.of(["registry.lan"]), NOW).certificate
SECURE, PLAIN = Registry(ADDRESS, CA), Registry(ADDRESS, None)
MIRRORS = [
    Registry(ADDRESS, CA, mirror=f"https://{ADDRESS}"),
    Registry(ADDRESS, None, mirror=f"http://{ADDRESS}"),
]
SEVERAL = [PLAIN, Registry("10.0.0.5:5000", None), Registry("[fd00::5]:5000", None)]
TOOLS = (
    *("cat", "mv", "cp", "mkdir", "rmdir", "dirname", "tr", "cmp"),
    *("sort", "grep", "readlink", "id", "chmod", "rm", "sleep"),
)
PYTHON = f"{sys.base_exec_prefix}/bin/python3"
CLIENTS = ("dockerd", "podman", "containerd", "update-ca-certificates")
each_registry = pytest.mark.parametrize(
    "registry",
    [SECURE, PLAIN, *MIRRORS, SEVERAL, [Registry(one.address, CA) for one in SEVERAL]],
    ids=["tls", "plain", "tls-mirror", "plain-mirror", "plain-several", "tls-several"],
)


def text_of(registries: Registries) -> str:
    return script(registries if isinstance(registries, list) else [registries], NOW)


class Host:
    """A directory that the script takes for /, and the programs that it finds."""

    def __init__(self, directory: Path) -> None:
        self.shell = [need("dash")]
        self.root = directory / "root"
        self._bin = directory / "bin"
        self._bin.mkdir()
        (self.root / "var" / "lib").mkdir(parents=True)
        for tool in TOOLS:
            self.install(need(tool))
        for client in CLIENTS:
            (self._bin / client).write_text("#!/bin/sh\nexit 97\n")
            (self._bin / client).chmod(0o755)

    def install(self, program: str) -> None:
        (self._bin / os.path.basename(program)).symlink_to(program)  # noqa: PTH119

    def uninstall(self, program: str) -> None:
        (self._bin / program).unlink()

    def sh(self, registry: Registries, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.shell, "-s", "--", *args],
            input=text_of(registry),
            capture_output=True,
            text=True,
            env={"PATH": str(self._bin), "ROOT": str(self.root), **env},
            check=False,
        )

    def put(self, path: str, content: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    def tree(self) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.install(PYTHON)
    return made


@each_registry
def test_the_script_is_clean_for_shellcheck(registry: Registries) -> None:
    done = subprocess.run(
        [need("shellcheck"), "--shell=sh", "-"],
        input=text_of(registry),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("editor", ["python3", "jq"])
@each_registry
def test_install_then_remove_leaves_no_trace(host: Host, registry: Registries, editor: str) -> None:
    if editor == "jq":
        host.uninstall("python3")
        host.install(need("jq"))
        host.shell = [need("busybox"), "sh"]  # Alpine's
    host.put("etc/docker/daemon.json", '{"debug":true}')
    before = host.tree()
    done = host.sh(registry)
    assert done.returncode == 0, done.stderr
    assert f"docker: trusts {ADDRESS}" in done.stderr
    installed = host.tree()
    assert host.sh(registry).returncode == 0
    assert host.tree() == installed
    assert host.sh(registry, "--status").returncode == 0
    done = host.sh(registry, "--remove")
    assert done.returncode == 0, done.stderr
    assert host.tree() == before
    assert "nothing of ours" in host.sh(registry, "--remove").stderr


def test_every_client_gets_the_ca(host: Host) -> None:
    host.sh(SECURE)
    for path in (
        f"etc/docker/certs.d/{ADDRESS}/ca.crt",
        f"etc/containers/certs.d/{ADDRESS}/ca.crt",
        f"etc/containerd/certs.d/{ADDRESS}/ca.crt",
        "usr/local/share/ca-certificates/regsetup-registry.lan-5000.crt",
    ):
        assert (host.root / path).read_bytes() == CA
    hosts = tomllib.loads((host.root / f"etc/containerd/certs.d/{ADDRESS}/hosts.toml").read_text())
    assert hosts["ca"] == f"/etc/containerd/certs.d/{ADDRESS}/ca.crt"


@pytest.mark.parametrize("editor", ["python3", "jq"])
def test_daemon_json_names_every_address_and_the_mirror(host: Host, editor: str) -> None:
    if editor == "jq":
        host.uninstall("python3")
        host.install(need("jq"))
    path = host.put("etc/docker/daemon.json", '{"registry-mirrors": ["https://theirs"]}')
    url = f"http://{ADDRESS}"
    both = [replace(SEVERAL[0], mirror=url), *SEVERAL[1:]]
    host.sh(both)
    assert json.loads(path.read_text()) == {
        "registry-mirrors": ["https://theirs", url],
        "insecure-registries": [one.address for one in SEVERAL],
    }
    done = host.sh([*both, Registry("late.lan:5000", None)], "--status")
    assert (done.returncode, "docker: does not trust late.lan:5000" in done.stdout) == (3, True)
    path.write_text(path.read_text().replace("https://theirs", "https://others"))
    assert host.sh(both, "--remove").returncode == 0
    assert json.loads(path.read_text()) == {"registry-mirrors": ["https://others"], "insecure-registries": []}


def test_rhel_keeps_its_cas_elsewhere(host: Host) -> None:
    host.uninstall("update-ca-certificates")
    host.install("/bin/true")
    (host.root.parent / "bin" / "update-ca-trust").symlink_to("/bin/true")
    host.sh(SECURE, "--for", "system")
    anchors = host.root / "etc" / "pki" / "ca-trust" / "source" / "anchors"
    assert (anchors / "regsetup-registry.lan-5000.crt").read_bytes() == CA
    assert not (host.root / "etc" / "docker").exists()


@pytest.mark.parametrize("editor", ["python3", "jq"])
@pytest.mark.parametrize(
    "original",
    ['{"debug":   true}', '{\n\t"insecure-registries": ["a"]\n}', "", '{"insecure-registries": null}\n'],
)
def test_daemon_json_is_edited_and_given_back_to_the_byte(host: Host, editor: str, original: str) -> None:
    if editor == "jq":
        host.uninstall("python3")
        host.install(need("jq"))
    path = host.put("etc/docker/daemon.json", original)
    path.chmod(0o640)
    done = host.sh(PLAIN)
    assert done.returncode == 0, done.stderr
    old = json.loads(original or "{}")
    entries = [*(old.get("insecure-registries") or []), ADDRESS]
    assert json.loads(path.read_text()) == {**old, "insecure-registries": entries}
    assert path.stat().st_mode & 0o777 == 0o640
    host.sh(PLAIN, "--remove")
    assert path.read_text() == original
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("editor", ["python3", "jq"])
def test_what_others_changed_in_daemon_json_since_stays(host: Host, editor: str) -> None:
    if editor == "jq":
        host.uninstall("python3")
        host.install(need("jq"))
    path = host.put("etc/docker/daemon.json", "{}")
    host.sh(PLAIN)
    path.write_text(json.dumps({"debug": True, "insecure-registries": [ADDRESS, "theirs"]}))
    assert host.sh(PLAIN, "--remove").returncode == 0
    assert json.loads(path.read_text()) == {"debug": True, "insecure-registries": ["theirs"]}


def test_a_kill_between_the_two_writes_of_a_removal_still_gives_back_the_bytes(host: Host) -> None:
    path = host.put("etc/docker/daemon.json", '{"debug":true}')
    host.sh(PLAIN)
    path.write_text('{\n  "debug": true,\n  "insecure-registries": []\n}\n')
    host.sh(PLAIN, "--remove")
    assert path.read_text() == '{"debug":true}'


@pytest.mark.parametrize("editor", ["python3", "jq"])
@pytest.mark.parametrize("broken", ['{"debug": true,}', "[]", '{"insecure-registries": 1}'])
def test_a_broken_daemon_json_stays_and_is_said(host: Host, editor: str, broken: str) -> None:
    if editor == "jq":
        host.uninstall("python3")
        host.install(need("jq"))
    path = host.put("etc/docker/daemon.json", broken)
    done = host.sh(PLAIN, "--for", "docker")
    assert done.returncode == 1
    assert "can't be read; it stays as it is" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == broken


def test_without_python_and_jq_it_says_what_to_type_and_edits_nothing(host: Host) -> None:
    host.uninstall("python3")
    path = host.put("etc/docker/daemon.json", "{}")
    done = host.sh(PLAIN)
    assert done.returncode == 1
    assert f'add "{ADDRESS}" to "insecure-registries"' in done.stderr
    assert path.read_text() == "{}"
    assert host.sh(PLAIN, "--status").returncode == 3


def test_a_symbolic_link_stays_one(host: Host) -> None:
    real = host.put("srv/daemon.json", "{}")
    (host.root / "etc" / "docker").mkdir(parents=True)
    (host.root / "etc" / "docker" / "daemon.json").symlink_to(real)
    host.sh(PLAIN)
    assert ADDRESS in real.read_text()
    host.sh(PLAIN, "--remove")
    assert real.read_text() == "{}"
    assert (host.root / "etc" / "docker" / "daemon.json").is_symlink()


def test_a_file_that_somebody_replaced_is_left_and_said(host: Host) -> None:
    host.sh(SECURE)
    theirs = host.put(f"etc/containers/certs.d/{ADDRESS}/ca.crt", "theirs")
    done = host.sh(SECURE, "--remove")
    assert done.returncode == 1
    assert "was changed since, and stays" in done.stderr
    assert theirs.read_text() == "theirs"
    assert not (host.root / "etc" / "docker").exists()


def test_a_dockerd_with_the_flag_is_left_alone(host: Host) -> None:
    """A process of that command line stands in for it: the script looks nowhere else."""
    with subprocess.Popen(["--insecure-registry=x", "60"], executable=need("sleep")) as running:
        host.put("var/run/docker.pid", f"{running.pid}\n")
        done = host.sh(PLAIN, "--for", "docker")
        running.kill()
    assert done.returncode == 1
    assert "command line" in done.stderr
    assert not (host.root / "etc" / "docker" / "daemon.json").exists()


def test_status_names_who_lacks_it(host: Host) -> None:
    host.sh(SECURE, "--for", "docker,podman")
    done = host.sh(SECURE, "--status")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"docker: trusts {ADDRESS}",
        f"podman: trusts {ADDRESS}",
        f"containerd: does not trust {ADDRESS}",
        f"system: does not trust {ADDRESS}",
    ]


@pytest.mark.parametrize("args", [["--install"], ["--for"], ["--for", "docker,cri-o"], ["x"]])
def test_wrong_usage_changes_nothing(host: Host, args: list[str]) -> None:
    before = host.tree()
    done = host.sh(SECURE, *args)
    assert (done.returncode, done.stderr[:6]) == (2, "usage:")
    assert host.tree() == before


def test_it_wants_root_where_root_is_needed(host: Host) -> None:
    host.uninstall("id")
    (host.root.parent / "bin" / "id").write_text("#!/bin/sh\necho 1000\n")
    (host.root.parent / "bin" / "id").chmod(0o755)
    done = host.sh(SECURE, ROOT="")
    assert done.returncode == 1
    assert "sudo" in done.stderr


@pytest.mark.parametrize("lines", [50, 200, -2])
def test_a_script_that_was_cut_on_its_way_does_nothing(host: Host, lines: int) -> None:
    before = host.tree()
    cut = "".join(script([SECURE], NOW).splitlines(keepends=True)[:lines])
    subprocess.run(
        [need("dash")],
        input=cut,
        text=True,
        capture_output=True,
        env={"PATH": str(host.root.parent / "bin"), "ROOT": str(host.root)},
        check=False,
    )
    assert host.tree() == before


def test_a_ca_without_final_line_end_is_embedded_whole(host: Host) -> None:
    host.sh(Registry(ADDRESS, CA.rstrip()))
    assert (host.root / f"etc/docker/certs.d/{ADDRESS}/ca.crt").read_bytes() == CA
