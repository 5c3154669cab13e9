"""HTTP/1.1 as the registry reads and writes it: examples, laws, and a server on a real socket."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.reference import Digest
from regsetup.registry.wire.framing import BodyInvalid, framing
from regsetup.registry.wire.request import MAX_HEAD, NotARequest, cut, parse
from regsetup.registry.wire.response import Response
from tests.registry.harness import Running, eventually, local, raw
from tests.registry.test_tls import make, trusting

if TYPE_CHECKING:
    from pathlib import Path


def head(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", b""])


def test_a_head_is_parted_from_what_follows_it() -> None:
    whole = head(b"GET /v2/ HTTP/1.1")
    assert cut(b"\r\n" + whole + b"body") == (whole, b"body")
    for end in range(len(whole)):
        assert cut(whole[:end]) is None


@pytest.mark.parametrize("received", [b"\x16\x03\x01", b"G" * MAX_HEAD, b" GET / HTTP/1.1\r\n"])
def test_what_never_becomes_a_head_is_refused_at_once(received: bytes) -> None:
    with pytest.raises(NotARequest):
        cut(received)


def test_a_request_is_read() -> None:
    target = b"/v2/a%2Db/manifests/x?n=1&tag=a&tag=b%20c&empty="
    request = parse(head(b"PUT " + target + b" HTTP/1.1", b"X-Y:  one ", b"x-y:two", b"Content-Length: 7"))
    assert (request.method, request.path, request.target) == ("PUT", "/v2/a-b/manifests/x", target.decode())
    assert (request.headers["x-y"], request.length, request.keep_alive) == ("one, two", 7, True)
    assert (request.query("n"), request.query("empty"), request.query("no")) == ("1", "", None)
    assert request.queries["tag"] == ["a", "b c"]


@pytest.mark.parametrize(
    ("line", "headers", "keeps"),
    [
        (b"GET / HTTP/1.1", (), True),
        (b"GET / HTTP/1.1", (b"Connection: Close",), False),
        (b"GET / HTTP/1.1", (b"Connection: upgrade, close",), False),
        (b"GET / HTTP/1.0", (), False),
        (b"GET / HTTP/1.0", (b"Connection: Keep-Alive",), True),
    ],
)
def test_a_connection_is_kept_as_the_client_says(
    line: bytes, headers: tuple[bytes, ...], keeps: bool
) -> None:
    assert parse(head(line, *headers)).keep_alive is keeps


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"http://host:5000/v2/?n=1", "/v2/"),
        (b"HTTPS://host/", "/"),
        (b"http://host", ""),
        (b"*", "*"),
    ],
)
def test_a_target_may_name_its_host(url: bytes, path: str) -> None:
    assert parse(head(b"GET " + url + b" HTTP/1.1")).path == path


@pytest.mark.parametrize(
    ("length", "headers"),
    [
        (0, ()),
        (0, (b"Content-Length: 0",)),
        (12, (b"Content-Length: 12",)),
        (None, (b"Transfer-Encoding: Chunked",)),
    ],
)
def test_a_body_has_a_length_or_chunks(length: int | None, headers: tuple[bytes, ...]) -> None:
    assert parse(head(b"PUT / HTTP/1.1", *headers)).length == length


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_none(received: bytes) -> None:
    with contextlib.suppress(NotARequest):
        parse(received)
    with contextlib.suppress(NotARequest):
        parse(head(b"GET / HTTP/1.1", received))


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        head(b"GET  / HTTP/1.1"),
        head(b"GET / HTTP/1.1 "),
        head(b"GET / HTTP/2.0"),
        head(b"GET /\xe9 HTTP/1.1"),
        head(b"G(T / HTTP/1.1"),
        head(b"GET / HTTP/1.1", b"X : y"),
        head(b"GET / HTTP/1.1", b" folded"),
        head(b"GET / HTTP/1.1", b"X: a\nY: b"),
        head(b"GET / HTTP/1.1", b"X: a\x00"),
        head(b"GET / HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2"),
        head(b"GET / HTTP/1.1", b"Content-Length: 1", b"Content-Length: 1"),
        head(b"GET / HTTP/1.1", b"Content-Length: -1"),
        head(b"GET / HTTP/1.1", b"Content-Length: +1"),
        head(b"GET / HTTP/1.1", b"Content-Length: " + b"9" * 19),
        head(b"GET / HTTP/1.1", "Content-Length: ٣".encode()),
        head(b"GET / HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"GET / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"),
        head(b"GET / HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"GET / HTTP/1.0", b"Transfer-Encoding: chunked"),
        head(b"GET / HTTP/1.1", *[b"X: y"] * 100),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(request_: bytes) -> None:
    with pytest.raises(NotARequest):
        parse(request_)


def chunked(parts: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part]
    return b"".join(chunks) + b"0" + extension + b"\r\n" + trailers + b"\r\n"


def take(length: int | None, received: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Give a body in the pieces that ``cuts`` make; return its content and what follows it."""
    found = framing(length)
    content = b""
    rest = b""
    edges = sorted({0, len(received), *(at % (len(received) + 1) for at in cuts)})
    for begin, end in zip(edges, [*edges[1:], len(received)], strict=True):
        rest += received[begin:end]
        if not found.done:
            pieces, count = found.take(memoryview(rest))
            content += b"".join(pieces)
            rest = rest[count:]
    assert found.done
    return content, rest


