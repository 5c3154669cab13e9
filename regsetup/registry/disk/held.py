"""One directory, held by one thread of one process at a time: flock(2) on the directory itself.

Whoever makes a blob young and whoever deletes it take turns by this, in whatever process they run, and no
file is left behind. The kernel lets go of it when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from regsetup.registry.disk import durable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def held(directory: str, *, make: bool = False) -> Iterator[bool]:
    """Hold a directory, with ``make`` also one that is not there yet; gives False where there is none.

    On a file system that can't lock a directory (NFS) nothing is held; the collector refuses to run there.
    """
    descriptor = _open(directory, make=make)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def alone(directory: str) -> int:
    """Hold a directory without waiting; returns a descriptor, which holds it until it is closed.

    Raises:
        BlockingIOError: somebody else holds it.
        OSError: there is no such directory, or its file system can't lock one.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(directory: str, *, make: bool) -> int | None:
    """Return a descriptor that holds the directory; again if it was removed while we waited."""
    while True:
        if make:
            durable.make_directory(directory)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if make:
                continue
            return None
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, directory):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, directory: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(directory))
    except FileNotFoundError:
        return False
