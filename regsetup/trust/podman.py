"""Podman, buildah, skopeo: drop-ins of containers/image, read anew by each command.

containers-certs.d(5) and containers-registries.conf.d(5). A rootless podman has its own directories and does
not read the CAs of the system's (podman#2726).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.trust.base import Client, Edit, Plan, read

if TYPE_CHECKING:
    from regsetup.trust.base import Registry

SYSTEM = Path("/etc/containers")


class Podman(Client):
    """Everything that is built on containers/image, for root or for one person."""

    name = "podman"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def detect(self) -> bool:
        """Tell whether one of the three programs is installed."""
        return any(shutil.which(program) for program in ("podman", "buildah", "skopeo"))

    def plan(self, registry: Registry) -> Plan:
        """Plan a CA file or a drop-in of its own; no file of others is edited."""
        if registry.ca is None:
            path = self._directory / "registries.conf.d" / f"50-regsetup-{registry.slug}.conf"
            return Plan((Edit(path, read(path), drop_in(registry.address).encode()),))
        path = self._directory / "certs.d" / registry.address / "ca.crt"
        return Plan((Edit(path, read(path), registry.ca),))


def drop_in(address: str) -> str:
    """Return the drop-in that allows plain HTTP for ``address``."""
    return f'# written by regsetup\n[[registry]]\nlocation = "{address}"\ninsecure = true\n'


def directory_of(home: Path) -> Path:
    """Return where this user's containers/image looks."""
    return SYSTEM if os.geteuid() == 0 else home / ".config" / "containers"
