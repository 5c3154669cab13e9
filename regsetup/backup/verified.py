"""Which blobs of a directory of backups were hashed, and how their files looked then: ``verified.json``.

A blob is relied upon unread while its file has the size, mtime and ctime with which its digest was right:
the kernel moves ctime with every write, and nobody can set it back. (Inodes don't count: FAT and FUSE give
others after each mount.) Clocks of file systems are coarse, so what was changed shortly before the list was
written is hashed once more. What decays on the disk without a write is found by reading everything.

The list may be lost or damaged: then what it does not confirm is hashed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from regsetup.backup.format import object_path
from regsetup.host.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

NAME = "verified.json"
_COARSE = 2_000_000_000  # nanoseconds; FAT's clock, the coarsest
_ALGORITHMS = {64: "sha256", 128: "sha512"}  # by the length of a name

Look = tuple[int, int, int]


def look(place: Path) -> Look:
    """Return size in bytes, mtime and ctime in nanoseconds.

    Raises:
        OSError: it is not there.
    """
    found = place.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_whole(place: Path) -> bool:
    """Read a blob, and tell whether it is what its name says; what can't be read is not."""
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, _ALGORITHMS[len(place.name)]).hexdigest() == place.name
    except OSError:
        return False


@dataclass(slots=True)
class Verified:
    """The list of one directory.

    Attributes:
        looks: how a blob's file looked when its digest was right, by the file's name.
        fresh: the names that this process has confirmed itself.
        all_anew: rely on nothing but that.
    """

    root: Path
    looks: dict[str, Look]
    fresh: set[str] = field(default_factory=set)
    all_anew: bool = False

    @classmethod
    def read(cls, root: Path, *, all_anew: bool = False) -> Self:
        """Read it; nothing is known where it is missing or can't be understood."""
        path = root / NAME
        try:
            written = path.stat().st_mtime_ns
            found = json.loads(path.read_bytes())
            looks = {name: (size, mtime, ctime) for name, (size, mtime, ctime) in found.items()}
            old = {name: one for name, one in looks.items() if one[2] < written - _COARSE}
        except (OSError, ValueError, TypeError, AttributeError):
            old = {}
        return cls(root, old, all_anew=all_anew)

    def confirms(self, place: Path) -> bool:
        """Tell whether a blob is what its name says, having read it if that is not known.

        Raises:
            OSError: it is not there.
        """
        seen = look(place)
        trusted = not self.all_anew or place.name in self.fresh
        if trusted and self.looks.get(place.name) == seen:
            return True
        if not is_whole(place):
            self.looks.pop(place.name, None)
            return False
        self.note(place.name, seen)
        return True

    def note(self, name: str, seen: Look) -> None:
        """Remember how a blob's file looked before it was hashed, or after it was written."""
        self.looks[name] = seen
        self.fresh.add(name)

    def _place(self, name: str) -> Path:
        return self.root / object_path(name)

    def write(self) -> None:
        """Write what is known of blobs that are there.

        Raises:
            CannotWrite: the disk.
        """
        there = {name: one for name, one in self.looks.items() if self._place(name).exists()}
        write_atomic(self.root / NAME, json.dumps(there, separators=(",", ":")), mode=0o600)
