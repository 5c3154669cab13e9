"""The Docker engine under test: the machine's own, or a private one with its own root, socket and bridge."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors
import psutil

from tests.bed.processes import end_marked
from tests.bed.run import missing, need, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

_NOTHING_CONFIGURED = "{}\n"
_OWN_NETWORKS = {"bridge", "host", "none"}

_STARTS = 4


def connect(url: str | None = None) -> docker.DockerClient | None:
    """Return a client of the engine at ``url`` (default: DOCKER_HOST or the usual socket), or None."""
    address = url or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if address.startswith("unix://") and not _listens(address.removeprefix("unix://")):
        return None  # asked first, for the SDK leaks a socket when it can't connect
    try:
        client = docker.DockerClient(base_url=address)
    except docker.errors.DockerException:
        return None
    return client


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


def remove_marked(client: docker.DockerClient, mark: str) -> list[str]:
    """Remove, by id, every container, network and volume that carries ``mark``; return what there was.

    The mark may stand in a name, a label or a bind mount. An empty mark takes all.
    """
    found: list[str] = []
    for container in client.containers.list(all=True, ignore_removed=True):
        attrs = container.attrs
        if mark in json.dumps([attrs["Name"], attrs["Config"]["Labels"], attrs["HostConfig"]["Binds"]]):
            found.append(f"container {container.name}")
            _gone(partial(container.remove, force=True, v=True))
    for network in client.networks.list():
        if network.name not in _OWN_NETWORKS and mark in json.dumps([network.name, network.attrs["Labels"]]):
            found.append(f"network {network.name}")
            _gone(network.remove)
    for volume in client.volumes.list():
        if mark in json.dumps([volume.name, volume.attrs["Labels"]]):
            found.append(f"volume {volume.name}")
            _gone(partial(volume.remove, force=True))
    return found


def _gone(remove: Callable[[], object]) -> None:
    try:
        remove()
    except docker.errors.NotFound:
        return  # somebody was faster


@dataclass
class PrivateEngine:
    """A dockerd of the tests' own: root, sockets, pid file, bridge and daemon.json all below ``home``.

    ``inside`` is put before each command, such as ``nsenter`` into a network of its own.

    It sets no iptables rules, for its chains are those of the machine's engine; published ports go
    through docker-proxy.
    """

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rte", dir="/tmp")))
    flags: tuple[str, ...] = ()
    program: str = "dockerd"
    bridge: str = field(default_factory=lambda: f"rt{secrets.token_hex(4)}")
    inside: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What DOCKER_HOST must be to reach it."""
        return f"unix://{self.home}/s"

    @property
    def daemon_json(self) -> Path:
        """Its configuration file, read at start and on SIGHUP."""
        return self.home / "daemon.json"

    @property
    def pidfile(self) -> Path:
        """Where it writes its process id."""
        return self.home / "pid"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.home / "log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        if os.geteuid() != 0:
            missing("a private dockerd needs root")
        self._make_bridge()
        if not self.daemon_json.exists():
            self.daemon_json.write_text(_NOTHING_CONFIGURED)
        for _ in range(_STARTS):
            if self._start_once():
                return
            self.stop()
            end_marked(f"{self.home}/")  # the containerd that it did not wait for
        raise RuntimeError(f"dockerd does not start:\n{self.log.read_text()[-2000:]}")

    def _start_once(self) -> bool:
        """Start it; False if it gave up on its containerd, for which it waits 15 s, on a busy machine."""
        with self.log.open("wb") as log:
            self._process = process = subprocess.Popen(
                [*self.inside, need(self.program), *self._own_flags(), *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(
            f"dockerd, see {self.log}", lambda: process.poll() is not None or self._answers(), seconds=90
        )
        if process.poll() is None:
            return True
        said = self.log.read_text()
        if "timeout waiting for containerd" not in said:
            raise RuntimeError(f"dockerd ended with {process.returncode}:\n{said[-2000:]}")
        return False

    def _answers(self) -> bool:
        client = connect(self.url)
        if client is None:
            return False
        client.close()
        return True

    def _own_flags(self) -> list[str]:
        return [
            f"--host={self.url}",
            f"--data-root={self.home}/d",
            f"--exec-root={self.home}/x",
            f"--pidfile={self.pidfile}",
            f"--config-file={self.daemon_json}",
            f"--bridge={self.bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
        ]

    def _make_bridge(self) -> None:
        if self._has_bridge():
            return
        net = f"10.{secrets.randbelow(60) + 190}.{secrets.randbelow(256)}.1/24"
        for command in (
            ["ip", "link", "add", "name", self.bridge, "type", "bridge"],
            ["ip", "address", "add", net, "dev", self.bridge],
            ["ip", "link", "set", self.bridge, "up"],
        ):
            subprocess.run([*self.inside, *command], check=True)

    def _has_bridge(self) -> bool:
        show = [*self.inside, "ip", "link", "show", self.bridge]
        return subprocess.run(show, capture_output=True, check=False).returncode == 0

    def client(self) -> docker.DockerClient:
        """Return a client; the caller closes it."""
        return docker.DockerClient(base_url=self.url)

    def reload(self) -> None:
        """Send SIGHUP, which makes it read daemon.json again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop it as systemd would, or the one that a test started in its place; its data stays."""
        if self._process is None:
            return
        if self._process.poll() is not None and self.pidfile.exists():
            with suppress(psutil.NoSuchProcess):  # killed, it leaves its pid file
                successor = psutil.Process(int(self.pidfile.read_text()))
                successor.terminate()
                successor.wait(30)
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restore(self) -> None:
        """Bring it back: running, empty but for its images, nothing configured."""
        if self.daemon_json.read_text() != _NOTHING_CONFIGURED:
            self.stop()
            self.daemon_json.write_text(_NOTHING_CONFIGURED)
        if self._process is None or self._process.poll() is not None:
            self.start()
        client = self.client()
        remove_marked(client, "")
        client.close()

    def remove(self) -> None:
        """Stop it and remove all that it had: containers, mounts, bridge and files."""
        client = connect(self.url)
        if client is not None:
            remove_marked(client, "")
            client.close()
        self.stop()
        end_marked(f"{self.home}/")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{self.home}/")]):
            subprocess.run(["umount", "-l", mount], check=True)
        if self._has_bridge():
            subprocess.run([*self.inside, "ip", "link", "delete", self.bridge], check=True)
        shutil.rmtree(self.home)
