"""The proof by the engine: it holds for a good registry, and says what is wrong with any other."""

from __future__ import annotations

import re
import shutil
import socketserver
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import create_connection, socket
from typing import TYPE_CHECKING

import docker
import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.htpasswd import Cost, hash_password
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.client import Credentials
from regsetup.secret import Secret
from regsetup.trust.proof import EngineGaveAnotherImage, EngineLost, prove_engine
from regsetup.trust.refusals import (
    EngineUnauthorized,
    NameNotInCertificate,
    NameUnknown,
    PlainHttpRefused,
    Refusal,
    UnknownAuthority,
    Unreachable,
)
from tests.bed.newer import NEWER, start_newer_engine
from tests.bed.roots import ensure_root_image
from tests.bed.run import RUN, free_port, lan_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.engine import PrivateEngine
    from tests.bed.registry import RegistryProcess

    StartRegistry = Callable[..., RegistryProcess]

pytestmark = pytest.mark.engine

ALICE = Credentials("alice", Secret("right-horse"))
REPOSITORY = f"{RUN}/proof"  # no other run's, so that what is left can be told


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hash_password(ALICE.password, Cost.FAST)}\n")
    return path


@pytest.fixture(autouse=True)
def nothing_is_left(engine: docker.DockerClient) -> Iterator[None]:
    """After every test, good or bad, no tag and no digest of the proof is in the engine."""
    yield
    attrs = [image.attrs for image in engine.images.list(all=True)]
    names = [name for one in attrs for name in [*(one["RepoTags"] or ()), *(one["RepoDigests"] or ())]]
    assert [name for name in names if REPOSITORY in name] == []


def certificate(place: Path, *names: str) -> tuple[Path, Path]:
    """Write a leaf for ``names``, signed by a new CA (``ca.crt``)."""
    now = datetime.now(UTC)
    ca = new_ca("tests", Names.of(names), now)
    leaf = new_leaf(ca, Names.of(names), now)
    (place / "tls.crt").write_bytes(leaf.certificate)
    (place / "tls.key").write_text(leaf.key.reveal())
    (place / "ca.crt").write_bytes(ca.certificate)
    return place / "tls.crt", place / "tls.key"


@contextmanager
def trusted_ca(address: str, ca: Path) -> Iterator[None]:
    """Make the engine trust ``ca`` for ``address``, which is this test's alone."""
    directory = Path("/etc/docker/certs.d", address)
    directory.mkdir(parents=True)
    shutil.copy(ca, directory / "ca.crt")
    try:
        yield
    finally:
        shutil.rmtree(directory)


def test_it_holds_with_users_and_says_what_it_pushed(
    engine: docker.DockerClient, registry_process: StartRegistry, htpasswd: Path
) -> None:
    registry = registry_process(htpasswd=htpasswd)
    pushed = prove_engine(engine, registry.address, ALICE, repository=REPOSITORY)
    assert (pushed.registry, pushed.repository) == (registry.address, REPOSITORY)
    stored = registry.data / "docker/registry/v2/repositories" / REPOSITORY / "_manifests"
    assert (stored / f"tags/{pushed.tag}/current/link").read_text() == str(pushed.digest)
    log = registry.log.read_text().splitlines()
    fetched = [line for line in log if '"GET /v2/' in line and "/blobs/" in line]
    assert len(fetched) == 2, "configuration and layer came from the registry, not from the engine's store"


def test_it_holds_without_users(engine: docker.DockerClient, registry_process: StartRegistry) -> None:
    registry = registry_process()
    assert prove_engine(engine, registry.address, None, repository=REPOSITORY).digest


def test_two_proofs_never_push_the_same(engine: docker.DockerClient, registry_process: StartRegistry) -> None:
    registry = registry_process()
    one, two = (prove_engine(engine, registry.address, None, repository=REPOSITORY) for _ in range(2))
    assert one.tag != two.tag
    assert one.digest != two.digest


def test_it_writes_no_credentials_to_disk(
    registry_process: StartRegistry,
    htpasswd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: docker.DockerClient,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "home/.docker"))
    client = docker.from_env()
    prove_engine(client, registry_process(htpasswd=htpasswd).address, ALICE, repository=REPOSITORY)
    client.close()
    assert not (tmp_path / "home").exists()


def test_a_wrong_password_is_refused_and_not_told(
    engine: docker.DockerClient, registry_process: StartRegistry, htpasswd: Path
) -> None:
    wrong = Credentials("alice", Secret("wrong-horse"))
    registry = registry_process(htpasswd=htpasswd)
    with pytest.raises(EngineUnauthorized) as caught:
        prove_engine(engine, registry.address, wrong, repository=REPOSITORY)
    assert "wrong-horse" not in str(caught.value.as_dict())


def test_without_credentials_those_of_an_earlier_login_are_not_taken(
    engine: docker.DockerClient, registry_process: StartRegistry, htpasswd: Path
) -> None:
    registry = registry_process(htpasswd=htpasswd)
    prove_engine(engine, registry.address, ALICE, repository=REPOSITORY)
    with pytest.raises(EngineUnauthorized):
        prove_engine(engine, registry.address, None, repository=REPOSITORY)


def test_a_wrong_port_is_unreachable(engine: docker.DockerClient) -> None:
    with pytest.raises(Unreachable):
        prove_engine(engine, f"127.0.0.1:{free_port()}", None, repository=REPOSITORY)


def test_a_name_that_nobody_knows_is_named(engine: docker.DockerClient) -> None:
    with pytest.raises(NameUnknown, match=r"nowhere\.invalid:5000"):
        prove_engine(engine, "nowhere.invalid:5000", ALICE, repository=REPOSITORY)


