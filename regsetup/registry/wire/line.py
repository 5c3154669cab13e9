"""The bytes of one connection, plain or under TLS, for whoever reads and writes them: event loop or thread.

TLS is OpenSSL between two buffers in memory: a thread that has taken a connection over encrypts and decrypts
there, without the interpreter's lock, so several connections use several cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

RECEIVE = 256 << 10  # bytes of ciphertext that are read at once
_RECORD = 16 << 10  # bytes of content in a TLS record at most (RFC 8446 5.1)


def gone() -> ConnectionResetError:
    """Return what is raised where the client went away."""
    return ConnectionResetError("the client went away")


class Patience:
    """How long a thread waits for one client before it leaves that to the event loop.

    So long each time; while others want the thread its share of that, and in all: else a client that gives a
    little again and again would keep it.
    """

    def __init__(self, milliseconds: float, share: Callable[[], float] = lambda: 1.0) -> None:
        self._most = milliseconds
        self._share = share
        self._waited = 0.0

    def wait(self, poll: select.poll) -> bool:
        """Wait until something happens; False where it does not while there is patience."""
        share = self._share()
        left = self._most if share >= 1.0 else self._most * share - self._waited
        if left <= 0:
            return False
        begin = time.perf_counter()
        happened = bool(poll.poll(left))
        if share < 1.0:
            self._waited += (time.perf_counter() - begin) * 1000
        return happened


class Tls:
    """One connection's encryption. For one thread at a time."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_ready = False
        self.ended = False

    def feed(self, ciphertext: bytes) -> None:
        """Take in what came."""
        self._incoming.write(ciphertext)

    def content(self) -> bytes:
        """Return everything that can be decrypted; shakes hands first.

        Raises:
            ssl.SSLError: it is no TLS, or not such as we speak; ``pending`` says so to the client.
        """
        found = []
        try:
            if not self._is_ready:
                self._object.do_handshake()
                self._is_ready = True
            while piece := self._object.read(_RECORD):
                found.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(found)

    def read_into(self, view: memoryview) -> int:
        """Decrypt into ``view``; return bytes, 0 at the end.

        Raises:
            ssl.SSLWantReadError: more has to be fed first.
        """
        try:
            return self._object.read(len(view), view)  # type: ignore[return-value]  # typeshed says bytes
        except ssl.SSLZeroReturnError:
            return 0

    def seal(self, content: bytes | memoryview) -> bytes:
        """Return ciphertext, and before it what else is to be sent."""
        self._object.write(content)
        return self._outgoing.read()

    def pending(self) -> bytes:
        """Return what the protocol itself has to send."""
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """Return what ends the encrypted stream (RFC 8446 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the client has not said farewell yet, or never shook hands
            self._object.unwrap()
        return self._outgoing.read()


class Line:
    """A socket that was taken over from the event loop; ``ahead`` was read from it before, or too much."""

    def __init__(self, duplicate: socket.socket, tls: Tls | None, ahead: bytes) -> None:
        self.socket = duplicate
        self.tls = tls
        self.ahead = ahead
        self._sealed: deque[memoryview] = deque()

    def close(self) -> bytes:
        """Give the connection back; return what was read too much."""
        self.socket.close()
        return self.ahead + self.tls.content() if self.tls is not None else self.ahead

    def receive_into(self, view: memoryview) -> int:
        """Read what is there; return bytes.

        Raises:
            BlockingIOError: nothing is.
            ConnectionError: nothing will be.
        """
        if self.ahead:
            count = min(len(self.ahead), len(view))
            view[:count] = self.ahead[:count]
            self.ahead = self.ahead[count:]
            return count
        try:
            count = self.socket.recv_into(view) if self.tls is None else self._decrypt_into(view, self.tls)
        except ssl.SSLError as error:
            raise ConnectionResetError(str(error)) from error
        if count == 0:
            raise gone()
        return count

    def _decrypt_into(self, view: memoryview, tls: Tls) -> int:
        filled = 0
        while filled < len(view):
            try:
                count = tls.read_into(view[filled:])
            except ssl.SSLWantReadError:
                if filled:
                    break
                ciphertext = self.socket.recv(RECEIVE)
                if not ciphertext:
                    return 0
                tls.feed(ciphertext)
                continue
            if count == 0:
                break
            filled += count
        return filled

    def seal(self, content: memoryview) -> None:
        """Encrypt content; it is sent by ``flush``, which another thread may call meanwhile."""
        if self.tls is None:
            raise AssertionError("only under TLS")
        self._sealed.append(memoryview(self.tls.seal(content)))

    @property
    def holds(self) -> bool:
        """Whether something is encrypted and not sent yet."""
        return bool(self._sealed)

    def flush(self) -> bool:
        """Send what is encrypted; False where the client takes no more of it."""
        while self._sealed:
            piece = self._sealed[0]
            while piece:
                try:
                    piece = piece[self.socket.send(piece) :]
                except BlockingIOError:
                    self._sealed[0] = piece
                    return False
            self._sealed.popleft()
        return True

    def wait(self, event: int, patience: Patience) -> bool:
        """Wait in a thread for ``select.POLLIN`` or ``POLLOUT``; False if nothing happens."""
        poll = select.poll()
        poll.register(self.socket, event)
        return patience.wait(poll)

    async def until(self, event: int, seconds: float) -> None:
        """Wait on the event loop.

        Raises:
            ConnectionError: nothing happened for so long.
        """
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        descriptor = self.socket.fileno()
        reading = event == select.POLLIN
        (loop.add_reader if reading else loop.add_writer)(descriptor, _wake, ready)
        try:
            async with asyncio.timeout(seconds):
                await ready
        except TimeoutError:
            way = "gives" if reading else "takes"
            raise ConnectionAbortedError(f"the client {way} nothing") from None
        finally:
            (loop.remove_reader if reading else loop.remove_writer)(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
