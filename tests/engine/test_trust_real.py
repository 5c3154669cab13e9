"""Trust as real clients see it: each refuses before install, works after it, and refuses after remove."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import docker.errors
import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.backends.engine_probe import EngineProbe
from regsetup.deployment import Daemon
from regsetup.host.docker_info import is_listed, mirrors
from regsetup.host.engine import find
from regsetup.host.names import machine_names
from regsetup.host.reload import Control
from regsetup.trust.base import Registry
from regsetup.trust.containerd import Containerd
from regsetup.trust.docker import Docker, DockerMirror
from regsetup.trust.export import script
from regsetup.trust.install import State, install, remove, status
from regsetup.trust.podman import Podman
from regsetup.trust.proof import prove_engine
from regsetup.trust.refusals import PlainHttpRefused, UnknownAuthority
from tests.bed.clients import Completed, run
from tests.bed.images import load, tiny_archive
from tests.bed.ledger import MemoryLedger
from tests.bed.run import missing, need, unique

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.auth.certificates import KeyPair
    from tests.bed.engine import PrivateEngine
    from tests.bed.registry import RegistryProcess

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PLAIN_HTTP = "server gave HTTP response to HTTPS client"
UNKNOWN_CA = "certificate signed by unknown authority"
REACHED = ("404 (Not Found)", ": not found")  # the registry is empty


@pytest.fixture(scope="module")
def lan_address() -> str:
    """An address of this machine beyond loopback: engines insist on TLS there."""
    found = [str(address) for address in machine_names().addresses if address.version == 4]
    return found[0] if found else missing("this machine has no IPv4 address beyond loopback")


@pytest.fixture(scope="module")
def ca(lan_address: str) -> KeyPair:
    return new_ca("registry", Names.of([lan_address]), datetime.now(UTC))


@pytest.fixture(params=["tls", "plain"])
def registry(
    request: pytest.FixtureRequest,
    registry_process: Callable[..., RegistryProcess],
    tmp_path: Path,
    lan_address: str,
    ca: KeyPair,
) -> Registry:
    """A registry beyond loopback."""
    if request.param == "plain":
        return Registry(registry_process(host=lan_address).address, None)
    leaf = new_leaf(ca, Names.of([lan_address]), datetime.now(UTC))
    (tmp_path / "tls.crt").write_bytes(leaf.certificate)
    (tmp_path / "tls.key").write_text(leaf.key.reveal())
    running = registry_process(host=lan_address, certificate=(tmp_path / "tls.crt", tmp_path / "tls.key"))
    return Registry(running.address, ca.certificate)


def control(private_engine: PrivateEngine) -> Control:
    probe = EngineProbe(private_engine.url)
    return Control(find(private_engine.url, probe.info()), probe, Daemon.RELOAD, lambda stops: False)


@pytest.fixture
def docker_client(private_engine: PrivateEngine) -> Docker:
    return Docker(control(private_engine))


@pytest.fixture
def ledger(docker_client: Docker, registry: Registry) -> Iterator[MemoryLedger]:
    kept = MemoryLedger()
    yield kept
    remove(docker_client, registry.address, kept)  # certs.d is the machine's


def test_the_engine_pushes_and_pulls_only_while_trust_is_installed(
    private_engine: PrivateEngine, docker_client: Docker, registry: Registry, ledger: MemoryLedger
) -> None:
    original = private_engine.daemon_json.read_bytes()
    refusal = UnknownAuthority if registry.tls else PlainHttpRefused
    sdk = private_engine.client()
    try:
        with pytest.raises(refusal):
            prove_engine(sdk, registry.address, None, repository="proof")
        assert install(docker_client, registry, ledger).notes == ()
        prove_engine(sdk, registry.address, None, repository="proof")
        assert status(docker_client, registry).state is State.TRUSTS
        assert install(docker_client, registry, ledger).paths == ()
        assert remove(docker_client, registry.address, ledger).notes == ()
        with pytest.raises(refusal):
            prove_engine(sdk, registry.address, None, repository="proof")
    finally:
        sdk.close()
    assert private_engine.daemon_json.read_bytes() == original


def test_an_entry_that_the_engine_has_not_read_yet_is_brought_to_it(
    private_engine: PrivateEngine, docker_client: Docker
) -> None:
    plain = Registry("registry.lan:5000", None)
    private_engine.daemon_json.write_text('{"insecure-registries": ["registry.lan:5000"]}')
    assert "differs" in status(docker_client, plain).detail
    install(docker_client, plain, MemoryLedger())
    assert status(docker_client, plain).state is State.TRUSTS


FORGOTTEN = ["{}\n", '{"debug": false}', None]


@pytest.mark.parametrize("theirs", FORGOTTEN, ids=["original", "others", "gone"])
def test_an_entry_that_others_took_out_and_the_engine_remembers_is_put_back_or_let_go(
    private_engine: PrivateEngine, docker_client: Docker, theirs: str | None
) -> None:
    """A tool that writes daemon.json anew does not reload the engine; the next restart forgets the entry."""
    plain, kept, probe = Registry("registry.lan:5000", None), MemoryLedger(), EngineProbe(private_engine.url)

    def rewrite() -> None:
        private_engine.daemon_json.unlink()
        if theirs is not None:
            private_engine.daemon_json.write_text(theirs)

    install(docker_client, plain, kept)
    rewrite()
    assert status(docker_client, plain).state is State.DIFFERS
    assert install(docker_client, plain, kept).paths == (private_engine.daemon_json,)
    assert plain.address in private_engine.daemon_json.read_text()
    rewrite()
    assert is_listed(probe.info() or {}, plain.address)
    assert remove(docker_client, plain.address, kept).notes == ()
    assert not is_listed(probe.info() or {}, plain.address)
    left = private_engine.daemon_json.read_text() if private_engine.daemon_json.exists() else None
    private_engine.daemon_json.write_text("{}\n")
    assert left == theirs


def test_a_loopback_address_is_left_alone_and_that_is_said(docker_client: Docker) -> None:
    done = install(docker_client, Registry("localhost:5000", None), MemoryLedger())
    assert done.paths == ()
    assert "loopback" in done.reason


def test_the_engine_asks_a_cache_of_docker_hub_first_and_keeps_what_it_trusts(
    private_engine: PrivateEngine, registry_process: Callable[..., RegistryProcess], lan_address: str
) -> None:
    """A registry with an image in ``library/`` stands for the cache: no test can reach Docker Hub."""
    original = b'{"insecure-registries": ["theirs.lan:5000"]}'
    private_engine.daemon_json.write_bytes(original)
    private_engine.reload()
    cache, name, kept = registry_process(host=lan_address).address, unique(), MemoryLedger()
    clients = [kind(control(private_engine)) for kind in (Docker, DockerMirror)]
    sdk = private_engine.client()
    image = load(sdk, tiny_archive(f"{cache}/library/{name}:1"))
    told = Registry(cache, None, mirror=f"http://{cache}")

    def pull() -> None:
        sdk.images.pull(name, tag="1")

    try:
        for client in clients:
            assert status(client, told).state is State.DIFFERS
            assert install(client, told, kept).notes == ()
            assert install(client, told, kept).paths == ()
        assert mirrors(sdk.info()) == (f"http://{cache}/",)
        assert all(is_listed(sdk.info(), one) for one in ("theirs.lan:5000", cache))
        sdk.images.push(f"{cache}/library/{name}", tag="1")
        sdk.images.remove(str(image.id), force=True)
        pull()
        assert sdk.images.get(f"{name}:1").id == image.id
        sdk.images.remove(str(image.id), force=True)
        for client in clients:
            assert remove(client, cache, kept).notes == ()
        with pytest.raises(docker.errors.APIError):
            pull()
        assert (mirrors(sdk.info()), is_listed(sdk.info(), "theirs.lan:5000")) == ((), True)
    finally:
        sdk.close()
    assert private_engine.daemon_json.read_bytes() == original


def refused(registry: Registry, done: Completed) -> None:
    assert done.code != 0
    assert (UNKNOWN_CA if registry.tls else PLAIN_HTTP) in done.err + done.out


def reached(done: Completed) -> None:
    assert any(word in done.err for word in REACHED), done.err
    assert not any(word in done.err for word in ("x509", "failed to decode")), done.err


def test_skopeo_reaches_the_registry_only_while_trust_is_installed(
    tmp_path: Path, registry: Registry
) -> None:
    containers = tmp_path / "containers"
    containers.mkdir()
    client, kept = Podman(containers), MemoryLedger()

    def list_tags() -> Completed:
        """Run skopeo where /etc/containers is ours, in a mount namespace of its own."""
        mount = 'mount --bind "$0" /etc/containers && exec "$@"'
        skopeo = [need("skopeo"), "--insecure-policy", "list-tags", f"docker://{registry.address}/app"]
        return run([need("unshare"), "--mount", "sh", "-c", mount, str(containers), *skopeo])

    refused(registry, list_tags())
    install(client, registry, kept)
    reached(list_tags())
    remove(client, registry.address, kept)
    refused(registry, list_tags())


def test_containerd_reaches_the_registry_only_while_trust_is_installed(
    tmp_path: Path, registry: Registry, private_engine: PrivateEngine
) -> None:
    client, kept = Containerd(tmp_path / "containerd" / "config.toml"), MemoryLedger()
    hosts = tmp_path / "containerd" / "certs.d"
    socket = private_engine.home / "x" / "containerd" / "containerd.sock"

    def pull() -> Completed:
        image = f"{registry.address}/app:1"
        return run([need("ctr"), "-a", str(socket), "images", "pull", f"--hosts-dir={hosts}", image])

    refused(registry, pull())
    install(client, registry, kept)
    reached(pull())
    remove(client, registry.address, kept)
    refused(registry, pull())


SYSTEM_STORE = """
import sys
from pathlib import Path
from regsetup.trust.base import Registry
from regsetup.trust.install import install, remove
from regsetup.trust.system import DEBIAN, System
from tests.bed.clients import run
from tests.bed.ledger import MemoryLedger

