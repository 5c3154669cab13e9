"""A container as ``compose.yaml``: the Compose Specification, as docker-compose 1.27 and later read it.

No ``version`` and no ``name`` at the top: v2 warns of the one, 1.29 refuses the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends import container as containers
from regsetup.templating import render

if TYPE_CHECKING:
    from regsetup.backends.container import Container, Mount


def text(container: Container, root: Path, *, volume_exists: bool) -> str:
    """Return the file that lies in ``root``; what lies below it is named from there."""
    mounts = [_short(mount, root) for mount in container.mounts]
    publish = container.publish
    return render(
        "compose.yaml.j2",
        {
            "name": container.name,
            "image": _literal(container.image),
            "user": container.user,
            "port": f"{publish}:{container.port}",
            "environment": {key: _literal(value) for key, value in container.env},
            "labels": {key: _literal(value) for key, value in container.labels},
            "mounts": [_literal(mount) for mount in mounts],
            "volumes": [mount.source for mount in container.mounts if mount.volume],
            "volume_exists": volume_exists,
            "health": [_literal(word) for word in ("CMD", *container.health)] if container.health else None,
            "interval": f"{containers.HEALTH_INTERVAL}s",
            "timeout": f"{containers.HEALTH_TIMEOUT}s",
            "retries": containers.HEALTH_RETRIES,
            "restart": str(container.restart),
            "log_options": containers.LOG_OPTIONS,
        },
    )


def _short(mount: Mount, root: Path) -> str:
    source = Path(mount.source)
    if mount.volume or not source.is_relative_to(root):
        return str(mount)
    return str(mount).replace(mount.source, f"./{source.relative_to(root)}", 1)


def _literal(word: str) -> str:
    """Double what compose would take for a variable."""
    return word.replace("$", "$$")
