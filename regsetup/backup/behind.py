"""Work that is done behind the one who reads and hashes, in a thread of its own and in its order.

Hashing, compressing and writing let other threads run meanwhile, so two processors share them.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from regsetup.backup.survey import AHEAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    Piece = bytes | memoryview


WORTH_A_THREAD = 1 << 17  # bytes; handing over smaller pieces costs more than it gains


class Behind:
    """One thread, and at most ``AHEAD`` calls that it has not done yet."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "regsetup-backup")
        self._under_way: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread when it has done what it is at; what waits is left undone."""
        self._thread.shutdown(cancel_futures=True)

    def do(self, call: Callable[[Piece], object], piece: Piece) -> None:
        """Have it called after all before it; what one of those raised is raised here.

        Args:
            piece: stays as it is until ``AHEAD`` more were given.
        """
        if not self._under_way and len(piece) < WORTH_A_THREAD:
            call(piece)
            return
        self._under_way.append(self._thread.submit(call, piece))
        if len(self._under_way) > AHEAD:
            self._under_way.popleft().result()

    def wait(self) -> None:
        """Return when everything is done; raise what a call raised."""
        while self._under_way:
            self._under_way.popleft().result()
