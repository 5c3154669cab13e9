"""The exported script, run by dash below a directory of the test's own, with chosen programs on PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regsetup import templating
from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca
from regsetup.errors import RegsetupError
from regsetup.host.daemon_json import (
    INSECURE,
    MIRRORS,
    DaemonJsonUnreadable,
    Entry,
    add,
    entries,
    remove,
    withdraw,
)
from regsetup.trust import install as work
from regsetup.trust.base import Client, Registry
from regsetup.trust.buildkit import Buildkit
from regsetup.trust.clients import UnknownClient
from regsetup.trust.containerd import Containerd
from regsetup.trust.export import script
from regsetup.trust.k3s import K3s
from regsetup.trust.podman import Podman
from tests.bed.daemon_texts import texts
from tests.bed.ledger import MemoryLedger
from tests.bed.run import need
from tests.unit.test_trust_clients import docker, toml_texts, yaml_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Registries: TypeAlias = Registry | list[Registry]

pytestmark = pytest.mark.slow
ADDRESS = "registry.lan:5000"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
CA = new_ca("registry", Names.of(["registry.lan"]), NOW).certificate
SECURE, PLAIN = Registry(ADDRESS, CA), Registry(ADDRESS, None)
CACHES = [
    Registry(ADDRESS, CA, mirror=f"https://{ADDRESS}"),
    Registry(ADDRESS, None, mirror=f"http://{ADDRESS}"),
]
SEVERAL = [PLAIN, Registry("10.0.0.5:5000", None), Registry("[fd00::5]:5000", None)]
TOOLS = (
    *("cat", "mv", "cp", "mkdir", "rmdir", "dirname", "tr", "cmp"),
    *("sort", "grep", "readlink", "id", "chmod", "rm", "sleep", "awk", "sed", "date", "head", "ls", "uname"),
    *("tail",),
)
AWKS = [one for one in ("mawk", "gawk", "original-awk", "busybox") if shutil.which(one)]
each_awk = pytest.mark.parametrize("awk", AWKS)
CLIENTS = ("dockerd", "podman", "containerd", "update-ca-certificates")
each_registry = pytest.mark.parametrize(
    "registry",
    [SECURE, PLAIN, *CACHES, SEVERAL, [Registry(one.address, CA) for one in SEVERAL]],
    ids=["tls", "plain", "tls-mirror", "plain-mirror", "plain-several", "tls-several"],
)


def text_of(registries: Registries) -> str:
    return script(registries if isinstance(registries, list) else [registries], NOW)


class Host:
    """A directory that the script takes for /, and the programs that it finds."""

    def __init__(self, directory: Path) -> None:
        self.shell = [need("dash")]
        self.root = directory / "root"
        self.env = {"ROOT": str(self.root)}
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

    def use_awk(self, awk: str) -> None:
        """Let it be the machine's; with busybox, Alpine's shell is too."""
        self.uninstall("awk")
        (self._bin / "awk").symlink_to(need(awk))
        if awk == "busybox":
            self.shell = [need("busybox"), "sh"]

    def let_a_person_run_it(self, home: Path) -> None:
        self.uninstall("id")
        (self._bin / "id").write_text("#!/bin/sh\necho 1000\n")
        (self._bin / "id").chmod(0o755)
        self.env = {"ROOT": "", "HOME": str(home)}

    def sh(self, registry: Registries, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.shell, "-s", "--", *args],
            input=text_of(registry),
            capture_output=True,
            text=True,
            env={"PATH": str(self._bin), **self.env, **env},
            start_new_session=True,
            check=False,
        )

    def put(self, path: str, content: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    def tree(self) -> dict[str, bytes | None]:
        return tree(self.root)


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


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


@each_awk
@each_registry
def test_install_then_remove_leaves_no_trace(host: Host, registry: Registries, awk: str) -> None:
    host.use_awk(awk)
    host.put("etc/buildkit/buildkitd.toml", "debug = true")
    host.put("etc/rancher/k3s/registries.yaml", "mirrors:\n  docker.io: {}\n")
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


@each_awk
def test_daemon_json_names_every_address_and_the_mirror(host: Host, awk: str) -> None:
    host.use_awk(awk)
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
    assert json.loads(path.read_text()) == {"registry-mirrors": ["https://others"]}


def test_rhel_keeps_its_cas_elsewhere(host: Host) -> None:
    host.uninstall("update-ca-certificates")
    host.install("/bin/true")
    (host.root.parent / "bin" / "update-ca-trust").symlink_to("/bin/true")
    host.sh(SECURE, "--for", "system")
    anchors = host.root / "etc" / "pki" / "ca-trust" / "source" / "anchors"
    assert (anchors / "regsetup-registry.lan-5000.crt").read_bytes() == CA
    assert not (host.root / "etc" / "docker").exists()


@each_awk
@pytest.mark.parametrize(
    "original",
    ['{"debug":   true}', '{\n\t"insecure-registries": ["a"]\n}', "", '{"insecure-registries": null}\n'],
)
def test_daemon_json_is_edited_and_given_back_to_the_byte(host: Host, awk: str, original: str) -> None:
    host.use_awk(awk)
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


@each_awk
def test_what_others_changed_in_daemon_json_since_stays(host: Host, awk: str) -> None:
    host.use_awk(awk)
    path = host.put("etc/docker/daemon.json", "{}")
    host.sh(PLAIN)
    path.write_text(json.dumps({"debug": True, "insecure-registries": [ADDRESS, "theirs"]}))
    assert host.sh(PLAIN, "--remove").returncode == 0
    assert json.loads(path.read_text()) == {"debug": True, "insecure-registries": ["theirs"]}


def test_a_kill_between_the_two_writes_of_a_removal_still_gives_back_the_bytes(host: Host) -> None:
    path = host.put("etc/docker/daemon.json", '{"debug":true}')
    host.sh(PLAIN)
    path.write_text(path.read_text().replace(f'"{ADDRESS}"', ""))
    host.sh(PLAIN, "--remove")
    assert path.read_text() == '{"debug":true}'


@each_awk
@pytest.mark.parametrize("broken", ['{"debug": true,}', "[]", '{"insecure-registries": 1}'])
def test_a_broken_daemon_json_stays_and_is_said(host: Host, awk: str, broken: str) -> None:
    host.use_awk(awk)
    path = host.put("etc/docker/daemon.json", broken)
    done = host.sh(PLAIN, "--for", "docker")
    assert done.returncode == 1
    assert "can't be read; it stays as it is" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == broken


KILLER = """#!/bin/sh
echo >>"$COUNT"
if [ "$(wc -l <"$COUNT")" = "$LAST" ]; then
    if [ "$AFTER" = yes ]; then PATH=$REAL mv "$@"; fi
    kill -s KILL 0
