"""A directory of backups: blobs once, by their digest, and a small archive for each backup.

``regsetup-backups.json`` says what it is, ``snapshots/<id>.tar.zst`` are the backups and
``objects/<2 hex>/<hex>`` the blobs as they are: ``sha256sum`` verifies them. A blob that is there with its
length is not written again.
One program at a time writes to it (flock on ``.lock``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from regsetup.backup.behind import Behind
from regsetup.backup.format import (
    OBJECTS,
    BackupTooNew,
    BackupUnreadable,
    Header,
    Listed,
    NotABackup,
    named_digest,
    object_path,
)
from regsetup.backup.reading import opened
from regsetup.errors import RegsetupError, UsageError
from regsetup.host.files import CannotWrite, locked, sync_directory, write_atomic
from regsetup.writeout import WriteOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from pathlib import Path

    from regsetup.backup.format import Digests
    from regsetup.backup.survey import Blob

_KIND = "regsetup-backups"
_VERSION = 1
_NOTE = "regsetup-backups.json"
_SNAPSHOTS = "snapshots"
_SMALL = 4 << 20  # bytes; a larger file is worth an fsync of its own
_BATCH = 512  # small files that are named together
_SUFFIX = ".tar.zst"


class NotBackups(UsageError):
    """The directory holds other things than backups."""

    code = "not-backups"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a directory of backups",
            cause=f"it is not empty, and has no {_NOTE}",
            fix=f"regsetup backup {path}/backups/ makes one in it; {path}/NAME.tar.zst is a file",
        )


class NoSuchBackup(UsageError):
    """The directory does not hold the backup that was asked for."""

    code = "no-such-backup"

    def __init__(self, path: Path, wanted: str, there: tuple[str, ...]) -> None:
        super().__init__(
            f"{path} has no backup {wanted}",
            cause=f"it has {', '.join(there[-3:])}" if there else "it is empty",
            fix=f"regsetup backups {path} lists them",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """One backup in the directory; ``header`` is None and ``problem`` says why where it can't be read."""

    id: str
    path: Path
    header: Header | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A directory of backups."""

    root: Path

    @property
    def snapshots(self) -> Path:
        """Where the small archives lie."""
        return self.root / _SNAPSHOTS

    def check(self) -> bool:
        """Tell whether it is one already; False where there is nothing yet.

        Raises:
            NotBackups: other things lie there.
            BackupTooNew, BackupUnreadable, NotABackup: its note says so.
        """
        note = self.root / _NOTE
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
            kind, version = found["kind"], found["version"]
        except FileNotFoundError:
            if self.root.is_dir() and any(one.name != ".lock" for one in self.root.iterdir()):
                raise NotBackups(self.root) from None
            return False
        except OSError as error:
            raise BackupUnreadable(note, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise NotABackup(note, f"it can't be read: {error}") from error
        if kind != _KIND:
            raise NotABackup(note, f"it is of the kind {kind}")
        if version != _VERSION:
            raise BackupTooNew(self.root, version)
        return True

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make it if need be, and be the only one who writes to it.

        Raises:
            CannotWrite, Locked, NotBackups.
        """
        there = self.check()
        try:
            for directory in (self.root, self.snapshots, self.root / OBJECTS):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(self.root, error) from error
        with locked(self.root / ".lock"):
            if not there:
                note = {"kind": _KIND, "version": _VERSION}
                write_atomic(self.root / _NOTE, json.dumps(note) + "\n", mode=0o600)
            yield

    def place(self, identity: str) -> Path:
        """Return where a backup's archive lies."""
        return self.snapshots / f"{identity}{_SUFFIX}"

    def all(self) -> tuple[Stored, ...]:
        """Return the backups, oldest first.

        Raises:
            BackupUnreadable: the directory is another user's.
        """
        try:
            paths = sorted(self.snapshots.glob(f"*{_SUFFIX}"))
        except OSError as error:
            raise BackupUnreadable(self.snapshots, error) from error
        found = [self._stored(path) for path in paths if not path.name.startswith(".")]
        return tuple(sorted(found, key=lambda one: one.header.created if one.header else ""))

    def _stored(self, path: Path) -> Stored:
        identity = path.name.removesuffix(_SUFFIX)
        try:
            with opened(path) as reader:
                return Stored(identity, path, reader.header)
        except RegsetupError as error:
            return Stored(identity, path, None, error.message)

    def find(self, identity: str) -> Path:
        """Return a backup's archive.

        Raises:
            NoSuchBackup: lists what is there.
        """
        path = self.place(identity)
        if "/" in identity or not path.is_file():
            raise NoSuchBackup(self.root, identity, tuple(one.id for one in self.all()))
        return path

    def newest(self, name: str | None) -> Path:
        """Return the newest backup, of one registry if ``name`` is given.

        Raises:
            NoSuchBackup: there is none, or the directory holds those of several registries.
        """
        whole = [one for one in self.all() if one.header]
        names = {one.header.name for one in whole if one.header}
        fitting = [one for one in whole if one.header and (name is None or one.header.name == name)]
        if not fitting or (name is None and len(names) > 1):
            wanted = f"of a registry {name}" if name else "that is meant, for there are several registries:"
            raise NoSuchBackup(self.root, wanted, tuple(one.id for one in whole))
        return fitting[-1].path

    def keep(self, name: str, number: int) -> tuple[str, ...]:
        """Remove all but the newest backups of a registry, and the blobs that no backup needs any more.

        Where a backup can't be read nobody knows what it needs: then blobs stay.
        """
        stored = self.all()
        ours = [one for one in stored if one.header and one.header.name == name]
        gone = ours[: max(len(ours) - number, 0)]
        for one in gone:
            one.path.unlink(missing_ok=True)
        if gone and not any(one.problem for one in stored):
            self._sweep([one.path for one in stored if one not in gone])
        return tuple(one.id for one in gone)

    def _sweep(self, paths: list[Path]) -> None:
        needed: set[str] = set()
        for path in paths:
            needed |= {one.digest.rpartition(":")[2] for one in list_of(path).objects.values()}
        for place in (self.root / OBJECTS).glob("*/*"):
            if place.name not in needed:
                place.unlink(missing_ok=True)


