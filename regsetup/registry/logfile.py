"""The log as a file of the registry's own, for where no journal takes it: bounded, without a log rotator.

Standard output and error go to the file. What is full is renamed ``NAME.1`` and the one before ``NAME.2``,
older ones go; whoever follows it sees a rename, as logrotate makes it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 10 << 20  # bytes; with the older ones 30 MiB, some 200,000 requests
OLDER = 2  # files that are kept beside the one that is written


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that this process's standard output and error are written to."""

    path: Path
    limit: int = LIMIT

    def open(self) -> None:
        """Have both written there from now on.

        Raises:
            OSError: it can't be opened.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.close(descriptor)

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def turn(self) -> None:
        """Begin another file if this one is full; where that is refused, this one grows on."""
        with suppress(OSError):
            if os.fstat(2).st_size < self.limit:
                return
            for number in reversed(range(OLDER)):
                with suppress(FileNotFoundError):
                    self._older(number).replace(self._older(number + 1))
            self.open()