@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.lists(st.integers(min_value=0), max_size=20),
    st.sampled_from([b"", b" ;a=b", b';x="y"']),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_any_cutting_of_chunks_gives_the_same_body(
    parts: list[bytes], cuts: list[int], extension: bytes, trailers: bytes
) -> None:
    content = b"".join(parts)
    assert take(None, chunked(parts, extension, trailers) + b"GET", cuts) == (content, b"GET")
    assert take(len(content), content + b"GET", cuts) == (content, b"GET")


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"3\r\nhello\r\n",
        b"f" * 16 + b"\r\n",
        b"5;" + b"x" * 2000,
        b"0\r\n" + b"A: b\r\n" * 40 + b"\r\n",
    ],
)
def test_chunks_that_break_their_rules_are_refused(body: bytes) -> None:
    with pytest.raises(BodyInvalid):
        framing(None).take(memoryview(body))


def test_an_answer_has_one_length_and_no_forged_header() -> None:
    response = Response(200, {"A": "b"}, b"xyz", length=3)
    response.add("A", "c")
    text = response.head().decode()
    assert text.startswith("HTTP/1.1 200 OK\r\n")
    assert text.endswith(" GMT\r\n\r\n")
    assert text.count("\r\nA: ") == 2
    assert text.count("Content-Length: 3\r\n") == 1
    assert "Content-Length" not in Response(304, length=0).head().decode()
    assert "Content-Length" not in Response(200, length=None).head().decode()
    with pytest.raises(AssertionError, match="two headers"):
        Response(200, {"A": "b\r\nC: d"}, length=0).head()


def statuses(answer: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)


def test_requests_may_come_one_behind_the_other(registry: Running) -> None:
    with registry.client() as client:
        location = local(client.ask("POST", "/v2/behind/blobs/uploads/")["Location"])
    content = os.urandom(100_000)
    requests = (
        head(b"GET /v2/ HTTP/1.1") * 3
        + head(f"PATCH {location} HTTP/1.1".encode(), b"Transfer-Encoding: chunked")
        + chunked([content[:70_000], content[70_000:]])
        + head(f"PUT {location}?digest={Digest.of(content)} HTTP/1.1".encode(), b"Content-Length: 0")
        + head(f"GET /v2/behind/blobs/{Digest.of(content)} HTTP/1.1".encode(), b"Connection: close")
    )
    answer = raw(registry.port, requests)
    assert statuses(answer) == [b"200", b"200", b"200", b"202", b"201", b"200"]
    assert answer.endswith(content)