fi
PATH=$REAL exec mv "$@"
"""


@pytest.mark.parametrize("after", ["yes", "no"])
@pytest.mark.parametrize("action", [(), ("--remove",)], ids=["install", "remove"])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_killed_at_any_step_daemon_json_is_whole_and_all_comes_back(
    tmp_path: Path, tls: bool, action: tuple[str, ...], after: str
) -> None:
    """Every file is put in place by mv: it kills the script before or after its nth."""
    registry = SECURE if tls else PLAIN
    for last in range(1, 30):
        (tmp_path / str(last)).mkdir()
        host, count = Host(tmp_path / str(last)), tmp_path / f"{last}.count"
        for program in ("wc", "kill"):
            host.install(need(program))
        path = host.put("etc/docker/daemon.json", '{"debug":true}')
        host.put("etc/buildkit/buildkitd.toml", "debug = true")
        host.put("etc/rancher/k3s/registries.yaml", "mirrors:\n  docker.io: {}\n")
        before = host.tree()
        if action:
            host.sh(registry)
        host.uninstall("mv")
        (host.root.parent / "bin" / "mv").write_text(KILLER)
        (host.root.parent / "bin" / "mv").chmod(0o755)
        killed = host.sh(
            registry, *action, COUNT=str(count), LAST=str(last), AFTER=after, REAL=os.environ["PATH"]
        )
        host.uninstall("mv")
        host.install(need("mv"))
        json.loads(path.read_text())
        assert host.sh(registry, "--remove").returncode == 0
        left = {one for one in host.tree() if one.startswith(("etc", "var/lib/"))} - before.keys()
        assert (host.tree(), left) == (before, set())
        if killed.returncode == 0:
            assert last >= 3
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("content", ["{}", None], ids=["there", "dangling"])
def test_a_symbolic_link_stays_one(host: Host, content: str | None) -> None:
    real = host.put("srv/daemon.json", "{}")
    if content is None:
        real.unlink()
    (host.root / "etc" / "docker").mkdir(parents=True)
    (host.root / "etc" / "docker" / "daemon.json").symlink_to(real)
    host.sh(PLAIN)
    assert ADDRESS in real.read_text()
    host.sh(PLAIN, "--remove")
    assert (real.read_text() if real.exists() else None) == content
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


def test_without_root_it_tells_what_is_this_persons_own(host: Host, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".config" / "docker").mkdir(parents=True)
    (home / ".config" / "docker" / "daemon.json").write_text('{"debug": true}')
    (home / ".config" / "buildkit").mkdir()
    host.let_a_person_run_it(home)
    for registry in (SECURE, PLAIN):
        before, machine = tree(home), host.tree()
        done = host.sh(registry)
        assert (done.returncode, host.tree()) == (0, machine), done.stderr
        assert "what is root's needs root: run it with sudo as well, --for docker,containerd" in done.stderr
        made = tree(home).keys() - before.keys()
        if registry.tls:
            assert {
                f".config/docker/certs.d/{ADDRESS}/ca.crt",
                f".config/containers/certs.d/{ADDRESS}/ca.crt",
                ".config/buildkit/certs/regsetup-registry.lan-5000.crt",
            } <= made
        else:
            assert ".config/containers/registries.conf.d/50-regsetup-registry.lan-5000.conf" in made
            assert ADDRESS in (home / ".config" / "docker" / "daemon.json").read_text()
        assert host.sh(registry, "--status").returncode == 0
        assert host.sh(registry, "--remove").returncode == 0
        assert tree(home) == before


def test_a_persons_settings_are_where_xdg_says(host: Host, tmp_path: Path) -> None:
    host.let_a_person_run_it(tmp_path / "home")
    host.env |= {"XDG_CONFIG_HOME": str(tmp_path / "x"), "XDG_DATA_HOME": str(tmp_path / "d")}
    (tmp_path / "x" / "docker").mkdir(parents=True)
    assert host.sh(SECURE, "--for", "docker").returncode == 0
    assert (tmp_path / "x" / "docker" / "certs.d" / ADDRESS / "ca.crt").read_bytes() == CA
    host.sh(SECURE, "--remove")
    assert not (tmp_path / "d").exists()


def test_docker_desktop_is_told_below_home_and_what_to_click(host: Host, tmp_path: Path) -> None:
    (tmp_path / "home" / ".docker" / "desktop").mkdir(parents=True)
    host.let_a_person_run_it(tmp_path / "home")
    done = host.sh(PLAIN, "--for", "docker")
    assert "Docker Desktop > Settings > Docker Engine > Apply & restart" in done.stderr
    assert json.loads((tmp_path / "home" / ".docker" / "daemon.json").read_text()) == {INSECURE: [ADDRESS]}


@pytest.mark.parametrize("args", [("--for", "system"), ("--for", "docker,k3s")])
def test_without_root_what_is_roots_is_refused(host: Host, tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "home").mkdir()
    host.let_a_person_run_it(tmp_path / "home")
    done = host.sh(SECURE, *args)
    assert (done.returncode, "sudo" in done.stderr, tree(tmp_path / "home")) == (1, True, {})


def test_it_wants_root_where_nothing_is_this_persons_own(host: Host, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    host.uninstall("podman")
    host.let_a_person_run_it(tmp_path / "home")
    done = host.sh(SECURE)
    assert (done.returncode, "sudo" in done.stderr, tree(tmp_path / "home")) == (1, True, {})


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


# --- the same as trust install ----------------------------------------------------------------------------


def json_awk(awk: str, text: str, operation: str, entry: Entry, state: str = "") -> tuple[int, str]:
    """Run the script's editor of daemon.json."""
    program = templating.render("trust/json.awk", {})
    command = [need(awk), "awk", program] if awk == "busybox" else [need(awk), program]
    done = subprocess.run(
        command,
        input=f"{text}x\n".encode(),
        capture_output=True,
        env={"LC_ALL": "C", "OP": operation, "KEY": entry.key, "VALUE": entry.value, "STATE": state},
        check=False,
    )
    assert (done.returncode == 2) is bool(done.stderr)
    return done.returncode, done.stdout.decode()


