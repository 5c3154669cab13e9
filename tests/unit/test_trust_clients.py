"""Every client's files: what install writes, and that remove gives back what was there."""

from __future__ import annotations

import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca
from regsetup.deployment import Daemon
from regsetup.host.daemon_json import INSECURE, MIRRORS, DaemonJsonUnreadable, entries
from regsetup.host.engine import Dockerd, FlagConflict, Manager
from regsetup.host.reload import Control
from regsetup.trust import buildkit, clients, podman
from regsetup.trust.base import CannotRead, CannotTakeBack, Client, Registry, Touched, read
from regsetup.trust.buildkit import AlreadyConfigured, Buildkit
from regsetup.trust.clients import UnknownClient
from regsetup.trust.containerd import Containerd, TomlUnreadable, config_path
from regsetup.trust.docker import Docker, DockerMirror
from regsetup.trust.install import State, install, remove, status
from regsetup.trust.k3s import K3s, RegistriesYaml
from regsetup.trust.podman import Podman
from regsetup.trust.system import Family, StoreNotUpdated, System, family
from tests.bed.daemon_texts import texts
from tests.bed.ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regsetup.host.docker_info import Info

ADDRESS = "registry.lan:5000"
CA = new_ca("registry", Names.of(["registry.lan"]), datetime.now(UTC)).certificate
SECURE, PLAIN = Registry(ADDRESS, CA), Registry(ADDRESS, None)


class NoEngine:
    """A probe of an engine that does not run."""

    def info(self) -> Info | None:
        return None

    def running(self) -> Sequence[str]:
        return ()

    def reloaded(self, since: float) -> bool:
        return False


def stopped(root: Path, **more: object) -> Control:
    engine = Dockerd(Manager.STOPPED, root / "daemon.json", root / "certs.d", **more)  # type: ignore[arg-type]
    return Control(engine, NoEngine(), Daemon.RELOAD, lambda stops: False)


def docker(root: Path, **more: object) -> Docker:
    return Docker(stopped(root, **more))


MAKERS: dict[str, Callable[[Path], Client]] = {
    "docker": docker,
    "podman": Podman,
    "containerd": lambda root: Containerd(root / "config.toml"),
    "buildkit": Buildkit,
    "k3s": K3s,
    "system": lambda root: System(Family(root / "anchors", ("true",))),
}
each_client = pytest.mark.parametrize("name", MAKERS)
each_registry = pytest.mark.parametrize("registry", [SECURE, PLAIN], ids=["tls", "plain"])


