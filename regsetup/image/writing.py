"""Images going into files: what all of them have in common."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from regsetup.image.document import Part
    from regsetup.image.tree import Stored


class NoSpace(RegsetupError):
    """The file system has less room than the image needs."""

    code = "no-space"

    def __init__(self, path: Path, wanted: int, free: int) -> None:
        super().__init__(
            f"{path} has no room for the image",
            cause=f"it takes {wanted:,} bytes more, and {free:,} are free",
            fix=f"df -h {path} shows what is free; make room, or name a target on another file system",
        )


class Incoming(Protocol):
    """A blob that is being written; errors of the disk are CannotWrite."""

    def beginning(self) -> Iterator[bytes]:
        """Yield what an interrupted run left of it; read it to its end, once, before anything is written."""
        ...

    def write(self, piece: bytes) -> None:
        """Append."""
        ...

    def restart(self) -> None:
        """Forget what was written."""
        ...

    def discard(self) -> None:
        """Remove it: it is not what it should be."""
        ...

    def commit(self) -> None:
        """Let it stand: it is whole, and its digest was compared."""
        ...


class Target(Protocol):
    """What an image is written to: a layout, an archive."""

    def has(self, part: Part) -> bool:
        """Tell whether the blob is there, whole and right."""
        ...

    def incoming(self, part: Part) -> AbstractContextManager[Incoming]:
        """Begin to write a blob, or go on; several at once, in threads, of different digests."""
        ...

    def finish(self, documents: tuple[Stored, ...]) -> bool:
        """Add manifests and names, when all blobs are there; tell whether anything but blobs changed."""
        ...


def check_space(path: Path, wanted: int) -> None:
    """Compare what is to be written with what is free at ``path``, or where it is to be made.

    Raises:
        NoSpace: less is free.
    """
    place = next((one for one in (path, *path.absolute().parents) if one.exists()), path)
    there = shutil.disk_usage(place)
    if there.total and wanted > there.free:  # what has no size at all, such as /proc, tells nothing of itself
        raise NoSpace(place, wanted, there.free)