unread_texts = st.sampled_from(
    [
        *(
            '{"a": 1,}',
            "[]",
            '{"a" 1}',
            '{"a": 01}',
            '{"a": "\n"}',
            '{"a": NaN}',
            "\ufeff{}",
            "{} x",
            "{a: 1}",
        ),
        *('{"a": "\\x"}', '{"a": [1,]}', '{"a":tru}', '{"a":-}', '"x"', "{", '{"a":1.}', '{"a":"\\u12g4"}'),
        *('{"insecure-registries": 1}', '{"insecure-registries": [1]}', '{"insecure-registries": {}}'),
        '{"a": 1 "b": 2}',
    ]
)
odd_texts = st.sampled_from(
    [
        '{"insecure-registries": ["a"], "insecure-registries": ["b"]}',
        '{"insecure-registries": ["registry.lan\\u003a5000"]}',
        '{"insecure\\u002dregistries": ["\\u00e9", "\\ud83d\\ude00", "\\/"]}',
        '{"a":{"insecure-registries": ["registry.lan:5000"]}, "registry-mirrors" :[ ] }',
        '{"a":1.5e+3,"b":[{},[],"",-0.1E5,null,true,false]}\r\n',
        '{"x":"\x7f\\"}{"}',
    ]
)


@each_awk
@settings(max_examples=60)
@given(texts() | odd_texts | unread_texts, st.sampled_from([INSECURE, MIRRORS]))
def test_awk_edits_daemon_json_as_trust_install_does(awk: str, text: str | None, key: str) -> None:
    entry, text = Entry(key, ADDRESS), text or ""
    try:
        with_us, there = add(text, entry), ADDRESS in entries(text, key)
    except DaemonJsonUnreadable:
        assert json_awk(awk, text, "add", entry) == (2, "")
        return
    assert json_awk(awk, text, "add", entry) == (0, with_us)
    assert json_awk(awk, text, "has", entry) == (0 if there else 1, "")
    assert json_awk(awk, with_us, "cut", entry) == (0, remove(with_us, entry))
    if text.strip(" \t\r\n") and not there:
        state = json_awk(awk, text, "state", entry)[1]
        changed = f"{with_us}\n"
        assert json_awk(awk, changed, "withdraw", entry, state) == (0, withdraw(changed, text, entry).final)


