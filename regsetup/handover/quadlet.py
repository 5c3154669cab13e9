"""A container as podman's quadlet, podman-systemd.unit(5): ``NAME.container``, and ``NAME.volume``.

Podman 4.5 or later, whose generator turns them into services. Values are quoted for a unit's command line,
where they end; mounts are taken as they stand, so only what systemd would expand there is doubled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regsetup.backends import container as containers
from regsetup.backends.unit import RESTART, quote
from regsetup.reference import Reference
from regsetup.templating import render

if TYPE_CHECKING:
    from regsetup.backends.container import Container, Mount


def files(container: Container) -> dict[str, str]:
    """Return the files by name."""
    volume = next((mount.source for mount in container.mounts if mount.volume), None)
    unit = render(
        "quadlet.container.j2",
        {
            "name": container.name,
            "image": full_name(container.image),
            "publish": f"{container.publish}:{container.port}",
            "environment": [quote(f"{key}={value}", dollars=True) for key, value in container.env],
            "labels": [quote(f"{key}={value}", dollars=True) for key, value in container.labels],
            "mounts": [_mount(mount) for mount in container.mounts],
            "health": _doubled(json.dumps(container.health)) if container.health else None,
            "interval": f"{containers.HEALTH_INTERVAL}s",
            "timeout": f"{containers.HEALTH_TIMEOUT}s",
            "retries": containers.HEALTH_RETRIES,
            "restart": RESTART[container.restart],
        },
    )
    made = {f"{container.name}.container": unit}
    if volume:
        made[f"{volume}.volume"] = render("quadlet.volume.j2", {"name": container.name, "volume": volume})
    return made


def _mount(mount: Mount) -> str:
    if mount.volume:
        return str(mount).replace(mount.source, f"{mount.source}.volume", 1)
    return _doubled(str(mount))


def _doubled(text: str) -> str:
    return text.replace("%", "%%").replace("$", "$$")


def full_name(image: str) -> str:
    """Name Docker Hub where Docker means it unsaid; podman would ask which registry is meant."""
    reference = Reference.parse(image)
    if reference.registry:
        return image
    return f"docker.io/{image}" if "/" in reference.repository else f"docker.io/library/{image}"
