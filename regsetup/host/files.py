"""Files that must never be seen half-written, and the locks around them.

POSIX only: ``rename(2)`` over an existing file is atomic, ``flock(2)`` is released by the kernel when its
holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_POLL = 0.05  # seconds between two tries for a lock; flock has no timeout of its own


class NotRegular(OSError):
    """A device, pipe or socket stands where a file is to be."""


class CannotWrite(RegsetupError):
    """A file could not be written: no rights, no space, no directory. What stood there still stands."""

    code = "cannot-write"

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        fixes = {
            "PermissionError": "run it as root (sudo), or choose a directory of your own",
            "FileNotFoundError": f"mkdir -p {path.parent}",
            "FileExistsError": "choose another place: something that is no directory stands there",
            "NotADirectoryError": "choose another place: a part of the path is no directory",
            "IsADirectoryError": f"name a file: {path / 'NAME'}",
            "NotRegular": "name a file; a device or pipe would be lost",
        }
        super().__init__(
            f"{path} can't be written",
            cause=reason,
            fix=fixes.get(type(error).__name__, f"look at the file system: df -h {path.parent}"),
        )


class Locked(RegsetupError):
    """Another process works on the same thing."""

    code = "locked"

    def __init__(self, path: Path, holder: str, timeout: float) -> None:
        super().__init__(
            f"{path} is locked by process {holder or '(unknown)'}",
            cause=f"it was still at work after {timeout:g} s",
            fix="wait until it has ended, then try again"
            + (f"; ps {holder} shows what it is" if holder else ""),
        )


def write_atomic(path: Path, content: bytes | str | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Put ``content`` at ``path``: readers see the old file or the new one, also after a power cut.

    Pieces are written as they come; an error among them leaves what stood there. ``mode`` is exact, whatever
    the umask, and counts for a new file; an existing one keeps mode and owner.
    A symbolic link stays one: the file it names is replaced.

    Raises:
        CannotWrite: the directory is missing or not writable, the disk is full, the owner can't be
            kept, a device stands there.
    """
    data = content.encode() if isinstance(content, str) else content
    pieces = (data,) if isinstance(data, bytes) else data
    try:
        target = replaceable(path)
        temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
        try:
            _write_new(temporary, pieces, mode, _stat(target))
            temporary.replace(target)
        except BaseException:
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise CannotWrite(path, error) from error


def replaceable(path: Path) -> Path:
    """Return the file that ``path`` leads to, over any links, which another may take the place of.

    A rename as root would take the place of /dev/null, too.

    Raises:
        OSError: it is a directory, a device, a pipe, a socket.
    """
    there = _stat(path)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise NotRegular(errno.EINVAL, "what stands there is no regular file")
    return Path(os.path.realpath(path))


def remove_file(path: Path) -> None:
    """Remove a file, if it is there; a symbolic link stays one: the file it names is removed.

    Raises:
        CannotWrite: the system refuses.
    """
    try:
        Path(os.path.realpath(path)).unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(path, error) from error


def remove_unfinished(path: Path) -> None:
    """Remove what a killed ``write_atomic`` of ``path`` left beside it; nobody else may be writing it."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a rename is on disk only after this (fsync(2), NOTES).

    Raises:
        OSError: the directory is missing or unreadable.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, timeout: float = 10.0) -> Iterator[None]:
    """Hold the lock file ``path`` for the block: nobody else, thread or process, is in such a block.

    ``path`` is a file of the lock's own: it is created 0600, says its holder's pid, and is removed after.

    Raises:
        Locked: still held by another after ``timeout`` seconds.
        CannotWrite: the lock file can't be made.
    """
    descriptor = _acquire(path, time.monotonic() + timeout, timeout)
    try:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:  # the disk is full
            raise CannotWrite(path, error) from error
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _write_new(path: Path, pieces: Iterable[bytes], mode: int, old: os.stat_result | None) -> None:
    """Create ``path`` with its final owner and mode before the first byte is in it, and fsync it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        new = os.fstat(descriptor)
        if old is not None and (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, mode if old is None else stat.S_IMODE(old.st_mode))
        file.writelines(pieces)
        file.flush()
        os.fsync(descriptor)


def _acquire(path: Path, deadline: float, timeout: float) -> int:
    """Return a descriptor of ``path`` that holds its lock; the file is still the one of that name."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise CannotWrite(path, error) from error
        if _holds(descriptor, path):
            return descriptor
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        if time.monotonic() >= deadline:
            raise Locked(path, holder, timeout)
        time.sleep(_POLL)


def _holds(descriptor: int, path: Path) -> bool:
    """Try the lock; False where another has it, or its last holder removed the file meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    there = _stat(path)
    return there is not None and os.path.samestat(there, os.fstat(descriptor))


def make_directory(path: Path) -> None:
    """Make a directory, and those above it.

    Raises:
        CannotWrite: the system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(path, error) from error


def make_private(path: Path) -> None:
    """Make a directory, and those above it, that only its owner may enter.

    Raises:
        CannotWrite: the system refuses.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(path, error) from error


def config_home(home: Path) -> Path:
    """Return where a person's programs keep their settings (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


def remove_empty(directories: Iterable[Path]) -> None:
    """Remove those directories that nobody put something in meanwhile."""
    for path in directories:
        with suppress(OSError):
            path.rmdir()
