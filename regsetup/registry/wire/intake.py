"""A body on its way in: what a connection gives, without its framing."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regsetup.registry.wire.framing import Framing
    from regsetup.registry.wire.line import Line


class Intake:
    """Reads one body from a line that was taken over."""

    def __init__(self, line: Line, framing: Framing) -> None:
        self.framing = framing
        self._line = line
        self._rest = b""  # what was read and not understood yet

    def collect(self, buffer: memoryview, pieces: list[memoryview], patience: int) -> bool:
        """Fill a buffer; False if nothing came for ``patience`` milliseconds before it was full.

        Args:
            pieces: gets the parts of the buffer that are content, also when this raises.

        Raises:
            ConnectionError: the client went away.
            BodyInvalid: what came is no body.
        """
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
                pieces += found
                begin += understood
            return True
        finally:
            self._rest = bytes(buffer[begin:end])
            if self.framing.done:
                self._line.ahead = self._rest + self._line.ahead

    async def until_more(self, seconds: float) -> None:
        """Wait on the event loop for more.

        Raises:
            ConnectionError: nothing came for so long.
        """
        await self._line.until(select.POLLIN, seconds)
