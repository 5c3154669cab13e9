"""A second name for every file of a tree, so that what a program deletes from it can be put back.

Hard links: no space, and a moment's work for each thousand files. Files that are changed in place are changed
under both names; a registry replaces or deletes, and never does that.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def take(tree: Path, to: Path) -> None:
    """Link every file of ``tree`` below ``to``, which must not exist.

    Raises:
        OSError: no rights, or a file system without hard links; nothing is left of it.
    """
    try:
        _link_all(tree, to)
    except OSError:
        discard(to)
        raise


def put_back(tree: Path, source: Path) -> int:
    """Link what is missing in ``tree`` from the snapshot; return how many files were.

    Raises:
        OSError: no rights.
    """
    return _link_all(source, tree)


def discard(snapshot: Path) -> None:
    """Remove it; nothing happens if there is none."""
    if snapshot.exists():
        shutil.rmtree(snapshot)


def _link_all(source: Path, to: Path) -> int:
    linked = 0
    for here, names in _walk(source):
        there = to / here.relative_to(source)
        if not there.is_dir():
            there.mkdir()
            status = here.stat()
            os.chown(there, status.st_uid, status.st_gid)
            shutil.copymode(here, there)
        for name in names:
            if not (there / name).exists():
                os.link(here / name, there / name)
                linked += 1
    return linked


def _walk(source: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, _, names in os.walk(source, onerror=_raise):
        yield source.__class__(parent), names


def _raise(error: OSError) -> None:
    raise error
