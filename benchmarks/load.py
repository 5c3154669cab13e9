"""Clients that cost little: raw sockets, prepared requests, bodies that are thrown away in the kernel.

They share the machine with the server: what they use is not there for it. So under TLS, too, the body of a
pull is thrown away as it comes, not decrypted, and that of a push is encrypted before the clock runs.
"""

from __future__ import annotations

import base64
import http.client
import os
import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
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
        return plain

    def speak(self) -> Plain:
        """Return a connection on which the request may be made."""
        return Sealed(self.connect(), self.tls) if self.tls else Plain(self.connect())

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


class Plain:
    """A connection of which only heads are looked at."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def seal(self, content: bytes) -> bytes:
        """Return what goes over the wire for ``content``."""
        return content

    def receive(self) -> bytes:
        """Return some content; nothing at the end."""
        return self.socket.recv(65536)

    def ask(self, request: bytes, status: int) -> tuple[bytes, bytes]:
        """Send a request without a body; return its answer's head, and what came of the body."""
        self.socket.sendall(self.seal(request))
        return self.answer(status)

    def answer(self, status: int) -> tuple[bytes, bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            piece = self.receive()
            if not piece:
                raise ConnectionError(got)
            got += piece
        head, _, rest = got.partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == str(status).encode(), head
        return head, rest

    def drop_all(self) -> int:
        """Throw away what comes until the end; return how many bytes of the wire that was."""
        dropped = 0
        buffer = bytearray(1 << 20)  # nothing is written to it
        while count := self.socket.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
            dropped += count
        return dropped


class Sealed(Plain):
    """The same under TLS."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._when_fed(self._object.do_handshake)
        connection.sendall(self._outgoing.read())

    def seal(self, content: bytes) -> bytes:
        self._object.write(content)
        return self._outgoing.read()

    def receive(self) -> bytes:
        return self._when_fed(lambda: self._object.read(65536))

    def _when_fed(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                ciphertext = self.socket.recv(65536)
                if not ciphertext:
                    raise ConnectionError("it ended") from None
                self._incoming.write(ciphertext)


def header(head: bytes, name: str) -> str:
    for line in head.decode().split("\r\n"):
        if line.lower().startswith(name.lower() + ":"):
            return line.partition(":")[2].strip()
    raise KeyError(name)


def pull(target: Target, path: str, connections: int) -> float:
    """Fetch one blob on several connections at once; return seconds."""
    request = target.request("GET", path, Connection="close")

    def fetch() -> None:
        with target.speak() as connection:
            head, rest = connection.ask(request, 200)
            assert connection.drop_all() + len(rest) >= int(header(head, "Content-Length"))

    return together([fetch] * connections)


def push(target: Target, size: int, connections: int) -> float:
    """Push fresh blobs at once: POST, one chunked PATCH, PUT; return seconds without the work here."""
    pushes = [Push(target, size) for _ in range(connections)]
    try:
        seconds = together([one.start for one in pushes])
        for one in pushes:
            one.prepare()
        return seconds + together([one.send for one in pushes])
    finally:
        for one in pushes:
            one.connection.socket.close()


class Push:
    """One blob on its way."""

    def __init__(self, target: Target, size: int) -> None:
        self.connection = target.speak()
        self._target = target
        self._size = size
        self._first, self._digest = fresh(size)
        self._location = ""
        self._pieces: list[bytes] = []

    def start(self) -> None:
        request = self._target.request("POST", "/v2/bench/push/blobs/uploads/", **{"Content-Length": "0"})
        head, _ = self.connection.ask(request, 202)
        self._location = relative(header(head, "Location"))

    def prepare(self) -> None:
        kind = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
        head = self._target.request("PATCH", self._location, **kind)
        body = chunks(self._first, self._size)
        self._pieces = [self.connection.seal(piece) for piece in (head, *body)]

    def send(self) -> None:
        for piece in self._pieces:
            self.connection.socket.sendall(piece)
        head, _ = self.connection.answer(202)
        location = relative(header(head, "Location"))
        path = f"{location}{'&' if '?' in location else '?'}digest={self._digest}"
        self.connection.ask(self._target.request("PUT", path, **{"Content-Length": "0"}), 201)


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


def chunks(first: bytes, size: int) -> Iterator[bytes]:
    """Yield the content in chunks of 32 KiB, 32 chunks a system call."""
    mark = b"%x\r\n" % CHUNK
    yield mark + first + b"\r\n"
    whole = b"".join(mark + PIECE[at : at + CHUNK] + b"\r\n" for at in range(0, len(PIECE), CHUNK))
    left = size - CHUNK
    while left >= len(PIECE):
        yield whole
        left -= len(PIECE)
    if left:
        yield b"%x\r\n" % left + PIECE[:left] + b"\r\n"
    yield b"0\r\n\r\n"


def relative(location: str) -> str:
    return "/" + location.split("/", 3)[3] if location.startswith("http") else location


def together(calls: Sequence[Callable[[], None]]) -> float:
    """Run calls in threads at once; return the seconds until the last is done."""
    failures: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except (OSError, AssertionError, KeyError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
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
    with target.speak() as connection:
        head, _ = connection.ask(request, 200)
        length = 0 if method == "HEAD" else int(header(head, "Content-Length"))
        return len(head) + 4 + length
