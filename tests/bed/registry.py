"""Debian's ``docker-registry`` (registry:2's own program) as a process on a free port."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from regsetup.deployment import Listen
from tests.bed.run import free_port, need, port_open, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass
class RegistryProcess:
    """A running ``docker-registry``; ``data`` has ``docker/registry/v2`` directly below."""

    host: str
    port: int
    data: Path
    log: Path
    scheme: str
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """``<host>:<port>``, IPv6 in brackets, as it stands in a reference."""
        return str(Listen(self.host, self.port))

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{self.scheme}://{self.address}"

    def stop(self) -> None:
        """End it, gracefully if it will."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


def start_registry(
    place: Path,
    *,
    data: Path,
    host: str = "127.0.0.1",
    htpasswd: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
    settings: Mapping[str, object] | None = None,
) -> RegistryProcess:
    """Start ``docker-registry serve`` and wait until it listens.

    Args:
        place: where its config.yml and log go.
        data: its storage.
        host: the address it listens on; an engine insists on TLS only beyond loopback.
        htpasswd: users; none means open.
        certificate: certificate and key files; given, it speaks TLS.
        settings: top-level keys of config.yml that replace ours.
    """
    program, port = need("docker-registry"), free_port(host)
    http: dict[str, object] = {"addr": str(Listen(host, port)), "secret": "tests"}
    if certificate:
        http["tls"] = {"certificate": str(certificate[0]), "key": str(certificate[1])}
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": http,
    }
    if htpasswd:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
    place.mkdir(parents=True, exist_ok=True)
    (place / f"config-{port}.yml").write_text(yaml.safe_dump({**config, **(settings or {})}))
    log = place / f"registry-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "serve", str(place / f"config-{port}.yml")],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    running = RegistryProcess(host, port, data, log, "https" if certificate else "http", process)
    try:
        wait_for(f"docker-registry, see {log}", lambda: process.poll() is not None or port_open(port, host))
    except BaseException:
        running.kill()
        raise
    if process.poll() is not None:
        raise RuntimeError(f"docker-registry ended with {process.returncode}:\n{log.read_text()}")
    return running


def garbage_collect(place: Path, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run registry:2's own collector over ``data``, which no registry may be serving."""
    config = place / "gc.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
                "http": {"addr": "127.0.0.1:0"},
            }
        )
    )
    return subprocess.run(
        [need("docker-registry"), "garbage-collect", *flags, str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
