"""Clients that cost little: raw sockets, prepared requests, bodies that are thrown away in the kernel."""

from __future__ import annotations

import base64
import http.client
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

PIECE = os.urandom(1 << 20)
ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
CHUNK = 32 << 10  # bytes of a chunk of Transfer-Encoding: what Go's HTTP client sends


@dataclass(frozen=True)
class Target:
    """One server."""

    port: int
    user: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None

    @property
    def headers(self) -> dict[str, str]:
        if self.user is None:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(":".join(self.user).encode()).decode()}

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(plain, server_hostname="localhost") if self.tls else plain

    def request(self, method: str, path: str, **headers: str) -> bytes:
        every = {"Host": "localhost", "Accept": ACCEPT, **self.headers, **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in every.items()), "", ""]
        return "\r\n".join(lines).encode()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        if self.tls:
            connection = http.client.HTTPSConnection("localhost", self.port, context=self.tls)
        connection.request(method, path, body, self.headers | headers)
        answer = connection.getresponse()
        answer.content = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(got)
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    return head, rest


def header(head: bytes, name: str) -> str:
    for line in head.decode().split("\r\n"):
        if line.lower().startswith(name.lower() + ":"):
            return line.partition(":")[2].strip()
    raise KeyError(name)


def pull(target: Target, path: str, connections: int) -> float:
    """Fetch one blob on several connections at once; return seconds."""

    def fetch() -> None:
        with target.connect() as connection:
            connection.sendall(target.request("GET", path))
            head, rest = read_head(connection)
            assert b" 200 " in head.split(b"\r\n")[0] + b" ", head
            left = int(header(head, "Content-Length")) - len(rest)
            buffer = bytearray(1 << 20)
            while left:
                if target.tls:
                    count = connection.recv_into(buffer)
                else:
                    count = connection.recv_into(buffer, min(left, len(buffer)), socket.MSG_TRUNC)
                assert count
                left -= count

    return together(fetch, connections)


def push(target: Target, size: int, connections: int) -> float:
    """Push fresh blobs at once: POST, one chunked PATCH, PUT; return seconds without the hashing here."""
    contents = [fresh(size) for _ in range(connections)]
    waiting = list(contents)
    lock = threading.Lock()

    def send() -> None:
        with lock:
            first, digest = waiting.pop()
        with target.connect() as connection:
            connection.sendall(
                target.request("POST", "/v2/bench/push/blobs/uploads/", **{"Content-Length": "0"})
            )
            head, _ = read_head(connection)
            location = relative(header(head, "Location"))
            connection.sendall(
                target.request(
                    "PATCH",
                    location,
                    **{"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"},
                )
            )
            stream(connection, first, size)
            head, _ = read_head(connection)
            assert b" 202 " in head.split(b"\r\n")[0] + b" ", head
            location = relative(header(head, "Location"))
            glue = "&" if "?" in location else "?"
            connection.sendall(
                target.request("PUT", f"{location}{glue}digest={digest}", **{"Content-Length": "0"})
            )
            head, _ = read_head(connection)
            assert b" 201 " in head.split(b"\r\n")[0] + b" ", head

    return together(send, connections)


def fresh(size: int) -> tuple[bytes, str]:
    """Return the first chunk of content that nobody pushed yet, and the digest of the whole."""
    import hashlib

    first = os.urandom(CHUNK)
    hasher = hashlib.sha256(first)
    left = size - CHUNK
    while left:
        piece = PIECE[: min(left, len(PIECE))]
        hasher.update(piece)
        left -= len(piece)
    return first, f"sha256:{hasher.hexdigest()}"


def stream(connection: socket.socket, first: bytes, size: int) -> None:
    """Send the content in chunks of 32 KiB, 32 chunks a system call."""
    mark = b"%x\r\n" % CHUNK
    connection.sendall(mark + first + b"\r\n")
    whole = b"".join(mark + PIECE[at : at + CHUNK] + b"\r\n" for at in range(0, len(PIECE), CHUNK))
    left = size - CHUNK
    while left >= len(PIECE):
        connection.sendall(whole)
        left -= len(PIECE)
    if left:
        connection.sendall(b"%x\r\n" % left + PIECE[:left] + b"\r\n")
    connection.sendall(b"0\r\n\r\n")


def relative(location: str) -> str:
    return "/" + location.split("/", 3)[3] if location.startswith("http") else location


def together(call: object, count: int) -> float:
    """Run ``call`` in threads at once; return the seconds until the last is done."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            call()  # type: ignore[operator]
        except (OSError, AssertionError, KeyError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    if failures:
        raise failures[0]
    return seconds


def requests(
    target: Target, method: str, path: str, connections: int, seconds: float
) -> tuple[float, list[float]]:
    """Ask for the same thing again and again; return requests a second, and every latency in seconds."""
    request = target.request(method, path)
    selector = selectors.DefaultSelector()
    started: dict[socket.socket, float] = {}
    missing: dict[socket.socket, int] = {}
    answer = measure(target, request, method)
    for _ in range(connections):
        connection = target.connect()
        selector.register(connection, selectors.EVENT_READ)
        missing[connection] = answer
        started[connection] = time.perf_counter()
        connection.sendall(request)
    latencies: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds
    now = begin
    while now < end:
        for key, _ in selector.select(1):
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            missing[ready] -= len(ready.recv(1 << 20))
            if missing[ready] <= 0:
                now = time.perf_counter()
                latencies.append(now - started[ready])
                missing[ready] = answer
                started[ready] = now
                ready.sendall(request)
    for connection in started:
        connection.close()
    selector.close()
    return len(latencies) / (now - begin), latencies


def measure(target: Target, request: bytes, method: str) -> int:
    """Return how many bytes an answer has; both servers always send as many."""
    with target.connect() as connection:
        connection.sendall(request)
        head, rest = read_head(connection)
        status = head.split(b"\r\n")[0]
        assert b" 200 " in status + b" ", head
        length = 0 if method == "HEAD" else int(header(head, "Content-Length"))
        left = length - len(rest)
        while left > 0:
            left -= len(connection.recv(65536))
        return len(head) + 4 + length
