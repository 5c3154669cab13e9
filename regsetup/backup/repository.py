"""A directory of backups: blobs once, by their digest, and a small archive for each backup.

``regsetup-backups.json`` says what it is, ``snapshots/<id>.tar.zst`` are the backups and
``objects/<2 hex>/<hex>`` the blobs as they are: ``sha256sum`` verifies them; see ``objects``.
One program at a time writes to it (flock on ``.lock``).
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.backup.format import (
    OBJECTS,
    BackupDamaged,
    BackupTooNew,
    BackupUnreadable,
    BackupUnsafe,
    Header,
    NotABackup,
)
from regsetup.backup.reading import opened
from regsetup.errors import RegsetupError, UsageError
from regsetup.host.files import locked, make_private, remove_unfinished, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.backup.format import Digests

_KIND = "regsetup-backups"
_VERSION = 1
_NOTE = "regsetup-backups.json"
_SNAPSHOTS = "snapshots"
_SUFFIX = ".tar.zst"
# Where nothing else is, no backups are yet: the lock, a note that was not finished, a new file system.
_IGNORED = re.compile(rf"\.lock|\.{re.escape(_NOTE)}\..*|lost\+found")
_MADE = re.compile(r"-([0-9]{8}T[0-9]{6}Z)(?:-([0-9]+))?")  # in an id: the second, and which one in it


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


class NewestUnreadable(RegsetupError):
    """The newest backup in the directory is damaged; nobody gets an older one without asking for it."""

    code = "newest-backup-unreadable"

    def __init__(self, newest: Stored, before: Stored | None) -> None:
        place = newest.path.parent.parent
        another = f"regsetup restore {place} --backup {before.id} takes the one before; " if before else ""
        super().__init__(
            f"{newest.path} can't be read, and is the newest",
            cause=newest.problem,
            fix=f"{another}regsetup backup {place}/ makes another",
        )


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
            if self.root.is_dir() and any(not _IGNORED.fullmatch(one.name) for one in self.root.iterdir()):
                raise NotBackups(self.root) from None
            return False
        except OSError as error:
            raise BackupUnreadable(note, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._bad_note(f"it can't be read: {error}") from error
        if kind != _KIND:
            raise self._bad_note(f"it is of the kind {kind}")
        if type(version) is not int or version < _VERSION:
            raise self._bad_note(f"its version is {version!r}")
        if version != _VERSION:
            raise BackupTooNew(self.root, version)
        return True

    def _bad_note(self, cause: str) -> NotABackup:
        fix = f"regsetup backup {self.root}/ writes it anew, if these are backups"
        return NotABackup(self.root / _NOTE, cause, fix)

    def _is_one(self) -> bool:
        """Do as ``check``; a note that was lost or damaged among backups is only missing."""
        try:
            return self.check()
        except (NotABackup, NotBackups):
            if any(one.header and one.header.apart for one in self.all()):
                return False
            raise

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make it if need be, and be the only one who writes to it.

        Raises:
            CannotWrite, Locked, NotBackups.
        """
        make_private(self.root)
        with locked(self.root / ".lock"):  # before it is looked at: another may just be making it
            remove_unfinished(self.root / _NOTE)
            if not self._is_one():
                note = {"kind": _KIND, "version": _VERSION}
                write_atomic(self.root / _NOTE, json.dumps(note) + "\n", mode=0o600)
            for directory in (self.snapshots, self.root / OBJECTS):
                make_private(directory)
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
            NewestUnreadable: a later one is damaged.
        """
        stored = self.all()
        whole = [one for one in stored if one.header]
        names = {one.header.name for one in whole if one.header}
        fitting = [one for one in whole if one.header and (name is None or one.header.name == name)]
        last = fitting[-1] if fitting else None
        for one in stored:
            if one.problem and (last is None or _moment(one.id) > _moment(last.id)):
                raise NewestUnreadable(one, last)
        if last is None or (name is None and len(names) > 1):
            wanted = f"of a registry {name}" if name else "that is meant, for there are several registries:"
            raise NoSuchBackup(self.root, wanted, tuple(one.id for one in whole))
        return last.path

    def keep(self, name: str, number: int) -> tuple[str, ...]:
        """Remove all but the newest backups of a registry, and the blobs that no backup needs any more.

        Where a backup can't be read nobody knows what it needs: then blobs stay. Where no backup goes they
        are looked at, too: a run that was killed between the two leaves some that nobody needs.
        """
        stored = self.all()
        ours = [one for one in stored if one.header and one.header.name == name]
        gone = ours[: max(len(ours) - number, 0)]
        for one in gone:
            one.path.unlink(missing_ok=True)
        with contextlib.suppress(BackupDamaged, BackupUnsafe, BackupUnreadable):
            self._sweep([one for one in stored if one not in gone])
        return tuple(one.id for one in gone)

    def _sweep(self, stored: list[Stored]) -> None:
        """Remove the blobs that none of these backups needs.

        Raises:
            BackupDamaged, BackupUnsafe, BackupUnreadable: one can't be read; nothing was removed.
        """
        if any(one.problem for one in stored):
            return
        needed: set[str] = set()
        for one in stored:
            needed |= {blob.digest.rpartition(":")[2] for blob in list_of(one.path).objects.values()}
        for place in (self.root / OBJECTS).glob("*/*"):
            if place.name not in needed:
                place.unlink(missing_ok=True)


def _moment(identity: str) -> tuple[str, int]:
    """Return when a backup was made, by its id; what has another form is the oldest."""
    match = _MADE.search(identity)
    return (match[1], int(match[2] or 1)) if match else ("", 0)


def list_of(path: Path) -> Digests:
    """Return the list of digests of one small archive, without reading its objects.

    Raises:
        RegsetupError: it is damaged.
    """
    with opened(path) as reader:
        return reader.listed_only()
