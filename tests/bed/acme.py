"""Let's Encrypt on this machine: Debian's ``pebble``, reached at the real name through a proxy of the test.

registry:2 can be told of no other authority (distribution 3 has ``directoryurl``), but it does honour
``HTTPS_PROXY``: that leads ``acme-v02.api.letsencrypt.org`` here. Pebble verifies challenges for real: it
resolves every name to 127.0.0.1, and asks on the port that stands for 443.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from regsetup.auth import x509
from regsetup.auth.certificates import Names
from tests.bed.run import free_port, need, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LETS_ENCRYPT = "acme-v02.api.letsencrypt.org"
_PEBBLE = "pebble.test"  # not localhost: Go asks that without a proxy


@dataclass
class Authority:
    """An authority that proves names by tls-alpn-01 (RFC 8737) on ``validation_port``.

    Attributes:
        api_ca: what the registry must trust to talk to it.
        root: what clients must trust to take its certificates.
    """

    place: Path
    validation_port: int
    host: str
    api_ca: Path = field(init=False)
    root: Path = field(init=False)
    _port: int = field(default_factory=free_port)
    _proxy: socket.socket | None = None
    _front: socket.socket | None = None
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def proxy(self) -> str:
        """What HTTPS_PROXY must be."""
        assert self._proxy is not None
        return f"http://{self.host}:{self._proxy.getsockname()[1]}"

    def start(self) -> None:
        """Start pebble, its DNS server and the way to it, and wait until it answers."""
        self.place.mkdir(parents=True)
        self.api_ca, self.root = self.place / "api-ca.pem", self.place / "root.pem"
        self._make_pair()
        dns, management = free_port(), free_port()
        names = ["-dns01", f"127.0.0.1:{dns}", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
        off = [word for flag in ("-http01", "-https01", "-tlsalpn01") for word in (flag, "")]
        self._run("pebble-challtestsrv", *names, *off, "-management", f"127.0.0.1:{free_port()}")
        config = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(self.place / "api.pem"),
            "privateKey": str(self.place / "api.key"),
            "httpPort": free_port(),
            "tlsPort": self.validation_port,
        }
        (self.place / "pebble.json").write_text(json.dumps({"pebble": config}))
        self._run(
            "pebble", "-config", str(self.place / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}",
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )  # fmt: skip
        wait_for("pebble", lambda: self._takes_root(management))
        self._front = self._listen("127.0.0.1", self._redirect)
        self._proxy = self._listen(self.host, self._tunnel)

    def stop(self) -> None:
        """End all of it."""
        for program in self._programs:
            program.kill()
            program.wait()
        for one in (*filter(None, (self._proxy, self._front)), *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def issued(self) -> int:
        """Return how many certificates it gave."""
        return (self.place / "pebble.log").read_text().count("Issued certificate")

    def _make_pair(self) -> None:
        now, names = datetime.now(UTC), Names.of([LETS_ENCRYPT, _PEBBLE, "localhost"])
        ca = x509.new_ca("acme", names, now)
        leaf = x509.new_leaf(ca, names, now)
        self.api_ca.write_bytes(ca.certificate)
        (self.place / "api.pem").write_bytes(leaf.certificate)
        (self.place / "api.key").write_text(leaf.key.reveal())

    def _run(self, program: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        with (self.place / f"{program}.log").open("wb") as log:
            self._programs.append(
                subprocess.Popen(
                    [need(program), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
                )
            )

    def _takes_root(self, management: int) -> bool:
        context = ssl.create_default_context(cafile=self.api_ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            with urllib.request.urlopen(f"https://localhost:{management}/roots/0", context=context) as answer:
                self.root.write_bytes(answer.read())
        except OSError:
            return False
        return True

    def _listen(self, host: str, serve: Callable[[socket.socket], None]) -> socket.socket:
        listener = socket.create_server((host, 0))

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                self._open.append(connection)
                self._spawn(serve, connection)

        self._spawn(accept)
        return listener

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _redirect(self, connection: socket.socket) -> None:
        """Stand for Let's Encrypt's ``/directory``, which pebble calls ``/dir``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.place / "api.pem", self.place / "api.key")
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            _head(tls)
            there = f"https://{_PEBBLE}:{self._port}/dir"
            tls.sendall(f"HTTP/1.1 307 -\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())

    def _tunnel(self, connection: socket.socket) -> None:
        """Do CONNECT (RFC 9110 section 9.3.6) to the two that there are."""
        assert self._front is not None
        with suppress(OSError):
            target = _head(connection).split(b" ")[1].decode()
            port = self._front.getsockname()[1] if target == f"{LETS_ENCRYPT}:443" else self._port
            there = socket.create_connection(("127.0.0.1", port))
            self._open.append(there)
            connection.sendall(b"HTTP/1.1 200 -\r\n\r\n")
            self._spawn(_pump, connection, there)
            _pump(there, connection)


def _head(connection: socket.socket) -> bytes:
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        if not (more := connection.recv(1)):
            raise ConnectionError("cut off")
        seen += more
    return seen


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
