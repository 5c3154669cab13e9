"""References as people type them, followed to the request: Docker Hub's short names, IPv6, tag and digest."""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.client import Endpoint, RegistryClient
from regsetup.image.document import OCI_CONFIG, OCI_MANIFEST
from regsetup.reference import Digest
from tests.bed.clients import run
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.registry import start_registry
from tests.bed.run import need
from tests.contract.filled import Filled
from tests.registry.harness import Running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed.liar import Request
    from tests.bed.registry import RegistryProcess
    from tests.contract.calling import Calling

MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"sha256:%s","size":2},"layers":[]}'
    % (OCI_MANIFEST.encode(), OCI_CONFIG.encode(), Digest.of(b"{}").hex.encode())
)
DIGEST = Digest.of(MANIFEST)
HUB, TOKENS = "registry-1.docker.io", "auth.docker.io"


@dataclass
class Hub:
    """A stand-in for Docker Hub that lets nobody in without a token, and the way there through a proxy."""

    authority: Path
    proxy: str
    server: Liar
    tunnels: list[str] = field(default_factory=list)

    @property
    def scopes(self) -> set[str]:
        """What tokens were asked for."""
        found = (urlsplit(one.target) for one in self.server.requests)
        return {scope for one in found if one.path == "/token" for scope in parse_qs(one.query)["scope"]}

    @property
    def manifests(self) -> set[str]:
        """Which manifests were asked for with a token."""
        return {
            one.path
            for one in self.server.requests
            if "/manifests/" in one.path and "authorization" in one.headers
        }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Docker Hub as this machine reaches it: by its own names, over TLS."""
    names, now = Names.of([HUB, TOKENS]), datetime.now(UTC)
    authority = new_ca("test", names, now)
    leaf = new_leaf(authority, names, now)
    (tmp_path / "hub.crt").write_bytes(authority.certificate)
    (tmp_path / "tls.crt").write_bytes(leaf.certificate)
    (tmp_path / "tls.key").write_text(leaf.key.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with Liar(_answer, tls=context) as server, _tunnel(server.port) as (proxy, tunnels):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield Hub(tmp_path / "hub.crt", proxy, server, tunnels)


def _answer(request: Request) -> bytes:
    """Answer as the Hub does: a token for everybody, and nothing without one."""
    if request.path == "/token":
        return reply_json({"token": parse_qs(urlsplit(request.target).query)["scope"][0]})
    repository = request.path.removeprefix("/v2/").partition("/manifests/")[0]
    if request.headers.get("authorization") != f"Bearer repository:{repository}:pull":
        scope = f',scope="repository:{repository}:pull"' if "/manifests/" in request.path else ""
        asked = f'Bearer realm="https://{TOKENS}/token",service="registry.docker.io"{scope}'
        return reply(401, WWW_Authenticate=asked)
    sent = b"" if request.method == "HEAD" else MANIFEST
    more: dict[str, Any] = {"Content_Type": OCI_MANIFEST, "Docker_Content_Digest": str(DIGEST)}
    return reply(200, sent, length=len(MANIFEST), **more)


@contextmanager
def _tunnel(port: int) -> Iterator[tuple[str, list[str]]]:
    """Lead every CONNECT to a port of this machine; tell the proxy's URL, and what was asked for."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        rbufsize = 0

        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().split()[1])
            while self.rfile.readline().strip():
                pass
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.request.sendall(b"HTTP/1.1 200 x\r\n\r\n")
                _pump(self.request, there)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def _pump(here: socket.socket, there: socket.socket) -> None:
    other = {here: there, there: here}
    while True:
        for one in select.select([here, there], [], [])[0]:
            piece = one.recv(65536)
            if not piece:
                return
            other[one].sendall(piece)


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        ("docker.io/alpine", "library/alpine/manifests/latest"),
        ("docker.io/alpine:3", "library/alpine/manifests/3"),
        ("docker.io/library/alpine", "library/alpine/manifests/latest"),
        ("index.docker.io/alpine:3", "library/alpine/manifests/3"),
        ("docker.io/team/app:1", "team/app/manifests/1"),
        (f"docker.io/alpine@{DIGEST}", f"library/alpine/manifests/{DIGEST}"),
    ],
)
def test_docker_hub_is_asked_for_what_skopeo_asks_it_for(
    hub: Hub, call: Calling, ref: str, path: str
) -> None:
    assert call("manifest", ref, "--raw", "--ca", str(hub.authority)).ok().raw == MANIFEST
    assert hub.manifests == {f"/v2/{path}"}
    assert set(hub.tunnels) == {f"{HUB}:443", f"{TOKENS}:443"}
    repository = path.partition("/manifests/")[0]
    assert hub.scopes == {f"repository:{repository}:pull"}
    hub.server.requests.clear()
    told = {"SSL_CERT_FILE": str(hub.authority), "HTTPS_PROXY": hub.proxy, "HOME": str(call.home)}
    theirs = run([need("skopeo"), "inspect", "--raw", f"docker://{ref}"], env=told).ok()
    assert theirs.out.encode() == MANIFEST
    assert hub.manifests == {f"/v2/{path}"}


