"""The last lines of a log, which may be in several files, and those that follow."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK = 64 * 1024  # bytes read at once
_POLL = 0.2  # seconds between two looks for more; what `tail -f` does without inotify, five times as often


def files(path: Path) -> list[Path]:
    """Return the log's files that are there, newest first: ``path``, ``path.1``, and so on."""
    found, number = [path] if path.exists() else [], 1
    while (older := path.with_name(f"{path.name}.{number}")).exists():
        found.append(older)
        number += 1
    return found


def lines(
    path: Path, *, tail: int | None = None, follow: bool = False, alive: Callable[[], bool] = lambda: True
) -> Iterator[str]:
    """Yield the lines of a log, the last ``tail`` of them; nothing if there is no such file.

    With ``follow`` what is written later, too, until ``alive`` says that nobody writes any more. A file that
    was cut (logrotate's copytruncate) is read from its start, and so is one that took the place of another.
    """
    parts: list[tuple[BinaryIO, int]] = []
    try:
        for one in files(path):
            try:
                file: BinaryIO = one.open("rb")
            except FileNotFoundError:  # it was just renamed
                continue
            start, missing = (0, None) if tail is None else _start_of_last(file, tail)
            parts.insert(0, (file, start))
            tail = missing
            if tail == 0:
                break
        for number, (file, start) in enumerate(parts):
            file.seek(start)
            newest = number == len(parts) - 1
            yield from _Followed(path, file, alive).lines() if newest and follow else _lines(file)
    finally:
        for file, _ in parts:
            file.close()


def _lines(file: BinaryIO) -> Iterator[str]:
    for line in file:
        yield line.removesuffix(b"\n").decode(errors="replace")


class _Followed:
    """A file that somebody writes to."""

    def __init__(self, path: Path, file: BinaryIO, alive: Callable[[], bool]) -> None:
        self._path = path
        self._file = file
        self._alive = alive
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """Yield lines as they come, and what stands after the last of them in the end."""
        opened = False
        try:
            while True:
                ended = not self._alive()  # asked before reading: its last words come before its end
                yield from self._there()
                turned = self._is_another()
                yield from self._there()  # the last that was written to it before it was renamed
                if turned:
                    following = self._path.open("rb")
                    if opened:
                        self._file.close()
                    self._file, opened = following, True
                    continue
                if ended:
                    break
                if os.fstat(self._file.fileno()).st_size < self._file.tell():
                    self._file.seek(0)
                time.sleep(_POLL)
            if self._rest:
                yield self._rest.decode(errors="replace")
        finally:
            if opened:
                self._file.close()

    def _there(self) -> Iterator[str]:
        while block := self._file.read(_BLOCK):
            *whole, self._rest = (self._rest + block).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)

    def _is_another(self) -> bool:
        """Tell whether another file has the name by now; one that is just being renamed has none."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


def _start_of_last(file: BinaryIO, count: int) -> tuple[int, int]:
    """Return where the last ``count`` lines begin, and how many of them are missing.

    Reads from the end, for the file may be long.
    """
    position = end = file.seek(0, os.SEEK_END)
    if count == 0:
        return end, 0
    wanted = count
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = (
            len(block) - 1 if position + size == end else len(block)
        )  # the newline at the very end ends a line
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return position + at + 1, 0
    return 0, wanted - (end > 0)
