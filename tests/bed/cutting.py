"""A bad line: a TCP proxy on loopback that ends connections after so many bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class BadLine:
    """Forwards to a registry while the block lasts, and cuts a connection that carried ``after`` bytes.

    Attributes:
        upward: whether what the client sends is counted, or what the registry sends.
        times: how many connections are cut; the others are left alone.
        carried: bytes that were counted, of all connections.
    """

    def __init__(self, url: str, after: int, *, upward: bool, times: int = 1_000_000) -> None:
        self.upward = upward
        self.times = times
        self.carried = 0
        self._target = ("127.0.0.1", urlsplit(url).port)
        self._after = after
        self._counting = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            _end(one)
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            self._spawn(self._pump, client, server, self.upward)
            self._spawn(self._pump, server, client, not self.upward)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        carried = 0
        with suppress(OSError):
            while chunk := source.recv(1 << 16):
                if counted:
                    chunk, cut = self._count(chunk, carried)
                    carried += len(chunk)
                    target.sendall(chunk)
                    if cut:
                        break
                else:
                    target.sendall(chunk)
        for one in (source, target):
            _end(one)

    def _count(self, chunk: bytes, carried: int) -> tuple[bytes, bool]:
        """Return what still goes through, and whether the line is cut then."""
        with self._counting:
            cut = carried + len(chunk) > self._after and self.times > 0
            self.times -= cut
            chunk = chunk[: self._after - carried] if cut else chunk
            self.carried += len(chunk)
        return chunk, cut


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
