"""A disk that keeps what fsync(2) put on it and nothing else, as one does whose power fails."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_fsync = os.fsync


class Disk:
    """What a power cut would leave below one directory; ``fsync`` stands in for the system's.

    Files and directories are known by inode, so a rename counts when its directory was synced. Every inode
    that was synced is kept open: its number is not given to another file.
    """

    def __init__(self, root: Path, *, forgets: str = "") -> None:
        self._root = root
        self._forgets = forgets
        self._contents: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._open: list[int] = []

    def fsync(self, descriptor: int) -> None:
        """Put a file's bytes, or a directory's entries, on disk; what it ``forgets`` is not put there."""
        _fsync(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            if self._forgets != "directories":
                with os.scandir(path) as entries:
                    self._entries[status.st_ino] = {entry.name: entry.inode() for entry in entries}
        elif self._forgets != "files":
            with open(path, "rb") as file:  # noqa: PTH123 - a link to an open file, not a path
                self._contents[status.st_ino] = file.read()
        self._open.append(os.dup(descriptor))

    def rebuild(self, target: Path) -> None:
        """Write what is on disk to another directory."""
        directories = {
            place.stat().st_ino for place in [self._root, *self._root.rglob("*")] if place.is_dir()
        } | self._entries.keys()
        self._put(self._root.stat().st_ino, target, directories)

    def _put(self, inode: int, target: Path, directories: set[int]) -> None:
        if inode not in directories:
            target.write_bytes(self._contents.get(inode, b""))
            return
        target.mkdir()
        for name, child in self._entries.get(inode, {}).items():
            self._put(child, target / name, directories)

    def close(self) -> None:
        """Let the inodes go."""
        for descriptor in self._open:
            os.close(descriptor)