def tree(root: Path) -> dict[str, bytes | None]:
    """Return every file and directory below ``root``."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


@each_client
@each_registry
def test_install_then_remove_leaves_no_trace(tmp_path: Path, name: str, registry: Registry) -> None:
    client, ledger = MAKERS[name](tmp_path), MemoryLedger()
    done = install(client, registry, ledger)
    if name == "system" and not registry.tls:
        assert (done.paths, "nothing to do with" in done.reason) == ((), True)
    else:
        assert done.paths
        assert status(client, registry).state is not State.DIFFERS
    again = install(client, registry, ledger)
    assert again.paths == ()
    assert remove(client, ADDRESS, ledger).paths == tuple(reversed(done.paths))
    assert tree(tmp_path) == {}
    assert ledger.entries() == []
    assert remove(client, ADDRESS, ledger).reason == "nothing of ours was there"


@each_client
def test_changing_from_plain_to_tls_and_back_leaves_only_the_last(tmp_path: Path, name: str) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    install(MAKERS[name](once), SECURE, MemoryLedger())
    ledger = MemoryLedger()
    for registry in (SECURE, PLAIN, SECURE):
        install(MAKERS[name](twice), registry, ledger)

    def contents(root: Path) -> dict[str, bytes | None]:
        return {path: text and text.replace(bytes(root), b"") for path, text in tree(root).items()}

    assert contents(twice) == contents(once)
    remove(MAKERS[name](twice), ADDRESS, ledger)
    assert tree(twice) == {}


@each_client
def test_a_new_ca_replaces_the_old_one_and_remove_still_gives_back_what_was_there(
    tmp_path: Path, name: str
) -> None:
    client, ledger = MAKERS[name](tmp_path), MemoryLedger()
    install(client, SECURE, ledger)
    renewed = Registry(ADDRESS, CA.replace(b"\n", b"\r\n"))
    assert not client.plan(SECURE).needed
    assert len(client.plan(renewed).needed) == 1
    install(client, renewed, ledger)
    assert not client.plan(renewed).needed
    remove(client, ADDRESS, ledger)
    assert tree(tmp_path) == {}


@each_client
@pytest.mark.parametrize("first_to_go", [0, 1])
def test_two_registries_do_not_take_each_other_away(tmp_path: Path, name: str, first_to_go: int) -> None:
    client, ledger = MAKERS[name](tmp_path), MemoryLedger()
    both = (SECURE, Registry("other.lan:5000", None if name == "docker" else CA))
    for registry in both:
        install(client, registry, ledger)
    remove(client, both[first_to_go].address, ledger)
    assert client.plan(both[first_to_go]).needed
    assert not client.plan(both[1 - first_to_go]).needed
    remove(client, both[1 - first_to_go].address, ledger)
    assert tree(tmp_path) == {}


FILES = {
    "docker": ("daemon.json", [None, "", '{"debug": true}']),
    "buildkit": ("buildkitd.toml", [None, "", "debug = true", "debug = true\n"]),
    "k3s": ("registries.yaml", [None, "", "mirrors:\n", "configs:\n  a: {}", "configs:\n  a: {}\n"]),
}


@pytest.mark.parametrize("name", FILES)
@given(st.permutations(range(3)), st.data())
def test_three_registries_in_one_file_give_it_back_in_whatever_order_they_go(
    name: str, gone: list[int], data: st.DataObject
) -> None:
    file, contents = FILES[name]
    content = data.draw(st.sampled_from(contents))
    told = [Registry(address, None) for address in (ADDRESS, "b.lan:5000", "c.lan:5000")]
    with TemporaryDirectory() as directory:
        client, ledger = MAKERS[name](Path(directory)), MemoryLedger()
        if content is not None:
            Path(directory, file).write_text(content)
        before = tree(Path(directory))
        for registry in told:
            install(client, registry, ledger)
        for index in gone:
            remove(client, told[index].address, ledger)
        assert tree(Path(directory)) == before


@each_client
def test_a_kill_before_the_file_is_written_does_no_harm(tmp_path: Path, name: str) -> None:
    client, ledger = MAKERS[name](tmp_path), MemoryLedger()
    seen = MemoryLedger()
    install(client, SECURE, seen)
    for entry in seen.entries():
        ledger.note(entry)
        entry.path.unlink()
    remove(client, ADDRESS, ledger)
    assert not [content for content in tree(tmp_path).values() if content]


def test_a_ca_file_that_somebody_replaced_is_left_and_said(tmp_path: Path) -> None:
    client, ledger = Podman(tmp_path), MemoryLedger()
    install(client, SECURE, ledger)
    path = tmp_path / "certs.d" / ADDRESS / "ca.crt"
    path.write_text("theirs")
    with pytest.raises(CannotTakeBack, match="was changed since"):
        remove(client, ADDRESS, ledger)
    assert path.read_text() == "theirs"
    assert len(ledger.entries()) == 1
    install(client, SECURE, ledger)  # and now theirs is what comes back
    remove(client, ADDRESS, ledger)
    assert path.read_text() == "theirs"


def test_settings_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(CannotRead, match="directory"):
        read(tmp_path / "directory")


def test_the_ledger_survives_json() -> None:
    entry = Touched("podman", ADDRESS, Path("/x"), b"\x00\xff", "aa", True, ("a", "b"), (Path("/d"),))
    assert Touched.from_dict(entry.as_dict()) == entry
    absent = Touched("podman", ADDRESS, Path("/x"), None, "aa", False)
    assert Touched.from_dict(absent.as_dict()) == absent


# --- docker -----------------------------------------------------------------------------------------------


def test_daemon_json_of_others_comes_back_to_the_byte(tmp_path: Path) -> None:
    original = b'{\r\n\t"debug":true , "insecure-registries" : [ "a" ]}'
    (tmp_path / "daemon.json").write_bytes(original)
    ledger = MemoryLedger()
    install(docker(tmp_path), PLAIN, ledger)
    assert b'[ "a", "registry.lan:5000" ]' in (tmp_path / "daemon.json").read_bytes()
    remove(docker(tmp_path), ADDRESS, ledger)
    assert (tmp_path / "daemon.json").read_bytes() == original


@pytest.mark.slow
@settings(max_examples=60)
@given(texts(), st.permutations(range(4)), st.permutations(range(4)))
def test_whatever_was_installed_in_whatever_order_remove_gives_back_daemon_json_to_the_byte(
    text: str | None, installed: list[int], removed: list[int]
) -> None:
    """Two registries and two mirrors share the file; the engine asks none of them yet."""
    told = [Registry(address, None, mirror=f"http://{address}") for address in (ADDRESS, "10.9.9.9:5000")]
    with TemporaryDirectory() as directory:
        root = Path(directory)
        both = docker(root), DockerMirror(stopped(root))
        steps, ledger = [(client, one) for client in both for one in told], MemoryLedger()
        if text is not None:
            (root / "daemon.json").write_bytes(text.encode())
        for step in installed:
            install(*steps[step], ledger)
        for step in removed:
            remove(steps[step][0], steps[step][1].address, ledger)
        assert read(root / "daemon.json") == (None if text is None else text.encode())
        assert ledger.entries() == []


@pytest.mark.parametrize("original", [b'{"debug": true}', b"", None], ids=["some", "empty", "dangling"])
def test_a_daemon_json_that_is_a_link_stays_one_and_keeps_its_mode(
    tmp_path: Path, original: bytes | None
) -> None:
    real, ledger = tmp_path / "srv.json", MemoryLedger()
    if original is not None:
        real.write_bytes(original)
        real.chmod(0o640)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "daemon.json").symlink_to(real)
    install(docker(tmp_path / "etc"), PLAIN, ledger)
    assert ADDRESS.encode() in real.read_bytes()
    remove(docker(tmp_path / "etc"), ADDRESS, ledger)
    assert read(real) == original
    assert (tmp_path / "etc" / "daemon.json").is_symlink()
    if original is not None:
        assert real.stat().st_mode & 0o777 == 0o640


def test_a_byte_order_mark_is_an_error_and_the_file_stays(tmp_path: Path) -> None:
    """Engines before 23.0 refuse it, and no text editor shows it."""
    content = b"\xef\xbb\xbf{}"
    (tmp_path / "daemon.json").write_bytes(content)
    with pytest.raises(DaemonJsonUnreadable):
        install(docker(tmp_path), PLAIN, MemoryLedger())
    assert (tmp_path / "daemon.json").read_bytes() == content


@dataclass
class FollowingEngine(NoEngine):
    """Does what its file says; ``forgets`` as engine 23.0, whose mirrors drop the rest (moby#45552)."""

    config: Path
    forgets: bool

    def info(self) -> Info:
        text = self.config.read_text()
        found = entries(text, MIRRORS)
        insecure = () if found and self.forgets else entries(text, INSECURE)
        indexes = {one: {"Secure": False} for one in insecure}
        return {"RegistryConfig": {"IndexConfigs": indexes, "Mirrors": [f"{one}/" for one in found]}}

    def reloaded(self, since: float) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True])
