"""Several pieces of work at once; the first that fails ends all, and so does Ctrl-C."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

from regsetup.memory import keep_blocks
from regsetup.transfer.watch import Abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
THREADS = 6  # a registry writes a blob to its disk before it answers: others use the line meanwhile
_FAREWELL = 2.0  # seconds that threads get to end after Ctrl-C; one that waits for a network is left behind


def together(jobs: Sequence[Callable[[], T]], stop: threading.Event) -> list[T]:
    """Run jobs in threads and return their results in order.

    Args:
        stop: is set when the jobs that run should end; they raise Abandoned then.

    Raises:
        The first error of a job, when all others have ended.
    """
    keep_blocks()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(jobs)):
        waiting.put(number)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[number] = jobs[number]()
            except Abandoned:
                return
            except BaseException as error:  # noqa: BLE001  raised again, in the thread that waits
                errors.append(error)
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(_FAREWELL / THREADS)
        raise
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(jobs))]
