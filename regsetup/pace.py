"""Whether a sender keeps a pace that is worth waiting for; one that drips would hold us all day. Pure."""

from __future__ import annotations

_SLOWEST = 1 << 10  # bytes a second; a modem of 1990 is faster


class Pace:
    """How fast bytes come, while they are waited for: what is done with them is not the sender's time."""

    def __init__(self, window: float) -> None:
        self._window = window
        self.waited = 0.0
        self.came = 0

    def holds(self, seconds: float, count: int) -> bool:
        """Count what came after so many seconds of waiting; False if less than 1 KiB a second does, for long.

        That is looked at once in a window of time; ``came`` and ``waited`` count since the last look.
        """
        self.waited += seconds
        self.came += count
        if self.waited < self._window:
            return True
        if self.came < self.waited * _SLOWEST:
            return False
        self.waited, self.came = 0.0, 0
        return True
