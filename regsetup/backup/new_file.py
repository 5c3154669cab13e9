"""A backup's file has its name only when it is complete and on disk."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
from typing import TYPE_CHECKING

from regsetup.host.files import CannotWrite, replaceable, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

MODE = 0o600  # the CA's key is in it


@contextlib.contextmanager
def new_file(place: Path) -> Iterator[BinaryIO]:
    """Give a file that gets its name when the block is done and the bytes are on disk.

    Raises:
        CannotWrite: rights, a full disk, a device of that name; what stood there still stands.
    """
    try:
        target = replaceable(place)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        _remove_stale(target)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # says that somebody is still at work
            with os.fdopen(descriptor, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(target.parent)
    except OSError as error:
        raise CannotWrite(place, error) from error


def _remove_stale(place: Path) -> None:
    """Remove what killed backups to the same name left; those under way hold a lock."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.partial"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