def test_a_bare_name_is_one_of_this_machine_s_registry_or_of_the_one_that_is_named(
    hub: Hub, call: Calling
) -> None:
    assert call.codes("exists", "alpine") == (1, ["no-registry-named"])
    assert hub.tunnels == []
    for name in ("alpine", "docker.io/alpine"):
        said = call("exists", name, "--registry", "docker.io", "--ca", str(hub.authority))
        assert said.ok().lines == [str(DIGEST)]
    assert hub.manifests == {"/v2/library/alpine/manifests/latest"}


def test_docker_hub_s_certificate_is_asked_for(hub: Hub, call: Calling) -> None:
    assert call.codes("exists", "docker.io/alpine", "--ca", str(hub.authority))[0] == 0
    assert call.codes("exists", "docker.io/alpine")[1] == ["tls-untrusted"]


@pytest.fixture(params=["registry2", "bundled"])
def six(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """A registry of each kind that listens on ::1 and nowhere else."""
    served: RegistryProcess | Running
    if request.param == "registry2":
        served = start_registry(tmp_path, data=tmp_path / "data", host="::1")
    else:
        served = Running.start(tmp_path / "data", host="::1")
    host = f"[::1]:{served.port}"
    with RegistryClient(Endpoint(f"http://{host}")) as client:
        yield Filled(client, host)
    served.stop()


def test_a_registry_on_an_address_of_ipv6_is_reached_by_every_command(
    six: Filled, call: Calling, tmp_path: Path
) -> None:
    image = six.image("team/app", "1")
    digest, ref = Digest.of(image), f"{six.host}/team/app:1"
    assert call("catalog", "--registry", six.host).ok().lines == ["team/app"]
    assert call("catalog", "--registry", f"http://{six.host}").ok().lines == ["team/app"]
    assert call("tags", f"{six.host}/team/app").ok().lines == ["1"]
    assert call("manifest", ref, "--raw").ok().raw == image
    assert call.json("inspect", ref)["data"]["digest"] == str(digest)
    call("pull", ref, str(tmp_path / "layout")).ok()
    call("push", str(tmp_path / "layout"), f"{six.host}/team/app:2").ok()
    call("copy", ref, f"{six.host}/other:1").ok()
    call("rm", f"{six.host}/team/app:2", "-y").ok()
    assert call("catalog", "--registry", six.host, "--tags").ok().lines == ["other:1", "team/app:1"]
    port = six.host.rpartition(":")[2]
    assert call("exists", f"127.0.0.1:{port}/team/app:1").code == 1, "it listens on ::1 alone"


def test_of_tag_and_digest_the_digest_counts(filled: Filled, call: Calling) -> None:
    first, second = filled.image("app", "1", layers=(b"1",)), filled.image("app", "2", layers=(b"2",))
    ref = f"{filled.host}/app:1@{Digest.of(second)}"
    assert call("manifest", ref, "--raw").ok().raw == second
    assert call("exists", ref).ok().lines == [str(Digest.of(second))]
    assert call("manifest", f"{filled.host}/app@{Digest.of(first)}", "--raw").ok().raw == first
    gone = f"{filled.host}/app:1@{Digest.of(b'nothing')}"
    assert call.codes("exists", gone) == (3, ["not-there"])