def test_a_refused_body_is_answered_and_the_connection_ends(registry: Running) -> None:
    with socket.create_connection(("127.0.0.1", registry.port), timeout=5) as connection:
        connection.sendall(head(b"PUT /v2/ HTTP/1.1", b"Content-Length: 3000000"))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nConnection: close\r\n" in answer
        connection.sendall(b"x" * 1_000_000)  # still taken, so that the answer is not lost
        while connection.recv(65536):
            pass


def test_a_body_that_nobody_wants_does_not_end_the_connection(registry: Running) -> None:
    refused = head(b"PUT /v2/ HTTP/1.1", b"Content-Length: 5") + b"hello"
    answer = raw(registry.port, refused + head(b"GET /v2/ HTTP/1.1", b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"HTTP/1.1 200 OK\r\n" in answer


def test_a_client_that_reads_late_gets_every_answer(registry: Running) -> None:
    with registry.client() as client:
        _, manifest = client.push_image("late")
    request = head(b"GET /v2/late/manifests/latest HTTP/1.1")
    count = 10_000  # more than the kernel's buffers take
    with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as connection:
        sending = threading.Thread(target=connection.sendall, args=(request * count,))
        sending.start()
        found = connection.recv(1)
        while found.count(b"HTTP/1.1 200") < count or not found.endswith(manifest):
            piece = connection.recv(1 << 20)
            assert piece
            found += piece
        sending.join()


def test_the_same_under_tls(tmp_path: Path) -> None:
    """Requests behind one another, and one body of many records, through one encrypted connection."""
    cert, key = make(tmp_path, "one")
    content = os.urandom(3_000_001)
    with Running.start(tmp_path / "data", tls_cert=cert, tls_key=key) as running:
        with running.client(tls=trusting(cert)) as client:
            location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        digest = Digest.of(content)
        requests = (
            head(b"GET /v2/ HTTP/1.1")
            + head(f"PATCH {location} HTTP/1.1".encode(), b"Transfer-Encoding: chunked")
            + chunked([content[at : at + 32768] for at in range(0, len(content), 32768)])
            + head(f"PUT {location}?digest={digest} HTTP/1.1".encode(), b"Content-Length: 0")
            + head(f"GET /v2/app/blobs/{digest} HTTP/1.1".encode(), b"Connection: close")
        )
        with (
            socket.create_connection(("127.0.0.1", running.port), timeout=10) as plain,
            trusting(cert).wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(requests)
            answer = b""
            while piece := connection.recv(1 << 20):
                answer += piece
        assert answer.endswith(content)
        assert statuses(answer) == [b"200", b"202", b"201", b"200"]


def test_a_push_cut_under_tls_keeps_what_came(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "one")
    with (
        Running.start(tmp_path / "data", tls_cert=cert, tls_key=key) as running,
        running.client(tls=trusting(cert)) as client,
    ):
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        with (
            socket.create_connection(("127.0.0.1", running.port), timeout=10) as plain,
            trusting(cert).wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(head(f"PATCH {location} HTTP/1.1".encode(), b"Content-Length: 100000"))
            connection.sendall(b"x" * 40_000)
            connection.shutdown(socket.SHUT_WR)  # a reset might drop what nobody read yet
            eventually(lambda: client.get(location)["Range"] == "0-39999")


def test_a_tls_that_is_too_old_ends_its_connection_only(tmp_path: Path) -> None:
    cert, key = make(tmp_path, "one")
    old = trusting(cert)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with Running.start(tmp_path / "data", tls_cert=cert, tls_key=key) as running:
        with running.client(tls=old) as client, pytest.raises(ssl.SSLError):
            client.get("/v2/")
        with running.client(tls=trusting(cert)) as client:
            assert client.get("/v2/").status == 200
        assert "Traceback" not in running.log.read_text()
