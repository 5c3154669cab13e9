"""What killed writers leave: ``*.tmp`` files beside links and data, and tags in ``_aside``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from regsetup.registry.disk import durable

if TYPE_CHECKING:
    from collections.abc import Iterator

# What ``durable.write`` and its kind make temporary files for. A tag may end in .tmp too, but is a directory.
_OURS = ("link.", "data.", "startedat.", "scanned.", "hashed")


def remove(base: str, before: float) -> int:
    """Remove leftovers that nobody touched since ``before`` (seconds); return the bytes they took."""
    freed = 0
    for path in list(_files(base)):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path)
            if status.st_mtime < before:
                os.unlink(path)
                freed += status.st_size
    for directory in list(_aside(f"{base}/repositories")):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(directory).st_mtime < before:
                durable.remove_tree(directory)
    return freed


def _files(base: str) -> Iterator[str]:
    for parent, _, names in os.walk(base):
        for name in names:
            if name.endswith(durable.SUFFIX) and name.startswith(_OURS):
                yield f"{parent}/{name}"


def _aside(repositories: str) -> Iterator[str]:
    for parent, names, _ in os.walk(repositories):
        if os.path.basename(parent) == "_aside":
            yield from (f"{parent}/{name}" for name in names)
            names.clear()
