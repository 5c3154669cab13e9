"""Files that survive a crash: a new one appears whole, with its directory entry, or not at all.

Write, fsync, rename, fsync of the directory: rename(2) is atomic, and the entry is on disk after fsync(2)
of the directory itself. Leftovers of a crash end in ``.tmp``, which distribution's walkers pass over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil

SUFFIX = ".tmp"


def sync_directory(path: str) -> None:
    """Put the entries of a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: str) -> None:
    """Create a directory and its parents; the parents of what was created are on disk afterwards."""
    missing = []
    here = path
    while not os.path.isdir(here):
        missing.append(here)
        here = os.path.dirname(here)
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory)
    for directory in missing:  # after all are made: one commit of the file system's journal does for them
        sync_directory(os.path.dirname(directory))


def write(path: str, content: bytes) -> None:
    """Put a small file in place, atomically and durably; an existing one is replaced.

    Raises:
        OSError: nothing was changed, and no temporary file is left.
    """
    make_directory(os.path.dirname(path))
    write_whole(path, content)
    sync_directory(os.path.dirname(path))


def write_whole(path: str, content: bytes) -> None:
    """Put a small file into a directory, atomically: after a crash it is there whole, or not at all.

    Raises:
        OSError: nothing was changed, and no temporary file is left.
    """
    temporary = f"{path}.{secrets.token_hex(8)}{SUFFIX}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_if_other(path: str, content: bytes) -> None:
    """Write ``content`` unless exactly that is there already."""
    if read(path, len(content) + 1) != content:
        write(path, content)


def read(path: str, limit: int) -> bytes | None:
    """Return at most ``limit`` bytes of a file, or None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        size = min(limit, os.fstat(descriptor).st_size + 1)
        found = os.read(descriptor, size)
        while 0 < len(found) < size:
            more = os.read(descriptor, size - len(found))
            if not more:
                break
            found += more
        return found
    finally:
        os.close(descriptor)


def remove_tree(path: str) -> None:
    """Remove a directory and what is in it; nothing happens where there is none."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
