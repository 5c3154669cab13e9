"""The blobs in a directory of backups: each is written once, and again if what is there is not it.

A blob that is there is relied upon as ``verified`` knows it, and hashed otherwise.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from regsetup.backup.behind import Behind
from regsetup.backup.format import OBJECTS, BackupUnreadable, Listed, named_digest, object_path
from regsetup.backup.verified import look
from regsetup.host.files import CannotWrite, sync_directory
from regsetup.writeout import WriteOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

    from regsetup.backup.format import Digests
    from regsetup.backup.survey import Blob
    from regsetup.backup.verified import Verified

_SMALL = 4 << 20  # bytes; a larger file is worth an fsync of its own
_BATCH = 512  # small files that are named together


@dataclass(slots=True)
class Objects:
    """Blobs on their way into the directory.

    Attributes:
        written: bytes that were new, ``kept`` bytes that were there.
        healed: blobs that were there with another content, and were written anew.
    """

    root: Path
    digests: Digests
    verified: Verified
    told: Callable[[int], None]
    written: int = 0
    kept: int = 0
    healed: list[str] = field(default_factory=list)
    _damaged: set[Path] = field(default_factory=set)
    _small: list[tuple[Path, Path]] = field(default_factory=list)

    def has(self, path: str, size: int) -> bool:
        """Tell whether a blob is there and whole; then it is in the list, too.

        Args:
            size: in the registry; a blob that has another length there is to be read there, and told.
        """
        named = named_digest(path)
        if named is None:
            return False
        place = self.root / object_path(named.hex)
        try:
            if not self.verified.confirms(place):
                self._damaged.add(place)
                return False
            if place.stat().st_size != size:
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BackupUnreadable(place, error) from error
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
        place = self.root / object_path(named.hex)
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
        if place in self._damaged:
            self.healed.append(f"{place.relative_to(self.root)}")

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
                self.verified.note(place.name, look(place))
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
