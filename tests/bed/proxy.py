"""An engine reached over the network: a TCP proxy before its socket, with or without TLS, which can be cut.

On an address beyond loopback, so that regsetup takes the engine for one of another machine.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bed.clients import run
from tests.bed.run import lan_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class EngineProxy:
    """Forwards to the engine at ``socket_path``; ``tls`` is a directory as DOCKER_CERT_PATH wants it.

    Attributes:
        cut_at: when a request holds these bytes, it and all connections end, and no more are taken.
    """

    socket_path: str
    tls: Path | None = None
    cut_at: bytes | None = None
    host: str = field(default_factory=lan_address)
    port: int = 0
    _listener: socket.socket | None = None
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What DOCKER_HOST must be."""
        return f"tcp://{self.host}:{self.port}"

    def start(self) -> None:
        """Listen."""
        self._listen(0)

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server((self.host, port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def resume(self) -> None:
        """Listen again at the same place, and cut nothing."""
        self.cut_at = None
        self._listen(self.port)

    def cut(self) -> None:
        """End all connections and take no more."""
        assert self._listener is not None
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def stop(self) -> None:
        """Cut, and wait for every thread."""
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls / "server.pem", self.tls / "server-key.pem")
            context.load_verify_locations(self.tls / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except OSError:  # ssl.SSLError is one
                connection.close()
                return
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(self.socket_path)
        self._open += [connection, engine]
        self._spawn(self._pump, connection, engine)
        self._pump(engine, connection)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while chunk := source.recv(1 << 16):
                if self.cut_at and self.cut_at in chunk:
                    self.cut()
                    return
                target.sendall(chunk)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def make_tls(directory: Path, host: str) -> Path:
    """Fill ``directory`` with a CA, a pair of the engine at the address ``host``, and one of a client."""
    directory.mkdir()
    made = """
        new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" "${@:2}" 2>&1; }
        sign() { openssl x509 -req -CA ca.pem -CAkey ca-key.pem -CAcreateserial -in "$1" "${@:2}" 2>&1; }
        new ca -x509 -keyout ca-key.pem -out ca.pem
        new engine -keyout server-key.pem -out server.csr
        new client -keyout key.pem -out client.csr
        sign server.csr -extfile <(echo "subjectAltName=IP:$HOST") -out server.pem
        sign client.csr -out cert.pem
    """
    run(["bash", "-ec", f"cd {directory}; {made}"], env={"HOST": host}).ok()
    return directory