def clients_below(root: Path) -> list[Client]:
    etc = root / "etc"
    return [
        docker(etc / "docker"),
        Podman(etc / "containers"),
        Containerd(etc / "containerd" / "config.toml"),
        Buildkit(etc / "buildkit"),
        K3s(etc / "rancher" / "k3s"),
    ]


@contextmanager
def two_machines() -> Iterator[tuple[Host, Path]]:
    """One for the script, and one for trust install."""
    with TemporaryDirectory() as directory:
        (Path(directory) / "script").mkdir()
        yield Host(Path(directory) / "script"), Path(directory) / "install"


def etc_of(root: Path) -> dict[str, bytes | None]:
    """Return the settings below ``root``; a path in them says nothing of ``root``."""
    found = tree(root / "etc").items()
    return {path: text and text.replace(bytes(root), b"") for path, text in found}


def write(root: Path, path: str, text: str | None) -> None:
    if text is not None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())


@settings(max_examples=30)
@given(texts(), toml_texts | st.none(), yaml_texts | st.none(), st.booleans(), st.permutations(range(3)))
def test_the_script_writes_what_trust_install_writes_and_gives_it_back(
    daemon: str | None, toml: str | None, yaml: str | None, tls: bool, gone: list[int]
) -> None:
    """Three registries of three servers, each with a script of its own, removed in any order."""
    told = [Registry(one.address, CA if tls else None) for one in SEVERAL]
    with two_machines() as (host, other):
        for root in (host.root, other):
            (root / "etc").mkdir(parents=True)
            write(root, "etc/docker/daemon.json", daemon)
            write(root, "etc/buildkit/buildkitd.toml", toml)
            write(root, "etc/rancher/k3s/registries.yaml", yaml)
        before = host.tree()
        for one in told:
            done = host.sh(one, "--for", "docker,podman,containerd,buildkit,k3s")
            assert done.returncode == 0, done.stderr
            for client in clients_below(other):
                work.install(client, one, MemoryLedger())
        assert etc_of(host.root) == etc_of(other)
        for index in gone:
            done = host.sh(told[index], "--remove")
            assert done.returncode == 0, done.stderr
        assert host.tree() == before


