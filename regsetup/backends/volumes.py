"""Named volumes of the engine, and what lies in a container's file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.engine import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regsetup.backends.engine import Engine


_CHUNK = 1 << 20  # bytes of a stream from the engine
_INSIDE = "/regsetup"  # where a volume is seen while it is filled
_FILLS = "io.regsetup.fills"  # the label of the container that is made for that


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
    """Remove it with everything in it, and what was left of filling it; nothing happens if there is none."""
    from docker.errors import NotFound

    with translated():
        for left in engine.client.api.containers(all=True, filters={"label": f"{_FILLS}={name}"}):
            engine.client.api.remove_container(left["Id"], force=True, v=True)
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


def read(engine: Engine, container: str, path: str) -> Iterator[bytes]:
    """Yield a directory or file of a container, running or not, as a tar archive; nothing if it is not there.

    Raises:
        EngineError: there is no such container, or the engine ended in the middle.
    """
    from docker.errors import NotFound

    with translated():
        try:
            stream, _ = engine.client.api.get_archive(container, path, chunk_size=_CHUNK)
        except NotFound as error:
            if "No such container" in str(error.explanation):
                raise
            return
        try:
            yield from stream
        finally:
            stream.close()


def fill(engine: Engine, name: str, image: str, pieces: Iterable[bytes]) -> None:
    """Unpack a tar archive into a volume, by a container that is made for it and never started.

    Raises:
        EngineError: the engine refused.
    """
    api = engine.client.api
    with translated():
        made = api.create_container(
            image,
            command=["none"],
            labels={"io.regsetup.spec": "{}", _FILLS: name},
            host_config=api.create_host_config(binds=[f"{name}:{_INSIDE}"]),
        )
        try:
            api.put_archive(made["Id"], _INSIDE, pieces)
        finally:
            api.remove_container(made["Id"], force=True, v=True)  # a volume of the image's, not name
