"""A newer engine: docker.io of Debian trixie (26.1), with the containerd image store if wanted.

It runs without systemd, which would want cgroup v2, in a container; its socket is in a directory of this
machine.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from tests.bed import clients
from tests.bed.engine import connect
from tests.bed.hosts import MACHINE_FLAGS
from tests.bed.roots import Recipe
from tests.bed.run import need, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.models.containers import Container

NEWER = Recipe(
    "newer-engine",
    "trixie",
    "docker.io docker-cli containerd iptables iproute2 ca-certificates procps",
    "",
    ('CMD ["dockerd", "-H", "unix:///socket/s"]', 'VOLUME ["/var/lib/docker", "/var/lib/containerd"]'),
)


@dataclass(frozen=True, slots=True)
class NewerEngine:
    """A dockerd in a container of the machine's engine."""

    container: Container
    directory: Path

    @property
    def url(self) -> str:
        """What DOCKER_HOST must be to reach it."""
        return f"unix://{self.directory}/s"

    def client(self) -> docker.DockerClient:
        """Return a client; the caller closes it."""
        return docker.DockerClient(base_url=self.url)

    def remove(self) -> None:
        """Take it away with all it stored."""
        self.container.remove(force=True, v=True)
        shutil.rmtree(self.directory)


def start_newer_engine(
    outer: docker.DockerClient, image: str, name: str, daemon_json: Mapping[str, object]
) -> NewerEngine:
    """Start one, configured by ``daemon_json``, and wait until it answers."""
    directory = Path(tempfile.mkdtemp(prefix="rtn", dir="/tmp"))
    (directory / "daemon.json").write_text(json.dumps(daemon_json))
    mounts = ["-v", f"{directory}:/socket", "-v", f"{directory}/daemon.json:/etc/docker/daemon.json"]
    command = [need("docker"), "run", "-d", *shlex.split(MACHINE_FLAGS), *mounts, "--name", name, image]
    engine = NewerEngine(outer.containers.get(clients.run(command).ok().out.strip()), directory)
    try:
        wait_for(f"dockerd in {name}", lambda: _answers(engine.url), seconds=60)
    except BaseException:
        print(engine.container.logs(tail=40).decode())  # noqa: T201  pytest shows it with the failure
        engine.remove()
        raise
    return engine


def _answers(url: str) -> bool:
    client = connect(url)
    if client is None:
        return False
    client.close()
    return True
