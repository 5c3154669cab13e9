"""Takes the proof's traces out of a data directory that is on this machine.

The API deletes manifests and links but not the repository's name: registry:2 lists it in ``_catalog`` for
ever. Everything here goes through directory descriptors without following a link, so nothing outside can be
met.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.smoke.image import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from regsetup.reference import Digest

STALE = 3600  # seconds; a proof takes less than one, so an older repository is of one that was killed
_OURS = re.compile(rf"{PREFIX}/([0-9a-f]{{16}})")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class NotCleaned(RegsetupError):
    """The proof's traces could not be removed from the data directory."""

    code = "not-cleaned"

    def __init__(self, data: Path, error: OSError) -> None:
        super().__init__(
            f"the proof's repository could not be removed from {data}",
            cause=error.strerror or str(error),
            fix="sudo regsetup check removes it" if isinstance(error, PermissionError) else None,
        )


def forget(data: Path, repository: str, digests: Iterable[Digest]) -> None:
    """Remove a proof's repository and its blobs from ``data``, which has ``docker/registry/v2`` below it.

    Repositories of proofs that were killed more than an hour ago go too; their blobs are the collector's.

    Raises:
        ValueError: ``repository`` is not one that a proof makes.
        NotCleaned: no rights, or the disk fails. Nothing there is no error.
    """
    ours = _OURS.fullmatch(repository)
    if ours is None:
        raise ValueError(f"{repository!r} is not a proof's repository")
    try:
        with suppress(FileNotFoundError), _below(data, "repositories") as repositories:
            with suppress(FileNotFoundError), _entered(repositories, PREFIX) as proofs:
                _remove(proofs, ours[1])
                _remove_stale(proofs)
            _remove_if_empty(repositories, PREFIX)
        for digest in digests:
            with suppress(FileNotFoundError), _below(data, "blobs", digest.algorithm) as blobs:
                with suppress(FileNotFoundError), _entered(blobs, digest.hex[:2]) as siblings:
                    _remove(siblings, digest.hex)
                _remove_if_empty(blobs, digest.hex[:2])
    except OSError as error:
        raise NotCleaned(data, error) from error


@contextmanager
def _below(data: Path, *parts: str) -> Iterator[int]:
    """Give a descriptor of a directory below ``docker/registry/v2``; ``data`` itself may be a link."""
    with ExitStack() as stack:
        here = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, here)
        for part in ("docker", "registry", "v2", *parts):
            here = stack.enter_context(_entered(here, part))
        yield here


@contextmanager
def _entered(parent: int, name: str) -> Iterator[int]:
    """Give a descriptor of a directory in ``parent``; a link is refused (NotADirectoryError)."""
    descriptor = os.open(name, _FLAGS, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove(parent: int, name: str) -> None:
    """Remove a directory and all in it, where there is one."""
    with suppress(FileNotFoundError):
        shutil.rmtree(name, dir_fd=parent)


def _remove_if_empty(parent: int, name: str) -> None:
    """Remove a directory unless another proof or blob is in it, or it is gone."""
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno != errno.ENOTEMPTY:
            raise


def _remove_stale(proofs: int) -> None:
    """Remove what killed proofs left."""
    for name in os.listdir(proofs):
        if _OURS.fullmatch(f"{PREFIX}/{name}"):
            age = time.time() - os.stat(name, dir_fd=proofs, follow_symlinks=False).st_mtime
            if age > STALE:
                _remove(proofs, name)