def list_of(path: Path) -> Digests:
    """Return the list of digests of one small archive, without reading its objects.

    Raises:
        RegsetupError: it is damaged.
    """
    with opened(path) as reader:
        return reader.listed_only()


@dataclass(slots=True)
class Objects:
    """Blobs on their way into the directory.

    Attributes:
        written: bytes that were new, ``kept`` bytes that were there.
    """

    root: Path
    digests: Digests
    told: Callable[[int], None]
    written: int = 0
    kept: int = 0
    _small: list[tuple[Path, Path]] = field(default_factory=list)

    def has(self, path: str, size: int) -> bool:
        """Tell whether a blob is there; then it is in the list, too."""
        named = named_digest(path)
        place = self.root / object_path(str(named))
        if named is None or not place.is_file() or place.stat().st_size != size:
            return False
        self.digests.objects[path] = Listed(str(named), size)
        self.kept += size
        self.told(size)
        return True

    def add(self, blob: Blob) -> None:
        """Write a blob, unless it is there; one that is damaged in the registry is noted and stays outside.

        Raises:
            CannotWrite: the disk; nothing of it stays.
        """
        named = named_digest(blob.path)
        if named is None:
            raise AssertionError("a source yields blobs by their digests")
        place = self.root / object_path(str(named))
        temporary = place.with_name(f".{named.hex[:16]}.{secrets.token_hex(4)}.partial")
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            hasher, size = hashlib.new(named.algorithm), 0
            try:
                with temporary.open("xb", buffering=0) as file, Behind() as behind:
                    write = partial(_write_all, file, WriteOut(file.fileno(), 0))
                    for piece in blob.pieces:
                        behind.do(write, piece)
                        hasher.update(piece)
                        size += len(piece)
                        self.told(len(piece))
                    behind.wait()
                    if size > _SMALL:
                        os.fsync(file.fileno())
                if hasher.hexdigest() != named.hex:
                    self.digests.damaged[blob.path] = f"{named.algorithm}:{hasher.hexdigest()}"
                    temporary.unlink()
                    return
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self._small.append((temporary, place))
            if size > _SMALL or len(self._small) >= _BATCH:
                self.settle(sync=size <= _SMALL)
        except OSError as error:
            raise CannotWrite(place, error) from error
        self.digests.objects[blob.path] = Listed(str(named), size)
        self.written += size

    def settle(self, *, sync: bool = True) -> None:
        """Give what was written its names, once all of it is on disk.

        Raises:
            CannotWrite: the disk.
        """
        try:
            if sync and self._small:
                os.sync()  # one for hundreds of small files: an fsync of each takes ten times as long
            waiting = self._small if sync else self._small[-1:]
            for temporary, place in waiting:
                temporary.replace(place)
            for directory in {place.parent for _, place in waiting}:
                sync_directory(directory)
            del self._small[len(self._small) - len(waiting) :]
        except OSError as error:
            raise CannotWrite(self.root, error) from error

    def give_up(self) -> None:
        """Remove what has no name yet."""
        for temporary, _ in self._small:
            temporary.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed programs left; the caller is the only one who writes."""
        for left in (self.root / OBJECTS).glob("*/.*.partial"):
            left.unlink(missing_ok=True)


def _write_all(file: FileIO, writeout: WriteOut, piece: bytes | memoryview) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]
    writeout.reached(file.tell())
