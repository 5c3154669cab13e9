"""One registry brought up by the program on an engine, and everything that is there of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bed.images import busybox_archive, load

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from tests.bed.cli import Regsetup
    from tests.bed.clients import Completed, DockerCli

PASSWORD = "correct-horse-battery"  # of alice; no other text of a test holds it


@dataclass
class Deployed:
    """A name, a port, the program and an engine of its own, which sees nothing else."""

    regsetup: Regsetup
    client: docker.DockerClient
    name: str
    port: int

    def __call__(self, command: str, *args: str, **more: Any) -> Completed:
        """Run a command on this registry."""
        return self.regsetup(command, "--name", self.name, *args, **more)

    def json(self, command: str, *args: str, **more: Any) -> dict[str, Any]:
        """Run a command on this registry and return its envelope."""
        return self.regsetup.json(command, "--name", self.name, *args, **more)

    def up(self, *args: str, **more: Any) -> Completed:
        """Bring it up, without the proof, which costs a second."""
        return self("up", "--backend", "docker", "--no-check", "--port", str(self.port), *args, **more)

    def up_with_alice(self, *args: str, **more: Any) -> Completed:
        """Bring it up with a user whose password is ``PASSWORD``."""
        return self.up("--user", "alice", "--password-stdin", *args, stdin=f"{PASSWORD}\n", **more)

    def error(self, done: Completed) -> dict[str, Any]:
        """Return the one error of an envelope."""
        (error,) = json.loads(done.out)["errors"]
        assert "Traceback" not in done.err
        return dict(error)

    @property
    def address(self) -> str:
        """As people type it in front of an image."""
        return f"localhost:{self.port}"

    def container(self) -> Container:
        """Return the container as it is now."""
        return self.client.containers.get(self.name)

    def life(self) -> tuple[str, str]:
        """Return id and start: another container, or a restart, changes it."""
        container = self.container()
        return str(container.id), str(container.attrs["State"]["StartedAt"])

    def engine_things(self) -> set[str]:
        """Return every container, volume and network of the engine."""
        return {
            *(f"container {one.name}" for one in self.client.containers.list(all=True)),
            *(f"volume {one.name}" for one in self.client.volumes.list()),
            *(f"network {one.name}" for one in self.client.networks.list()),
        }

    def files(self) -> dict[str, str]:
        """Return every path below the person's directory, with the digest of a file."""
        root = self.regsetup.place
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "directory"
            for path in root.rglob("*")
        }

    def everything(self) -> tuple[set[str], dict[str, str]]:
        """Return what a test compares before and after."""
        return self.engine_things(), self.files()

    def push(self, docker_cli: DockerCli, reference: str) -> str:
        """Push a new image through the engine and return its id; the engine keeps no copy."""
        image = load(self.client, busybox_archive(reference, noise=1 << 14))
        docker_cli("push", reference).ok()
        self.client.images.remove(str(image.id), force=True)
        return str(image.id)

    def pull(self, docker_cli: DockerCli, reference: str) -> str:
        """Pull an image through the engine and return its id; the engine keeps no copy."""
        docker_cli("pull", reference).ok()
        found = str(self.client.images.get(reference).id)
        self.client.images.remove(found, force=True)
        return found