def test_a_reload_that_drops_what_the_engine_trusted_is_noticed(tmp_path: Path, forgets: bool) -> None:
    config = tmp_path / "daemon.json"
    config.write_text('{"insecure-registries": ["theirs.lan:5000"]}')
    deaf = ["sh", "-c", "trap '' HUP; echo; exec sleep 60"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        engine = Dockerd(Manager.PROCESS, config, tmp_path / "certs.d", pid=process.pid)
        control = Control(engine, FollowingEngine(config, forgets), Daemon.RELOAD, lambda stops: False)
        told = Registry(ADDRESS, None, mirror=f"http://{ADDRESS}")
        notes = install(DockerMirror(control), told, MemoryLedger()).notes
        process.kill()
    assert [note.partition(";")[0] for note in notes] == (
        ["dockerd did not take it on SIGHUP, and a restart was not allowed"] if forgets else []
    )


def test_what_others_changed_in_daemon_json_since_stays(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    (tmp_path / "daemon.json").write_text('{"debug": true}')
    install(docker(tmp_path), PLAIN, ledger)
    now = (tmp_path / "daemon.json").read_text().replace("true", "false")
    (tmp_path / "daemon.json").write_text(now)
    remove(docker(tmp_path), ADDRESS, ledger)
    assert (tmp_path / "daemon.json").read_text() == '{"debug": false}'


def test_a_broken_daemon_json_keeps_our_entry_in_the_ledger(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    install(docker(tmp_path), PLAIN, ledger)
    (tmp_path / "daemon.json").write_text('{"insecure-registries": ["registry.lan:5000"')
    with pytest.raises(CannotTakeBack) as caught:
        remove(docker(tmp_path), ADDRESS, ledger)
    assert '"registry.lan:5000" in "insecure-registries"' in (caught.value.fix or "")
    assert len(ledger.entries()) == 1


def test_a_flag_of_dockerd_stops_the_plan_before_anything_is_written(tmp_path: Path) -> None:
    client = docker(tmp_path, flag_files=(("/etc/default/docker", "--insecure-registry=x"),))
    with pytest.raises(FlagConflict, match="/etc/default/docker"):
        install(client, PLAIN, MemoryLedger())
    assert tree(tmp_path) == {}
    assert install(client, SECURE, MemoryLedger()).paths


@pytest.mark.parametrize(
    ("manager", "says"), [(Manager.DESKTOP, "Docker Desktop"), (Manager.ELSEWHERE, "regsetup trust export")]
)
def test_an_engine_out_of_reach_leaves_a_note(tmp_path: Path, manager: Manager, says: str) -> None:
    engine = Dockerd(manager, tmp_path / "daemon.json", tmp_path / "certs.d")
    client = Docker(Control(engine, NoEngine(), Daemon.RELOAD, lambda stops: False))
    assert says in install(client, SECURE, MemoryLedger()).notes[0]
    assert "to make the engine follow:" in install(client, PLAIN, MemoryLedger()).notes[0]
    assert client.detect()


# --- buildkit, containerd ---------------------------------------------------------------------------------


def ended(text: str) -> str:
    """Return ``text`` with its last line ended, as it is left when somebody wrote after us."""
    return text if not text or text.endswith("\n") else f"{text}\n"


toml_texts = st.sampled_from(
    ["", "debug = true", "debug = true\n\n", '# note\n[registry."a.lan"]\n  http = true\n', "[worker.oci]\n"]
)


@given(toml_texts, st.sampled_from([SECURE, PLAIN]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_buildkitd_toml_stays_valid_and_comes_back(text: str, registry: Registry) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "buildkitd.toml")
        path.write_text(text)
        ledger = MemoryLedger()
        install(Buildkit(Path(directory)), registry, ledger)
        ours = tomllib.loads(path.read_text())["registry"][ADDRESS]
        assert ours == (
            {"ca": [f"{directory}/certs/regsetup-registry.lan-5000.crt"]} if registry.tls else {"http": True}
        )
        path.write_text(path.read_text() + "# theirs\n")
        remove(Buildkit(Path(directory)), ADDRESS, ledger)
        assert path.read_text() == ended(text) + "# theirs\n"


def test_settings_of_others_for_the_same_registry_are_theirs(tmp_path: Path) -> None:
    path = tmp_path / "buildkitd.toml"
    path.write_text(f'[registry."{ADDRESS}"]\n  http = false\n')
    with pytest.raises(AlreadyConfigured) as caught:
        install(Buildkit(tmp_path), PLAIN, MemoryLedger())
    assert "http = true" in (caught.value.fix or "")
    path.write_text("not toml")
    with pytest.raises(TomlUnreadable, match=r"buildkitd\.toml"):
        install(Buildkit(tmp_path), PLAIN, MemoryLedger())


def test_hosts_toml_names_scheme_and_ca(tmp_path: Path) -> None:
    install(Containerd(tmp_path / "config.toml"), SECURE, MemoryLedger())
    directory = tmp_path / "certs.d" / ADDRESS
    hosts = tomllib.loads((directory / "hosts.toml").read_text())
    assert hosts["server"] == f"https://{ADDRESS}"
    assert hosts["ca"] == str(directory / "ca.crt")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", None),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b"', Path("/a")),
        ("[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/c'", Path("/c")),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""', None),
    ],
)
def test_config_path_is_read_from_both_versions(config: str, expected: Path | None) -> None:
    assert config_path(tomllib.loads(config)) == expected


def test_containerd_without_config_path_gets_advice_and_with_it_none(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    assert "config_path" in install(Containerd(config), PLAIN, MemoryLedger()).notes[0]
    config.write_text(f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{tmp_path}/elsewhere"')
    done = install(Containerd(config), PLAIN, MemoryLedger())
    assert done.notes == ()
    assert done.paths == (tmp_path / "elsewhere" / ADDRESS / "hosts.toml",)


# --- k3s --------------------------------------------------------------------------------------------------

yaml_texts = st.sampled_from(
    [
        "",
        "# only a note\n",
        "mirrors:\n",
        "mirrors: # ours\n  docker.io:\n    endpoint:\n      - https://mirror\n",
        "mirrors:\n    # four\n    docker.io:\n        endpoint: [a]\nconfigs:\n  a:\n    auth: {user: x}\n",
        "configs:\n  a: {}",
    ]
)


@given(yaml_texts, st.sampled_from([SECURE, PLAIN]))
def test_registries_yaml_keeps_what_others_wrote_and_comes_back(text: str, registry: Registry) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "registries.yaml")
        path.write_text(text)
        ledger = MemoryLedger()
        install(K3s(Path(directory)), registry, ledger)
        after = yaml.safe_load(path.read_text())
        assert after["mirrors"].pop(ADDRESS) == {"endpoint": [registry.url]}
        if registry.tls:
            ca = after["configs"].pop(ADDRESS)["tls"]["ca_file"]
            assert Path(ca).read_bytes() == CA
        before = yaml.safe_load(text) or {}
        for key in ("mirrors", "configs"):
            assert (after.get(key) or {}) == (before.get(key) or {})
        path.write_text(path.read_text() + "# theirs\n")
        remove(K3s(Path(directory)), ADDRESS, ledger)
        assert path.read_text() == ended(text) + "# theirs\n"


def test_a_section_that_others_use_by_now_stays(tmp_path: Path) -> None:
    path, ledger = tmp_path / "registries.yaml", MemoryLedger()
    path.write_text("configs:\n")
    install(K3s(tmp_path), PLAIN, ledger)
    path.write_text(path.read_text() + "  theirs: {}\n")
    remove(K3s(tmp_path), ADDRESS, ledger)
    assert path.read_text() == "configs:\nmirrors:\n  theirs: {}\n"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("mirrors: {}\n", "block style"),
        ("- a\n", "mapping of mappings"),
        ("mirrors: [a]\n", "mapping of mappings"),
        ("mirrors: {", "while parsing"),
        (f'mirrors:\n  "{ADDRESS}":\n    endpoint: ["http://x"]\n', "did not write its settings"),
    ],
)
def test_a_registries_yaml_that_is_risky_to_edit_stays(tmp_path: Path, text: str, detail: str) -> None:
    (tmp_path / "registries.yaml").write_text(text)
    with pytest.raises(RegistriesYaml) as caught:
        install(K3s(tmp_path), PLAIN, MemoryLedger())
    assert detail in (caught.value.cause or "")
    assert '"registry.lan:5000": {"endpoint"' in (caught.value.fix or "")
    assert (tmp_path / "registries.yaml").read_text() == text


# --- system, and the choice -------------------------------------------------------------------------------


def test_a_store_that_can_not_be_rebuilt_is_an_error(tmp_path: Path) -> None:
    broken = System(Family(tmp_path / "anchors", ("sh", "-c", "echo no space >&2; exit 1")))
    with pytest.raises(StoreNotUpdated) as caught:
        install(broken, SECURE, MemoryLedger())
    assert caught.value.cause == "no space"


def test_programs_with_a_store_of_their_own_hear_that_a_ca_went(tmp_path: Path) -> None:
    """update-ca-certificates --fresh does not tell them: Java went on to trust a CA that was removed."""
    anchors, links, hooks = (tmp_path / name for name in ("anchors", "links", "hooks"))
    links.mkdir()
    hooks.mkdir()
    link = links / "regsetup-registry.lan-5000.pem"
    for name in ("java", "old.dpkg-old"):
        (hooks / name).write_text(f"#!/bin/sh\ncat >>{tmp_path}/heard-by-{name}\n")
        (hooks / name).chmod(0o755)
    ours = anchors / "regsetup-registry.lan-5000.crt"
    rebuild = f"rm -f {link}; if [ -e {ours} ]; then ln -s {ours} {link}; fi"
    client, ledger = System(Family(anchors, ("sh", "-c", rebuild), links, hooks)), MemoryLedger()
    assert install(client, SECURE, ledger).notes == ()
    assert link.exists()
    assert not (tmp_path / "heard-by-java").exists()
    assert remove(client, ADDRESS, ledger).notes == ()
    assert (tmp_path / "heard-by-java").read_text() == f"-{link}\n"
    assert not (tmp_path / "heard-by-old.dpkg-old").exists()


def test_a_store_that_does_not_let_a_ca_go_is_named(tmp_path: Path) -> None:
    links, hooks = tmp_path / "links", tmp_path / "hooks"
    links.mkdir()
    hooks.mkdir()
    (hooks / "java").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "java").chmod(0o755)
    (links / "regsetup-registry.lan-5000.pem").symlink_to(tmp_path / "gone.crt")
    told = System(Family(tmp_path / "anchors", ("true",), links, hooks)).settle()
    assert told == f"{hooks}/java failed: its store may have regsetup-registry.lan-5000 still"


