"""What the server bears: bad requests, slow clients, full disks, read-only, immutable tags, signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE
from regsetup.registry.context import BULK
from tests.registry.harness import (
    Client,
    Running,
    descriptor,
    eventually,
    free_port,
    image,
    index,
    local,
    raw,
    refuse_to_start,
)
from tests.registry.test_tls import make, trusting

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
HELLO = bytes.fromhex("16030100f1010000ed0303") + os.urandom(200)  # the beginning of a TLS ClientHello


def test_a_tls_client_hello_is_answered_at_once(registry: Running) -> None:
    begin = time.monotonic()
    assert raw(registry.port, HELLO).startswith(b"HTTP/1.")
    assert b" 400 " in raw(registry.port, HELLO)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    ],
    ids=["garbage", "length", "header", "line", "headers"],
)
def test_what_is_no_request_is_answered_with_400(registry: Running, request_: bytes) -> None:
    answer = raw(registry.port, request_)
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b'"errors"' in answer


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd/manifests/x",
        "/v2/%2e%2e/%2e%2e/manifests/x",
        "/v2/a/../b/tags/list",
        "/v2/UPPER/tags/list",
        "/v2/a//b/tags/list",
        "/v2/-a/manifests/x",
        "/v2/" + "a" * 256 + "/manifests/x",
        "/v2/_catalog/tags/list",
    ],
)
def test_no_name_leaves_the_grammar(registry: Running, path: str) -> None:
    answer = raw(registry.port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert b"NAME_" in answer


@pytest.mark.parametrize("tag", [".hidden", "-x", "a" * 129, "a%20b", "a%2Fb", "..", "%00"])
def test_no_tag_leaves_the_grammar(client: Client, repository: str, tag: str) -> None:
    _, manifest = client.push_image(repository)
    assert client.push_manifest(repository, tag, manifest).status in {400, 404}
    assert client.get(f"/v2/{repository}/manifests/{tag}").status in {400, 404}
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["latest"]


@pytest.mark.parametrize("path", ["/nothing", "/v2/x", "/v2/manifests/x", "/v1/", "/v2/a/other/b"])
def test_other_paths_lead_nowhere(client: Client, path: str) -> None:
    assert client.get(path).status == 404


@pytest.mark.parametrize("path", ["/", "/v2/", "/healthz", "/metrics"])
def test_fixed_paths_are_only_read(client: Client, path: str) -> None:
    answer = client.ask("PUT", path, b"x")
    assert (answer.status, answer.codes, answer["Allow"]) == (405, ["UNSUPPORTED"], "GET, HEAD")
    assert client.head(path).status == 200


def test_a_method_that_is_not_supported_is_named(client: Client, repository: str) -> None:
    answer = client.ask("PATCH", f"/v2/{repository}/blobs/{Digest.of(b'x')}")
    assert (answer.status, answer["Allow"]) == (405, "DELETE, GET, HEAD")


def test_a_manifest_above_four_mebibytes_is_413(client: Client, repository: str) -> None:
    large = image(annotations={"large": "A" * (4 * MIB)})
    answer = client.push_manifest(repository, "x", large)
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])
    streamed = client.ask("PUT", f"/v2/{repository}/manifests/x", iter([large]), chunked=True)
    assert streamed.status == 413


def test_a_body_is_asked_for_only_when_it_is_wanted(registry: Running) -> None:
    digest = Digest.of(b"x" * 10)
    lines = (
        "POST {0} HTTP/1.1",
        "Host: x",
        "Content-Length: 10",
        "Expect: 100-continue",
        "Connection: close",
    )
    head = "\r\n".join((*lines, "", ""))
    with socket.create_connection(("127.0.0.1", registry.port), timeout=5) as connection:
        connection.sendall(head.format(f"/v2/expect/blobs/uploads/?digest={digest}").encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"x" * 10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    with socket.create_connection(("127.0.0.1", registry.port), timeout=5) as connection:
        connection.sendall(head.format("/v2/expect/blobs/uploads/?digest=nothing").encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_chunked_body_that_breaks_its_rules_is_refused(registry: Running) -> None:
    with registry.client() as client:
        location = local(client.ask("POST", "/v2/broken/blobs/uploads/")["Location"])
        request = (
            f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
        )
        assert b" 400 " in raw(registry.port, request.encode()).partition(b"\r\n")[0]
        assert client.get(location).status == 204


class TestClientsOfDifferentManners:
    """Quirks of clients that must not be refused."""

    def test_an_end_that_is_off_by_one(self, client: Client, repository: str) -> None:
        location = local(client.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"])
        answer = client.ask("PATCH", location, b"0123456789", {"Content-Range": "0-10"})
        assert (answer.status, answer["Range"]) == (202, "0-9")

    def test_a_content_range_on_an_empty_last_put(self, client: Client, repository: str) -> None:
        location = local(client.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"])
        assert client.ask("PATCH", location, b"0123456789").status == 202
        target = f"{location}?digest={Digest.of(b'0123456789')}"
        answer = client.ask("PUT", target, b"", {"Content-Range": "10-9", "Content-Length": "0"})
        assert answer.status == 201

    def test_a_range_that_does_not_fit_its_body_is_refused(self, client: Client, repository: str) -> None:
        location = local(client.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"])
        answer = client.ask("PATCH", location, b"0123456789", {"Content-Range": "0-99"})
        assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])
        answer = client.ask("PATCH", location, b"0123456789", {"Content-Range": "from here on"})
        assert (answer.status, answer.codes) == (400, ["RANGE_INVALID"])
        assert client.get(location)["Range"] == "0-0"

    def test_a_put_without_a_digest(self, client: Client, repository: str) -> None:
        location = local(client.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"])
        assert client.ask("PUT", location, b"x").codes == ["DIGEST_INVALID"]

    def test_two_at_once_on_one_upload(self, registry: Running, repository: str) -> None:
        with registry.client() as first, registry.client() as second:
            location = local(first.ask("POST", f"/v2/{repository}/blobs/uploads/")["Location"])
            connection = first._connect()
            connection.putrequest("PATCH", location)
            connection.putheader("Content-Length", "10")
            connection.endheaders(b"01234")
            eventually(lambda: second.ask("PATCH", location, b"x").status == 429)
            answer = second.ask("PATCH", location, b"x")
            assert (answer.codes, answer["Retry-After"]) == (["TOOMANYREQUESTS"], "1")
            connection.send(b"56789")
            assert connection.getresponse().status == 202

    def test_if_range_of_other_content_gets_everything(self, client: Client, repository: str) -> None:
        digest = client.push_blob(repository, b"0123456789")
        path = f"/v2/{repository}/blobs/{digest}"
        assert client.get(path, Range="bytes=0-3", If_Range=f'"{digest}"').body == b"0123"
        assert client.get(path, Range="bytes=0-3", If_Range='"other"').body == b"0123456789"
        assert client.get(path, Range="bytes=0-1,4-5").body == b"0123456789"
        assert client.get(path, Range="lines=1-2").status == 200


def test_unusual_content_is_warned_of(client: Client, repository: str) -> None:
    client.push_blob(repository, b"{}")
    odd = image(b"{}").replace(b'"size": 2', b'"size": 3')
    answer = client.push_manifest(repository, "odd", odd)
    assert answer.status == 201
    assert "has 2 bytes" in answer["Warning"]
    assert answer["Warning"].startswith('299 - "')


@pytest.mark.parametrize("count", [50, 51])
def test_a_push_sets_fifty_tags_at_most(client: Client, repository: str, count: int) -> None:
    digest, manifest = client.push_image(repository, None)
    tags = "&".join(f"tag=t{number}" for number in range(count))
    answer = client.push_manifest(repository, f"{digest}?{tags}", manifest)
    assert answer.status == (201 if count == 50 else 414)


def test_a_tag_parameter_must_be_a_tag(client: Client, repository: str) -> None:
    digest, manifest = client.push_image(repository, None)
    answer = client.push_manifest(repository, f"{digest}?tag=good&tag=.bad", manifest)
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == []


def test_schema_1_is_refused_by_name(client: Client, repository: str) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    for body, content_type in ((b'{"schemaVersion": 1}', ""), (image(), kind)):
        path = f"/v2/{repository}/manifests/old"
        answer = client.ask("PUT", path, body, {"Content-Type": content_type})
        assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
        assert "schema 1" in answer.json()["errors"][0]["message"]


def test_read_only_serves_and_takes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        digest, manifest = client.push_image("app")
    with Running.start(root, read_only=True) as running, running.client() as client:
        assert client.get("/v2/app/manifests/latest").body == manifest
        assert client.get("/healthz").status == 200
        for method, path in (
            ("POST", "/v2/app/blobs/uploads/"),
            ("PUT", "/v2/app/manifests/x"),
            ("DELETE", f"/v2/app/manifests/{digest}"),
        ):
            answer = client.ask(method, path)
            assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
            assert answer["Allow"] == "GET, HEAD"  # RFC 9110 15.5.6 wants one


def test_an_immutable_tag_stays_where_it_is(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", immutable_tags=("v*",)) as running, running.client() as client:
        digest, manifest = client.push_image("app", "v1")
        assert client.push_manifest("app", "v1", manifest).status == 201
        other = image(b'{"architecture": "amd64", "os": "linux"}', (b"layer",), annotations={"a": "b"})
        answer = client.push_manifest("app", "v1", other)
        assert (answer.status, answer.codes) == (409, ["DENIED"])
        assert client.ask("DELETE", "/v2/app/manifests/v1").status == 409
        assert client.ask("DELETE", f"/v2/app/manifests/{digest}").status == 409
        assert client.get("/v2/app/manifests/v1").body == manifest
        for manifest_ in (manifest, other):
            assert client.push_manifest("app", "latest", manifest_).status == 201
        assert client.ask("DELETE", "/v2/app/manifests/latest").status == 202


def test_a_push_that_an_immutable_tag_refuses_changes_nothing(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", immutable_tags=("v*",)) as running, running.client() as client:
        digest, first = client.push_image("app", "v1")
        other = image(b'{"architecture": "amd64", "os": "linux"}', (b"layer",), annotations={"a": "b"})
        path = f"/v2/app/manifests/{Digest.of(other)}"
        answer = client.ask("PUT", f"{path}?tag=one&tag=v1&tag=v2", other, {"Content-Type": OCI_IMAGE})
        assert (answer.status, answer.codes) == (409, ["DENIED"])
        assert answer.json()["errors"][0]["detail"] == {"tag": "v1", "digest": str(digest)}
        assert client.push_manifest("app", "v1", other).status == 409
        assert client.get(path).status == 404
        assert client.get("/v2/app/tags/list").json()["tags"] == ["v1"]
        assert client.get("/v2/app/manifests/v1").body == first


def test_what_an_immutable_image_needs_can_not_be_deleted(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", immutable_tags=("v*",)) as running, running.client() as client:
        child, body = client.push_image("app", None, (b"in both", b"of the child"))
        assert client.push_manifest("app", "v1", index(index(body), body)).status == 400
        assert client.push_manifest("app", "inner", index(body)).status == 201
        assert client.push_manifest("app", "v1", index(index(body))).status == 201
        other, _ = client.push_image("app", "latest", (b"in both", b"of the other"))
        needed = [f"manifests/{child}", f"manifests/{Digest.of(index(body))}"]
        needed += [f"blobs/{Digest.of(layer)}" for layer in (b"in both", b"of the child")]
        for path in needed:
            answer = client.ask("DELETE", f"/v2/app/{path}")
            assert (answer.status, answer.codes) == (409, ["DENIED"])
            assert client.head(f"/v2/app/{path}").status == 200
        for path in (f"manifests/{other}", f"blobs/{Digest.of(b'of the other')}"):
            assert client.ask("DELETE", f"/v2/app/{path}").status == 202
        assert client.ask("DELETE", f"/v2/none/manifests/{other}").status == 404


def test_sparse_manifests_are_taken_where_they_are_allowed(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", allow_sparse=True) as running, running.client() as client:
        answer = client.push_manifest("app", "sparse", index(image(b"missing")))
        assert answer.status == 201
        assert "is not in the repository" in answer["Warning"]
        assert client.push_manifest("app", "image", image(b"missing", (b"layer",))).status == 201


@pytest.mark.parametrize("body", [b"half of it", b""])
def test_a_client_that_sends_nothing_is_dropped(tmp_path: Path, body: bytes) -> None:
    with Running.start(tmp_path / "data", idle_timeout=0.3) as running, running.client() as client:
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
        assert raw(running.port, head + body, timeout=5) == b""
        eventually(lambda: client.get(location)["Range"] == f"0-{max(len(body) - 1, 0)}")


def test_a_push_that_was_cancelled_meanwhile_is_not_acknowledged(registry: Running, client: Client) -> None:
    content = bytes(1000)
    with begin_push(registry, client, 2 * len(content)) as line:
        line.sendall(content)
        (session,) = eventually_one(registry.root, len(content))
        path = f"/v2/app/blobs/uploads/{session.parent.name}"
        assert client.ask("DELETE", path).status == 204
        line.sendall(content)
        assert line.recv(1000).startswith(b"HTTP/1.1 404 ")


def eventually_one(root: Path, size: int) -> list[Path]:
    """Wait for an upload of so many bytes."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = [one for one in root.rglob("_uploads/*/data") if one.stat().st_size == size]
        return bool(found)

    eventually(look)
    return found


def test_a_client_that_takes_nothing_is_dropped(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", idle_timeout=0.3) as running, running.client() as client:
        digest = client.push_blob("app", os.urandom(32 * MIB))
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection:
            connection.sendall(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            eventually(lambda: " 499 " in running.log.read_text())
            assert received(connection) < 32 * MIB


def test_a_connection_that_waits_too_long_is_ended(tmp_path: Path) -> None:
    """Without a request, in the middle of a head, after an answer; an upload that goes on is not waiting."""
    with (
        Running.start(tmp_path / "data", keep_alive=1.5) as running,
        running.client() as client,
        contextlib.ExitStack() as stack,
    ):
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        patch = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n".encode()
        waiting = []
        for sent in (patch + b"12", b"", patch[:20], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            address = "127.0.0.1", running.port
            waiting.append(stack.enter_context(socket.create_connection(address, timeout=10)))
            waiting[-1].sendall(sent)
        busy, silent, slow, kept = waiting
        assert [received(silent), received(slow)] == [0, 0]
        assert received(kept) > 0
        busy.sendall(b"34")
        assert busy.recv(65536).startswith(b"HTTP/1.1 202 ")


def received(connection: socket.socket) -> int:
    """Return how many bytes come until the other side closes or resets."""
    got = 0
    try:
        while piece := connection.recv(1 << 20):
            got += len(piece)
    except ConnectionError:
        pass
    return got


def test_slow_clients_do_not_keep_a_fast_one_waiting(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data") as running, running.client() as client:
        content = os.urandom(8 * MIB)
        digest = client.push_blob("app", content)
        slow = []
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", running.port))
            connection.sendall(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            slow.append(connection)
        begin = time.monotonic()
        assert client.get(f"/v2/app/blobs/{digest}").body == content
        assert time.monotonic() - begin < 3
        for connection in slow:
            connection.close()


def test_pushes_over_a_slow_line_do_not_keep_a_fast_one_waiting(tmp_path: Path) -> None:
    """Each gives a little every few milliseconds, so it is never silent for long."""
    content = os.urandom(MIB)
    with (
        Running.start(tmp_path / "data") as running,
        running.client() as client,
        contextlib.ExitStack() as slow,
    ):
        digest = client.push_blob("app", content)
        lines = [slow.enter_context(begin_push(running, client, 100 * MIB)) for _ in range(3 * BULK)]
        stop = threading.Event()
        slow.callback(stop.set)
        threading.Thread(target=drip, args=(lines, stop), daemon=True).start()
        for _ in range(3):
            begin = time.monotonic()
            assert client.get(f"/v2/app/blobs/{digest}").body == content
            client.push_blob("app", os.urandom(100_000))
            assert time.monotonic() - begin < 3  # seconds; 17 when each kept a thread
        stop.set()


def begin_push(running: Running, client: Client, length: int) -> socket.socket:
    """Return a connection whose PATCH waits for its body."""
    path = client.ask("POST", "/v2/app/blobs/uploads/")["Location"]
    connection = socket.create_connection(("127.0.0.1", running.port))
    connection.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    return connection


def drip(lines: list[socket.socket], stop: threading.Event) -> None:
    """Give a packet on each line every 10 ms: a megabit per second."""
    with contextlib.suppress(OSError):
        while not stop.wait(0.01):
            for line in lines:
                line.send(bytes(1400))


def test_pushes_that_pause_take_no_memory(tmp_path: Path) -> None:
    """A mebibyte or two are lent to a thread that reads, not to each of the clients that it waits for."""
    with (
        Running.start(tmp_path / "data") as running,
        running.client() as client,
        contextlib.ExitStack() as slow,
    ):
        sent = 100_000
        for _ in range(80):
            slow.enter_context(begin_push(running, client, 2 * sent)).sendall(bytes(sent))
        eventually(
            lambda: sum(one.stat().st_size for one in tmp_path.rglob("data") if one.is_file()) == 80 * sent
        )
        assert resident(client) < 110 * MIB  # two mebibytes for each were 185 in all
        assert client.push_blob("app", b"fast") == Digest.of(b"fast")


def resident(client: Client) -> int:
    found = re.search(rb"^process_resident_memory_bytes (\d+)", client.get("/metrics").body, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_stop_lets_a_running_push_end(tmp_path: Path) -> None:
    running = Running.start(tmp_path / "data")
    content = os.urandom(MIB)
    digest = Digest.of(content)
    with running.client() as client:
        connection = client._connect()
        connection.putrequest("POST", f"/v2/app/blobs/uploads/?digest={digest}")
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content[:1000])
        eventually(lambda: list(tmp_path.rglob("startedat")))
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(running.port))
        connection.send(content[1000:])
        assert connection.getresponse().status == 201
    assert running.process.wait(10) == 0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_stop_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    running = Running.start(tmp_path / "data")
    with running.client() as client:
        assert client.get("/v2/").status == 200
        begin = time.monotonic()
        assert running.stop(signal.SIGINT) == 0
        assert time.monotonic() - begin < 5


def test_old_uploads_are_removed_at_the_start(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        old = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        young = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
    directory = root / "docker/registry/v2/repositories/app/_uploads" / old.rpartition("/")[2]
    for path in (*directory.iterdir(), directory):
        os.utime(path, (0, 0))
    with Running.start(root) as running, running.client() as client:
        eventually(lambda: client.get(old).status == 404)
        assert client.get(young).status == 204


def test_uploads_that_stand_still_are_removed_while_it_serves(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", upload_ttl=1.0) as running, running.client() as client:
        held = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        with running.client() as sending:
            connection = sending._connect()
            connection.putrequest("PATCH", held)
            connection.putheader("Content-Length", "10")
            connection.endheaders(b"12345")
            still = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
            assert client.get(still).status == 204
            eventually(lambda: client.get(still).status == 404)
            connection.send(b"67890")  # a client that pauses for as long is not cut off
            assert connection.getresponse().status == 202
        directory = running.root / "docker/registry/v2/repositories/app/_uploads"
        eventually(lambda: not list(directory.iterdir()))
        assert client.push_blob("app", b"layer")


def test_a_repository_that_can_not_be_looked_at_keeps_no_old_upload_of_another(tmp_path: Path) -> None:
    root = tmp_path / "data"
    repositories = root / "docker/registry/v2/repositories"
    for name in ("a", "c"):  # whichever is looked at first
        (repositories / name / "_layers").mkdir(parents=True)
        (repositories / name / "_uploads").write_text("not a directory")
    with Running.start(root, upload_ttl=1.0) as running, running.client() as client:
        location = client.ask("POST", "/v2/b/blobs/uploads/")["Location"]
        eventually(lambda: client.get(location).status == 404)
        assert "old upload sessions of a can't be removed" in running.log.read_text()


def test_a_taken_port_is_named(registry: Running, tmp_path: Path) -> None:
    code, said = refuse_to_start(tmp_path / "data", port=registry.port)
    assert code == 1
    assert "port-in-use" in said
    assert str(registry.port) in said


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    code, said = refuse_to_start(tmp_path / "data", host="192.0.2.1", port=free_port())
    assert (code, "cannot-listen" in said) == (1, True)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_data_directory_that_is_none_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    code, said = refuse_to_start(tmp_path / place)
    assert (code, "data-directory-unusable" in said) == (1, True)


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data") as running, running.client() as client:
        digest = client.push_blob("app", b"x" * 1000)
        client.get(f"/v2/app/blobs/{digest}")
        client.get("/v2/app/manifests/x")
        answer = client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert 'registry_http_requests_total{method="GET",handler="manifest",code="404"} 1' in lines
    assert 'registry_http_requests_total{method="PUT",handler="upload",code="201"} 1' in lines
    assert "registry_blob_sent_bytes_total 1000" in lines
    assert "registry_blob_received_bytes_total 1000" in lines
    assert "registry_http_in_flight_requests 1" in lines
    assert "registry_http_request_duration_seconds_count 4" in lines


def test_methods_that_nobody_knows_are_one_counter(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data") as running, running.client() as client:
        for number in range(20):
            assert client.ask(f"M{number}", "/v2/app/tags/list").status == 405
        lines = client.get("/metrics").body.decode().splitlines()
    counted = [line for line in lines if line.startswith("registry_http_requests_total{")]
    assert counted == ['registry_http_requests_total{method="other",handler="tags",code="405"} 20']


def test_the_access_log_can_not_be_forged(registry: Running) -> None:
    agent = 'x" 200 forged'
    with registry.client() as client:
        client.get("/v2/", User_Agent=agent)
    eventually(lambda: "\\x22 200 forged" in registry.log.read_text())


def test_the_access_log_can_be_off(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", access_log=False) as running, running.client() as client:
        assert client.get("/v2/").status == 200
    assert "GET" not in running.log.read_text()


def test_health_says_when_the_storage_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        root.rmdir()
        answer = client.get("/healthz")
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert client.get("/").status == 200


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    with Running.start(tmp_path / "data", host="::1") as running:
        assert "http://[::1]:" in running.log.read_text()
        with Client("::1", running.port) as client:
            assert client.get("/v2/").status == 200


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_full_disk_takes_nothing_and_serves_on(small_disk: Path, tmp_path: Path, encrypted: bool) -> None:
    cert, key = make(tmp_path, "one")
    files: dict[str, Any] = {"tls_cert": cert, "tls_key": key} if encrypted else {}
    trust = trusting(cert) if encrypted else None
    with (
        Running.start(small_disk / "data", min_free=0, **files) as running,
        running.client(tls=trust) as client,
    ):
        kept = os.urandom(4 * MIB)
        digest = client.push_blob("app", kept)
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        answer = client.ask("PATCH", location, iter([os.urandom(MIB)] * 40), chunked=True)
        assert (answer.status, answer.codes, answer["Retry-After"]) == (503, ["UNAVAILABLE"], "60")
        assert client.get(location).status == 404
        assert used(small_disk) < 6 * MIB
        assert client.get(f"/v2/app/blobs/{digest}").body == kept
        assert client.push_blob("app", b"fits") == Digest.of(b"fits")
        assert not list(small_disk.rglob("*.tmp"))


def test_what_can_not_fit_is_refused_before_it_comes(small_disk: Path) -> None:
    with Running.start(small_disk / "data", min_free=8 * MIB) as running, running.client() as client:
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        head = (
            f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {20 * MIB}\r\nConnection: close\r\n\r\n"
        )
        assert raw(running.port, head.encode()).startswith(b"HTTP/1.1 503 ")
        assert client.push_blob("app", os.urandom(10 * MIB))
        (small_disk / "other").write_bytes(bytes(8 * MIB))
        assert client.ask("POST", "/v2/app/blobs/uploads/").status == 503
        assert client.get("/healthz").status == 503
        manifest = image()
        answer = client.ask("PUT", "/v2/app/manifests/x", manifest, {"Content-Type": OCI_IMAGE})
        assert answer.codes == ["UNAVAILABLE"]


def test_a_manifest_that_does_not_fit_leaves_nothing(small_disk: Path) -> None:
    with Running.start(small_disk / "data", min_free=0) as running, running.client() as client:
        client.push_blob("app", b"{}")
        client.push_blob("app", b"layer")
        (small_disk / "other").write_bytes(bytes(22 * MIB))
        large = image(b"{}", (b"layer",), annotations={"large": "A" * (3 * MIB)})
        assert client.push_manifest("app", "large", large).status == 503
        assert client.get("/v2/app/manifests/large").status == 404
        assert not list(small_disk.rglob("*.tmp"))


def used(path: Path) -> int:
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_many_threads_push_and_pull_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with running.client() as client:
                for _ in range(5):
                    content = os.urandom(300_000)
                    digest = client.push_blob(f"app{number % 2}", content)
                    assert client.get(f"/v2/app{number % 2}/blobs/{digest}").body == content
                    made = image(content, (content,), subject=descriptor(b"{}", OCI_IMAGE))
                    assert client.push_manifest(f"app{number % 2}", "latest", made).status == 201
        except (OSError, AssertionError) as failure:
            failures.append(failure)

    with Running.start(tmp_path / "data") as running:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        with running.client() as client:
            found = client.get(f"/v2/app0/referrers/{Digest.of(b'{}')}").json()["manifests"]
            assert len(found) == 20