def test_plain_http_beyond_loopback_is_refused(
    engine: docker.DockerClient, registry_process: StartRegistry
) -> None:
    registry = registry_process(host=lan_address())
    with pytest.raises(PlainHttpRefused):
        prove_engine(engine, registry.address, None, repository=REPOSITORY)


def test_plain_http_beyond_loopback_holds_once_it_is_in_insecure_registries(
    private_engine: PrivateEngine, registry_process: StartRegistry
) -> None:
    registry = registry_process(host=lan_address())
    private_engine.daemon_json.write_text(f'{{"insecure-registries": ["{registry.address}"]}}\n')
    private_engine.stop()
    private_engine.start()
    client = private_engine.client()
    prove_engine(client, registry.address, None, repository=REPOSITORY)
    client.close()


def test_tls_holds_with_the_ca_and_not_without(
    engine: docker.DockerClient, registry_process: StartRegistry, htpasswd: Path, tmp_path: Path
) -> None:
    host = lan_address()
    registry = registry_process(host=host, htpasswd=htpasswd, certificate=certificate(tmp_path, host))
    with pytest.raises(UnknownAuthority):
        prove_engine(engine, registry.address, ALICE, repository=REPOSITORY)
    with trusted_ca(registry.address, tmp_path / "ca.crt"):
        prove_engine(engine, registry.address, ALICE, repository=REPOSITORY)


def test_a_certificate_for_another_name_is_refused(
    engine: docker.DockerClient, registry_process: StartRegistry, tmp_path: Path
) -> None:
    registry = registry_process(host=lan_address(), certificate=certificate(tmp_path, "10.99.99.99"))
    with (
        trusted_ca(registry.address, tmp_path / "ca.crt"),
        pytest.raises(NameNotInCertificate),
    ):
        prove_engine(engine, registry.address, None, repository=REPOSITORY)


def test_an_engine_that_goes_away_is_not_blamed_on_the_registry() -> None:
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{free_port()}", version="1.41")
    with pytest.raises(EngineLost):
        prove_engine(client, "127.0.0.1:5000", None, repository=REPOSITORY)
    client.close()


def test_a_registry_that_stores_nothing_is_explained_in_its_own_words(
    engine: docker.DockerClient, registry_process: StartRegistry
) -> None:
    read_only = {"readonly": {"enabled": True}}
    registry = registry_process(settings={"storage": {"inmemory": {}, "maintenance": read_only}})
    with pytest.raises(Refusal) as caught:
        prove_engine(engine, registry.address, None, repository=REPOSITORY)
    assert caught.value.code == "engine-refused"
    assert caught.value.cause is not None
    assert "405" in caught.value.cause


@pytest.mark.hosts
@pytest.mark.slow
@pytest.mark.parametrize("containerd", [False, True], ids=["graph-driver", "containerd-image-store"])
def test_it_holds_on_a_newer_engine_and_leaves_nothing_there(
    engine: docker.DockerClient,
    registry_process: StartRegistry,
    htpasswd: Path,
    unique_name: str,
    containerd: bool,
) -> None:
    registry = registry_process(host=lan_address(), htpasswd=htpasswd)
    image = ensure_root_image(engine, NEWER)
    settings = {
        "insecure-registries": [registry.address],
        "features": {"containerd-snapshotter": containerd},
    }
    newer = start_newer_engine(engine, image, unique_name, settings)
    client = newer.client()
    try:
        assert int(client.version()["Version"].partition(".")[0]) >= 26
        prove_engine(client, registry.address, ALICE, repository=REPOSITORY)
        assert client.images.list(all=True) == []
        with pytest.raises(EngineUnauthorized):
            prove_engine(client, registry.address, None, repository=REPOSITORY)
        assert client.images.list(all=True) == []
    finally:
        client.close()
        newer.remove()


_PROOF_TAG = re.compile(rb"(?<=/manifests/)proof-[0-9a-f]{8}")
_OTHER_TAG = b"other-00000000"  # of the same length


class _Liar(socketserver.BaseRequestHandler):
    """Forwards to a registry, but answers every request for a proof's tag with another image's manifest."""

    def handle(self) -> None:
        assert isinstance(self.server, _LyingServer)
        with create_connection(("127.0.0.1", self.server.behind)) as upstream:
            back = threading.Thread(target=self._copy, args=(upstream, self.request, False))
            back.start()
            self._copy(self.request, upstream, True)
            back.join()

    def _copy(self, source: socket, target: socket, lie: bool) -> None:
        while chunk := source.recv(65536):
            asked = chunk.split(b" ", 1)[0] in {b"GET", b"HEAD"}
            target.sendall(_PROOF_TAG.sub(_OTHER_TAG, chunk) if lie and asked else chunk)
        target.shutdown(1)


class _LyingServer(socketserver.ThreadingTCPServer):
    def __init__(self, behind: int) -> None:
        self.behind = behind
        super().__init__(("127.0.0.1", 0), _Liar)


def test_a_registry_that_gives_another_image_is_found_out(
    engine: docker.DockerClient, registry_process: StartRegistry
) -> None:
    registry = registry_process()
    other = prove_engine(engine, registry.address, None, repository=REPOSITORY)
    tags = registry.data / "docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags"
    shutil.copytree(tags / str(other.tag), tags / _OTHER_TAG.decode())
    with _LyingServer(registry.port) as liar:
        threading.Thread(target=liar.serve_forever, args=(0.05,)).start()
        address = f"127.0.0.1:{liar.server_address[1]}"
        try:
            with pytest.raises(EngineGaveAnotherImage, match="pushed sha256:"):
                prove_engine(engine, address, None, repository=REPOSITORY)
        finally:
            liar.shutdown()
