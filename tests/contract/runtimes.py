"""What the contract of ``Runtime`` is tested with: one registry per back end."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.embedded import EmbeddedRuntime
from regsetup.backends.serve_command import COMMAND
from regsetup.backends.systemd import Scope
from regsetup.deployment import Deployment, Directory, Paths, RestartPolicy
from regsetup.templating import render
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.backends.base import Runtime

STANDIN = (sys.executable, str(Path(__file__).with_name("standin.py")))
SYSTEMD = Scope("any.service", user=os.geteuid() != 0).runs()


@dataclass
class Bench:
    """One registry; ``open`` is what another command would do to see it.

    Attributes:
        ill: the same deployment, but it ends as soon as it is started.
    """

    open: Callable[[], Runtime]
    wanted: Deployment
    ill: Deployment
    data: Path
    paths: Paths
    close: Callable[[], None] = lambda: None

    def up(self, wanted: Deployment | None = None) -> None:
        """Create it, start it, and wait until it answers."""
        self.make(wanted)
        self.open().start()
        self.wait()

    def make(self, wanted: Deployment | None = None) -> None:
        """Create it."""
        runtime = self.open()
        runtime.create(wanted or self.wanted, runtime.spec(wanted or self.wanted))

    def wait(self) -> None:
        """Wait until it answers."""
        wait_for("an answer of the registry", self.answers, seconds=20)

    def answers(self) -> bool:
        """Tell whether something answers where the registry should."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.wanted.port}/v2/", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def pid(self) -> int | None:
        """Return the process of what runs."""
        seen = self.open().current()
        return seen.pid if seen and seen.running else None

    def changed(self) -> Deployment:
        """Return a deployment that needs a replacement, on the same port."""
        return replace(self.wanted, realm="Another", restart_policy=RestartPolicy.ALWAYS)


def embedded(
    place: Path, name: str, port: int, *, detached: bool, command: tuple[str, ...] = COMMAND
) -> Bench:
    """Make a bench for the bundled registry; made for users it ends at once, for there are none."""
    paths = Paths(place / "home", name)
    data = place / "data"
    for directory in (paths.root, data):
        directory.mkdir(parents=True, exist_ok=True)
    machine = place / "no-systemd" if detached else Path("/")
    wanted = Deployment(name=name, storage=Directory(data), port=port)
    return Bench(
        open=lambda: EmbeddedRuntime(paths, command=command, machine=machine),
        wanted=wanted,
        ill=replace(wanted, auth=True),
        data=data,
        paths=paths,
    )


def docker(place: Path, name: str, port: int, image: str) -> Bench:
    """Make a bench for the container; with a log level that does not exist the registry ends at once."""
    from regsetup.backends.docker import DockerRuntime
    from regsetup.backends.engine import connect

    paths, data = Paths(place / "home", name), place / "data"
    for directory in (paths.root, data):
        directory.mkdir(parents=True)
    wanted = Deployment(name=name, storage=Directory(data), port=port, image=image)
    config = {"name": name, "listen": str(wanted.listen), "http_secret": "s", "tls": False}
    paths.config.write_text(
        render("config.yml.j2", config | {"acme": None, "realm": None, "mirror_of": None, "read_only": False})
    )
    engine = connect()
    return Bench(
        open=lambda: DockerRuntime(engine, paths),
        wanted=wanted,
        ill=replace(wanted, env=(("REGISTRY_LOG_LEVEL", "deafening"),)),
        data=data,
        paths=paths,
        close=engine.client.close,
    )