def test_a_system_without_known_store_is_not_installed() -> None:
    unknown = System(None)
    assert status(unknown, SECURE).state is State.ABSENT
    assert install(unknown, SECURE, MemoryLedger()).paths == ()
    assert unknown.settle() is None


def test_the_family_is_known_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert family() is None
    (tmp_path / "update-ca-trust").write_text("#!/bin/sh\n")
    (tmp_path / "update-ca-trust").chmod(0o755)
    found = family()
    assert found is not None
    assert found.command == ("update-ca-trust", "extract")


def test_status_says_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    client, ledger = Podman(tmp_path), MemoryLedger()
    assert status(client, SECURE).detail.endswith("ca.crt is missing")
    install(client, SECURE, ledger)
    assert status(client, SECURE).state is State.TRUSTS
    assert status(client, Registry(ADDRESS, b"other")).detail.endswith("ca.crt differs")


def test_for_chooses_by_name_and_by_default_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    known = tuple(make(tmp_path / "nowhere" / name) for name, make in MAKERS.items())
    assert [client.name for client in clients.choose(known, ["k3s", "podman"])] == ["podman", "k3s"]
    assert [client.name for client in clients.choose(known, [])] == ["system"]
    assert clients.choose(known, ["all"]) == clients.choose(known, [])
    with pytest.raises(UnknownClient, match="cri-o"):
        clients.choose(known, ["cri-o"])


def test_every_name_has_its_client(tmp_path: Path) -> None:
    control = Control(Dockerd(Manager.STOPPED), NoEngine(), Daemon.RELOAD, lambda stops: False)
    assert tuple(client.name for client in clients.every(control, tmp_path)) == clients.NAMES


def test_directories_of_root_and_of_others(tmp_path: Path) -> None:
    import os

    assert podman.directory_of(tmp_path) == podman.SYSTEM
    assert buildkit.directory_of(tmp_path) == buildkit.ETC
    os.seteuid(65534)
    try:
        assert podman.directory_of(tmp_path) == tmp_path / ".config" / "containers"
        assert buildkit.directory_of(tmp_path) == tmp_path / ".config" / "buildkit"
    finally:
        os.seteuid(0)
