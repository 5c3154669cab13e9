"""Has the kernel write a file while more of it comes, so that fsync(2) at its end finds little left to do.

sync_file_range(2), Linux. It only begins to write: what is not written yet, and an error of the disk, is left
to fsync, which is still what makes a file durable. Where there is no such call nothing is done.

Measured: of a push of 256 MiB fsync took 0.07 of 0.25 s, and 0.26 of 0.93 s where four ran at once.

What is written once and read by nobody soon can be forgotten (posix_fadvise(2)): its pages take the next
bytes. Measured: a pull of 500 MB into a layout took 0.54 s so, 0.75 s without: on a virtual machine whose
host takes free memory back, the first touch of a page costs more than all else that is done with it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 8 << 20  # bytes that make a call worth it
ALIGNED = 64 << 10  # bytes; who adds to a page that is on its way to the disk may have to wait for it
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE (linux/fs.h)


class WriteOut:
    """One file that grows from its byte ``first`` on; ``forget`` leaves little of it in memory."""

    def __init__(self, descriptor: int, first: int, *, forget: bool = False) -> None:
        self._descriptor = descriptor
        self._first = self._begun = first
        self._forget = forget

    def reached(self, end: int) -> None:
        """Begin to write what came since the last time, if it is enough; the file goes up to ``end``."""
        stop = due(self._begun, end)
        if stop == self._begun:
            return
        call = _sync_file_range()
        if call is not None:
            call(self._descriptor, self._begun, stop - self._begun, _BEGIN)
        if self._forget and self._begun > self._first:  # the step before is on the disk by now, or soon
            forget(self._descriptor, self._first, self._begun - self._first)
        self._begun = stop


def due(begun: int, end: int) -> int:
    """Return how far a file is to be written that reaches to ``end``; ``begun`` if that is not worth it."""
    return end - end % ALIGNED if end - begun >= STEP else begun


def forget(descriptor: int, start: int, length: int) -> None:
    """Give up the memory that keeps a part of a file, as far as it is on the disk; 0 means to the end."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call