address, ca = sys.argv[1:]
bundle = Path("/etc/ssl/certs/ca-certificates.crt")
client, ledger = System(DEBIAN), MemoryLedger()
before = bundle.read_bytes()
print(run(["curl", "-sS", f"https://{address}/v2/"]).code)
install(client, Registry(address, Path(ca).read_bytes()), ledger)
print(run(["curl", "-sS", f"https://{address}/v2/"]).code)
remove(client, address, ledger)
print(run(["curl", "-sS", f"https://{address}/v2/"]).code)
print(sorted(bundle.read_bytes().split(b"-----BEGIN")) == sorted(before.split(b"-----BEGIN")))
"""


@pytest.mark.parametrize("registry", ["tls"], indirect=True)
def test_curl_reaches_the_registry_only_while_the_system_trusts_it(
    tmp_path: Path, registry: Registry
) -> None:
    need("update-ca-certificates")
    need("curl")
    (tmp_path / "ca.crt").write_bytes(registry.ca or b"")
    python = [sys.executable, "-c", SYSTEM_STORE, registry.address, str(tmp_path / "ca.crt")]
    done = run([need("unshare"), "--mount", "sh", "-c", f'{own_store(tmp_path)} && exec "$0" "$@"', *python])
    assert done.ok().out.split() == ["60", "0", "60", "True"]
    assert heard(tmp_path)[-1].startswith("-/etc/ssl/certs/regsetup-")


@pytest.mark.parametrize("registry", ["tls"], indirect=True)
def test_the_exported_script_lets_programs_with_a_store_of_their_own_hear_what_went(
    tmp_path: Path, registry: Registry
) -> None:
    need("update-ca-certificates")
    (tmp_path / "trust.sh").write_text(script([registry], datetime.now(UTC), ["system"]))
    both = f"sh {tmp_path}/trust.sh && sh {tmp_path}/trust.sh --remove"
    environment = {"HOME": str(tmp_path)}
    run([need("unshare"), "--mount", "sh", "-c", f"{own_store(tmp_path)} && {both}"], env=environment).ok()
    ours = [line for line in heard(tmp_path) if "regsetup-" in line]
    assert [line[0] for line in ours] == ["+", "-"]


def own_store(place: Path) -> str:
    """Return what gives a process a CA store of its own, with a hook that writes down what it hears."""
    overlays = " && ".join(
        f"mkdir -p {place}/o/u{n} {place}/o/w{n} && mount -t overlay o"
        f" -o lowerdir={path},upperdir={place}/o/u{n},workdir={place}/o/w{n} {path}"
        for n, path in enumerate(("/etc/ssl", "/usr/local/share", "/var/lib"))
    )
    hook = place / "hooks" / "hook"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncat >>{place}/heard\n")
    hook.chmod(0o755)
    return (
        f"mkdir {place}/o && mount -t tmpfs o {place}/o && update-ca-certificates >&2 && {overlays}"
        f" && mount --bind {hook.parent} /etc/ca-certificates/update.d"
    )


def heard(place: Path) -> list[str]:
    """Return what its hook heard."""
    return (place / "heard").read_text().splitlines()


@pytest.mark.parametrize("registry", ["plain"], indirect=True)
def test_the_exported_script_makes_a_running_engine_follow_and_let_go(
    tmp_path: Path, registry: Registry, private_engine: PrivateEngine
) -> None:
    original = private_engine.daemon_json.read_bytes()
    for directory in ("etc", "var/run", "var/lib"):
        (tmp_path / "root" / directory).mkdir(parents=True)
    (tmp_path / "root" / "etc" / "docker").symlink_to(private_engine.home)
    (tmp_path / "root" / "var" / "run" / "docker.pid").symlink_to(private_engine.pidfile)

    def sh(*args: str) -> Completed:
        env = {"ROOT": str(tmp_path / "root"), "DOCKER_HOST": private_engine.url}
        return run(
            [need("dash"), "-s", "--", *args], stdin=script([registry], datetime.now(UTC)), env=env
        ).ok()

    sdk = private_engine.client()
    try:
        sh("--for", "docker")
        prove_engine(sdk, registry.address, None, repository="proof")
        for theirs in ("{}\n", '{"debug": false}'):  # taken out by others, and remembered by the engine
            private_engine.daemon_json.write_text(theirs)
            sh("--for", "docker")
            assert registry.address in private_engine.daemon_json.read_text()
            private_engine.daemon_json.write_text(theirs)
            sh("--remove")
            assert private_engine.daemon_json.read_text() == theirs
            with pytest.raises(PlainHttpRefused):
                prove_engine(sdk, registry.address, None, repository="proof")
            private_engine.daemon_json.write_bytes(original)
            sh("--for", "docker")
        sh("--remove")
        with pytest.raises(PlainHttpRefused):
            prove_engine(sdk, registry.address, None, repository="proof")
    finally:
        sdk.close()
    assert private_engine.daemon_json.read_bytes() == original
