"""The two registries of a benchmark, each as a process with its defaults, logs thrown away."""

from __future__ import annotations

import compileall
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def as_installed() -> dict[str, str]:
    """Return an environment to run regsetup in, its bytecode written: pip writes that of what it installs."""
    compileall.compile_dir(Path(__file__).parents[1] / "regsetup", quiet=2)
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


_RUN = """
import sys
from pathlib import Path
from regsetup.registry.server import serve
from regsetup.registry.settings import Settings
options = eval(sys.argv[1])
sys.exit(serve(Settings(**{k: Path(v) if k in ("root", "htpasswd", "tls_cert", "tls_key") and v else v
                           for k, v in options.items()})))
"""


@dataclass
class Server:
    """A running registry."""

    name: str
    root: Path
    htpasswd: Path | None = None
    tls: tuple[Path, Path] | None = None
    peer: str = "docker-registry"
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> float:
        """Start it; return the seconds to the first 200 (or 401)."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = self._ours() if self.name == "bundled" else self._theirs()
        begin = time.perf_counter()
        environment = {name: text for name, text in os.environ.items() if name != "OPENSSL_CONF"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while time.perf_counter() < begin + 20:
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    if self.tls is None:
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        assert b" 200 " in connection.recv(1024)
                    return time.perf_counter() - begin
            except OSError:
                time.sleep(0.002)
        raise TimeoutError(f"{self.name} does not start")

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def _ours(self) -> list[str]:
        options = {
            "root": str(self.root),
            "port": self.port,
            "htpasswd": str(self.htpasswd) if self.htpasswd else None,
        }
        if self.tls:
            options |= {"tls_cert": str(self.tls[0]), "tls_key": str(self.tls[1])}
        return [sys.executable, "-c", _RUN, repr(options)]

    def _theirs(self) -> list[str]:
        """The configuration of the official image, with this port and directory."""
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"fields": {"service": "registry"}},
            "storage": {
                "cache": {"blobdescriptor": "inmemory"},
                "filesystem": {"rootdirectory": str(self.root)},
                "delete": {"enabled": True},
            },
            "http": {
                "addr": f"127.0.0.1:{self.port}",
                "secret": "benchmark",
                "headers": {"X-Content-Type-Options": ["nosniff"]},
            },
            "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
        }
        if self.tls:
            config["http"]["tls"] = {  # type: ignore[index]
                "certificate": str(self.tls[0]),
                "key": str(self.tls[1]),
            }
        if self.htpasswd:
            config["auth"] = {"htpasswd": {"realm": "benchmark", "path": str(self.htpasswd)}}
        path = Path(tempfile.mkstemp(suffix=".yml", dir=self.root.parent)[1])
        path.write_text(json.dumps(config))
        return [self.peer, "serve", str(path)]

    def blobs(self) -> set[Path]:
        """Return the files of its blobs."""
        return set(self.root.glob("docker/registry/v2/blobs/sha256/*/*/data"))

    def cpu(self) -> float:
        """Return the seconds of processor time it took so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self, *, peak: bool = False) -> float:
        """Return its resident MiB now, or the most since ``forget_peak``."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status)
        assert found
        return int(found.group(1)) / 1024

    def forget_peak(self) -> None:
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
