"""Where a body ends: by its length, or in chunks. Pure; bytes are not copied.

RFC 9112 sections 6.2 and 7.1. Chunk extensions and trailers are read over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from regsetup.registry.errors import SizeInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINE = 1 << 10  # bytes of a chunk's size with its extensions, and of a trailer line
MAX_TRAILERS = 32
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)[ \t]*+(?:;[^\x00-\x08\x0a-\x1f\x7f]*+)?")


class BodyInvalid(SizeInvalid):
    """The body breaks the rules of its framing; nothing after it can be understood."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body can't be read: {reason}")


class Framing(Protocol):
    """Finds a body in what comes over a connection."""

    done: bool

    def take(self, received: memoryview) -> tuple[Sequence[memoryview], int]:
        """Return the parts of ``received`` that are content, and how many bytes of it were understood.

        The rest is to be given again with more behind it, or follows the body if that is ``done``.

        Raises:
            BodyInvalid: says why.
        """


class ByLength:
    """A body of so many bytes."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def take(self, received: memoryview) -> tuple[Sequence[memoryview], int]:
        """Return what is still of the body; see ``Framing``."""
        part = received[: self.left]
        self.left -= len(part)
        self.done = self.left == 0
        return ([part] if part else []), len(part)


class Chunked:
    """A body in chunks."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes of the chunk that still come
        self._begun = 0  # bytes of the line break between a chunk's content and the next size
        self._trailers = -1  # lines of them so far; -1 before the last chunk

    def take(self, received: memoryview) -> tuple[Sequence[memoryview], int]:
        """Return the content of the chunks; see ``Framing``."""
        content: list[memoryview] = []
        at = 0
        while not self.done:
            if self._left:
                part = received[at : at + self._left]
                if not part:
                    break
                content.append(part)
                self._left -= len(part)
                at += len(part)
                continue
            line = _line(received, at, self._begun)
            if line is None:
                break
            at += self._begun + len(line) + 2
            self._read(line)
        return content, at

    def _read(self, line: bytes) -> None:
        """Take a line in: a chunk's size, or a trailer."""
        if self._trailers >= 0:
            self._trailers += 1
            self.done = not line
            if self._trailers > MAX_TRAILERS:
                raise BodyInvalid("too many trailers")
            return
        size = _SIZE.fullmatch(line)
        if size is None:
            raise BodyInvalid("a chunk has no size")
        self._left = int(size[1], 16)
        self._begun = 2 if self._left else 0
        self._trailers = -1 if self._left else 0


def _line(received: memoryview, at: int, begun: int) -> bytes | None:
    """Return the line at ``at``, without its break and the ``begun`` bytes of a break before it.

    None while it has not come.
    """
    found = bytes(received[at : at + 32])  # almost every line is shorter
    end = found.find(b"\r\n", begun)
    if end < 0:
        found = bytes(received[at : at + MAX_LINE])
        end = found.find(b"\r\n", begun)
    if begun and not b"\r\n".startswith(found[:begun]):
        raise BodyInvalid("a chunk is longer than its size")
    if end < 0:
        if len(found) == MAX_LINE or b"\n" in found[begun:]:
            raise BodyInvalid("a line of its framing has no end")
        return None
    return found[begun:end]


def framing(length: int | None) -> Framing:
    """Return what finds a body of ``length`` bytes; None is a chunked one."""
    return Chunked() if length is None else ByLength(length)
