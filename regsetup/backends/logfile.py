"""The last lines of a log file, and those that follow."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK = 64 * 1024  # bytes read at once
_POLL = 0.2  # seconds between two looks for more; what `tail -f` does without inotify, five times as often


def lines(
    path: Path, *, tail: int | None = None, follow: bool = False, alive: Callable[[], bool] = lambda: True
) -> Iterator[str]:
    """Yield the lines of ``path``, the last ``tail`` of them; nothing if there is no such file.

    With ``follow`` what is written later, too, until ``alive`` says that nobody writes any more. A file that
    was cut (logrotate's copytruncate) is read from its start.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        if tail is not None:
            file.seek(_start_of_last(file, tail))
        rest = b""
        while True:
            ended = not follow or not alive()  # asked before reading: its last words come before its end
            while block := file.read(_BLOCK):
                *whole, rest = (rest + block).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if ended:
                break
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            time.sleep(_POLL)
        if rest:
            yield rest.decode(errors="replace")


def _start_of_last(file: BinaryIO, count: int) -> int:
    """Return where the last ``count`` lines begin; reads from the end, for the file may be long."""
    position = end = file.seek(0, os.SEEK_END)
    if count == 0:
        return end
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
                return position + at + 1
    return 0
