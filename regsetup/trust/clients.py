"""Every client that regsetup knows, as ``trust --for`` names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.errors import UsageError
from regsetup.trust import buildkit, containerd, podman, system
from regsetup.trust.buildkit import Buildkit
from regsetup.trust.containerd import Containerd
from regsetup.trust.docker import Docker, DockerMirror
from regsetup.trust.k3s import K3s
from regsetup.trust.podman import Podman
from regsetup.trust.system import System

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from regsetup.host.reload import Control
    from regsetup.trust.base import Client

NAMES = ("docker", "docker-mirror", "podman", "containerd", "buildkit", "k3s", "system")
ALL = "all"


class UnknownClient(UsageError):
    """``--for`` names a client that regsetup does not know."""

    code = "unknown-client"

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown client: {name!r}", fix=f"one of {', '.join(NAMES)}, {ALL}")


def every(control: Control, home: Path) -> tuple[Client, ...]:
    """Return all clients, with the directories of this user."""
    return (
        Docker(control),
        DockerMirror(control),
        Podman(podman.directory_of(home)),
        Containerd(containerd.directory_of(home) / "config.toml"),
        Buildkit(buildkit.directory_of(home)),
        K3s(),
        System(system.family()),
    )


def choose(clients: Iterable[Client], names: Iterable[str]) -> tuple[Client, ...]:
    """Return the clients that ``--for`` asks for; without a name, and for ``all``, those installed here.

    Raises:
        UnknownClient: a name is none of ``NAMES``.
    """
    wanted = tuple(names)
    check_names(wanted)
    if not wanted or ALL in wanted:
        return tuple(client for client in clients if client.detect())
    return tuple(client for client in clients if client.name in wanted)


def check_names(names: Iterable[str]) -> None:
    """Hold if ``--for`` may name them all.

    Raises:
        UnknownClient: a name is none of ``NAMES``.
    """
    for name in names:
        if name not in (*NAMES, ALL):
            raise UnknownClient(name)
