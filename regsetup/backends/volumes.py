"""Named volumes of the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.engine import translated

if TYPE_CHECKING:
    from regsetup.backends.engine import Engine


def exists(engine: Engine, name: str) -> bool:
    """Tell whether the engine has this volume."""
    from docker.errors import NotFound

    with translated():
        try:
            engine.client.volumes.get(name)
        except NotFound:
            return False
    return True


def create(engine: Engine, name: str, labels: dict[str, str]) -> None:
    """Create it; nothing happens if it exists."""
    with translated():
        engine.client.volumes.create(name, labels=labels)


def remove(engine: Engine, name: str) -> None:
    """Remove it with everything in it; nothing happens if there is none."""
    from docker.errors import NotFound

    with translated():
        try:
            engine.client.volumes.get(name).remove()
        except NotFound:
            return


def mountpoint(engine: Engine, name: str) -> Path | None:
    """Return where the volume lies on this machine; None if it is elsewhere, gone, or not ours to enter."""
    from docker.errors import NotFound

    if engine.elsewhere:  # a path over there, whatever is at the same path here
        return None
    with translated():
        try:
            place = engine.client.volumes.get(name).attrs.get("Mountpoint")
        except NotFound:
            return None
    return Path(place) if place and os.access(place, os.R_OK | os.X_OK) else None
