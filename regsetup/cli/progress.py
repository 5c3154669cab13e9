"""Tells what ``up`` does while it does it: each step on standard error, and a bar while bytes travel."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from regsetup.cli import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.step import Progress, Reporter, Step


class Steps:
    """Tells each step on standard error, and shows a bar while an image travels.

    ``before`` is called before a line is told: it ends another bar, in whose line the text would stand.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def started(self, step: Step) -> None:
        """See ``Reporter``."""
        self.before()
        render.say(f"  {step.action:<9} {thing(step)}  ({step.reason})")

    def done(self, step: Step) -> None:  # noqa: ARG002  every step that began is told already
        """See ``Reporter``."""
        self._end_bar()

    def noted(self, note: str) -> None:
        """See ``Reporter``."""
        render.say(f"  to do     {note}")

    def undone(self, step: Step) -> None:
        """See ``Reporter``."""
        self._end_bar()
        render.say(f"  undone    {step.action} {thing(step)}")

    def transferred(self, progress: Progress) -> None:
        """See ``Reporter``."""
        console = render.err()
        if render.style.quiet or render.style.json or not console.is_terminal:
            return
        if self.bar is None:
            from rich import progress as bars

            self.bar = bars.Progress(
                bars.TextColumn("  {task.description}"),
                bars.BarColumn(),
                bars.DownloadColumn(),
                console=console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task("")
        self.bar.update(
            self.task, description=progress.status, completed=progress.done, total=progress.total or None
        )

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def thing(step: Step) -> str:
    """Return what a step is about: ``container registry``, or ``config.yml``."""
    kind, target = str(step.resource), step.target
    return kind if kind == target else f"{kind} {target}"


@contextlib.contextmanager
def read_bytes(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far it is, on a terminal."""
    console = render.err()
    if render.style.json or render.style.quiet or not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(what, *columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
