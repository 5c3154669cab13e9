"""One line per request on standard error. Never a credential: only the user's name is in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regsetup.registry.logfile import LogFile
    from regsetup.registry.wire.request import Request

FLUSH = 0.05  # seconds that lines wait for company: one write(2) for many


class AccessLog:
    """Writes lines to a file descriptor, several at once."""

    def __init__(self, descriptor: int = 2, file: LogFile | None = None) -> None:
        """Write to ``descriptor``; ``file`` is what it leads to, where full files are ours to put away."""
        self._descriptor = descriptor
        self._file = file
        self._lines: list[str] = []

    def note(self, request: Request, user: str, status: int, size: int, seconds: float) -> None:
        """Note an answered request; ``size`` is the body's bytes."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH, self.flush)
        agent = request.headers.get("user-agent", "-")
        when, remote = _stamp(int(time.time())), request.channel.remote
        self._lines.append(
            f"{when} {remote} {_safe(user) or '-'} {_safe(request.method)} "
            f'{_safe(request.target)} {status} {size} {seconds * 1000:.1f}ms "{_safe(agent)}"\n'
        )

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(OSError):  # nobody reads it; that is no reason to stop
                os.write(self._descriptor, "".join(lines).encode("utf-8", "backslashreplace"))
            if self._file:
                self._file.turn()


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _safe(text: str) -> str:
    """Return text that can't forge a line or a field; at most 512 characters."""
    if text.isascii() and text.isprintable() and '"' not in text and len(text) <= 512:
        return text
    return text[:512].encode("unicode_escape").decode("ascii").replace('"', "\\x22")
