"""A body on its way in: what a connection gives, without its framing."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regsetup.registry.wire.framing import Framing
    from regsetup.registry.wire.line import Line, Patience


class Intake:
    """Reads one body from a line that was taken over."""

    def __init__(self, line: Line, framing: Framing) -> None:
        self.framing = framing
        self.count = 0
        self._line = line
        self._rest = b""  # what was read and not understood yet

    def collect(self, buffer: memoryview, patience: Patience) -> bool:
        """Fill a buffer; False if patience ended before it was full.

        The first ``count`` bytes of it are content afterwards, also when this raises: chunks are moved
        together, which costs less than to write and hash each of them.

        Raises:
            ConnectionError: the client went away.
            BodyInvalid: what came is no body.
        """
        self.count = 0
        begin, end = 0, len(self._rest)
        buffer[:end] = self._rest
        try:
            while end < len(buffer) and not self.framing.done:
                try:
                    end += self._line.receive_into(buffer[end:])
                except BlockingIOError:
                    if self._line.wait(select.POLLIN, patience):
                        continue
                    return False
                found, understood = self.framing.take(buffer[begin:end])
                if begin == self.count and [len(piece) for piece in found] == [understood]:
                    self.count = begin + understood  # all content, and in its place
                else:
                    for piece in found:
                        self._move(buffer, piece)
                begin += understood
            return True
        finally:
            self._rest = bytes(buffer[begin:end])
            if self.framing.done:
                self._line.ahead = self._rest + self._line.ahead

    def _move(self, buffer: memoryview, piece: memoryview) -> None:
        """Put a piece of the buffer behind the content before it."""
        end = self.count + len(piece)
        buffer[self.count : end] = piece
        self.count = end

    async def until_more(self, seconds: float) -> None:
        """Wait on the event loop for more.

        Raises:
            ConnectionError: nothing came for so long.
        """
        await self._line.until(select.POLLIN, seconds)