@settings(max_examples=20)
@given(toml_texts, yaml_texts, st.booleans())
def test_what_others_wrote_since_into_toml_and_yaml_stays(toml: str, yaml: str, tls: bool) -> None:
    with two_machines() as (host, _):
        registry = Registry(ADDRESS, CA if tls else None)
        paths = "etc/buildkit/buildkitd.toml", "etc/rancher/k3s/registries.yaml"
        for path, text in zip(paths, (toml, yaml), strict=True):
            write(host.root, path, text)
        assert host.sh(registry, "--for", "buildkit,k3s").returncode == 0
        for path in paths:
            write(host.root, path, (host.root / path).read_text() + "# theirs\n")
        assert host.sh(registry, "--for", "buildkit,k3s").returncode == 0  # and again
        done = host.sh(registry, "--remove")
        assert done.returncode == 0, done.stderr
        for path, text in zip(paths, (toml, yaml), strict=True):
            kept = text if not text or text.endswith("\n") else f"{text}\n"
            assert (host.root / path).read_text() == f"{kept}# theirs\n"


@pytest.mark.parametrize(
    ("client", "path", "text"),
    [
        ("buildkit", "etc/buildkit/buildkitd.toml", f'[registry."{ADDRESS}"]\n  http = false\n'),
        ("k3s", "etc/rancher/k3s/registries.yaml", "mirrors: {}\n"),
        ("k3s", "etc/rancher/k3s/registries.yaml", "- a\n"),
        ("k3s", "etc/rancher/k3s/registries.yaml", "mirrors: {"),
        ("k3s", "etc/rancher/k3s/registries.yaml", f'mirrors:\n  "{ADDRESS}":\n    endpoint: ["http://x"]\n'),
        ("k3s", "etc/rancher/k3s/registries.yaml", "mirrors:\n  {a: b}\n"),
        ("k3s", "etc/rancher/k3s/registries.yaml", "mirrors:"),
    ],
)
def test_what_trust_install_does_not_edit_the_script_does_not_either(
    client: str, path: str, text: str
) -> None:
    with two_machines() as (host, other):
        for root in (host.root, other):
            write(root, path, text)
        before = host.tree()
        done = host.sh(PLAIN, "--for", client)
        assert (done.returncode, "add by hand" in done.stderr, ADDRESS in done.stderr) == (1, True, True)
        assert host.sh(PLAIN, "--for", client, "--remove").returncode == 0
        assert host.tree() == before
        known = {one.name: one for one in clients_below(other)}
        with pytest.raises(RegsetupError):
            work.install(known[client], PLAIN, MemoryLedger())


def test_from_plain_to_tls_leaves_nothing_of_the_first(host: Host) -> None:
    path = host.put("etc/docker/daemon.json", "{}")
    before = host.tree()
    host.sh(PLAIN)
    assert ADDRESS in path.read_text()
    host.sh(SECURE)
    assert path.read_text() == "{}"
    host.sh(SECURE, "--remove")
    assert host.tree() == before


def test_containerds_own_config_path_is_where_it_is_told(host: Host) -> None:
    host.put(
        "etc/containerd/config.toml",
        '[plugins."io.containerd.grpc.v1.cri".registry]\n config_path = "/c:/d"\n',
    )
    done = host.sh(SECURE, "--for", "containerd")
    assert "config_path" not in done.stderr
    hosts = tomllib.loads((host.root / "c" / ADDRESS / "hosts.toml").read_text())
    assert hosts["ca"] == f"/c/{ADDRESS}/ca.crt"


def test_the_exported_default_is_what_for_named(host: Host) -> None:
    text = script([SECURE], NOW, ["podman", "k3s"])
    subprocess.run(
        [*host.shell],
        input=text,
        text=True,
        env={"PATH": str(host.root.parent / "bin"), **host.env},
        check=True,
    )
    assert sorted(os.listdir(host.root / "etc")) == ["containers", "rancher"]  # noqa: PTH208
    with pytest.raises(UnknownClient):
        script([SECURE], NOW, ["cri-o"])
