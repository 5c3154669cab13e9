"""What pull, push and copy share: their options, bars while images travel, and what is said at the end."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import render
from regsetup.cli.gc import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.image.platform import Platform
    from regsetup.reference import Digest
    from regsetup.transfer.watch import Audience, Fate, Watch

TIMEOUT = 120.0  # seconds of silence: a registry writes gigabytes to its disk before it says that it has them
_SHOWN = 12  # characters of a digest, as docker shows

PlatformOption = Annotated[
    str | None,
    typer.Option(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="Only what runs on this platform (default: all)."
    ),
]


def wanted_platform(text: str | None) -> Platform | None:
    """Return what ``--platform`` says."""
    from regsetup.image.platform import Platform

    return Platform.parse(text) if text is not None else None


def facts(watch: Watch) -> dict[str, Any]:
    """Return what moved, for ``--json``."""
    from regsetup.transfer.watch import Fate

    return {"blobs": {str(fate): watch.fates[fate] for fate in Fate}, "bytes": watch.bytes}


def told(watch: Watch, verb: str) -> str:
    """Return what moved, for people: "3 blobs fetched (2.1 MB), 1 blob was there"."""
    from rich.filesize import decimal

    from regsetup.transfer.watch import Fate

    moved = watch.fates[Fate.MOVED] + watch.fates[Fate.RESUMED]
    parts = [f"{count(moved, 'blob')} {verb} ({decimal(watch.bytes)})"] if moved else []
    if resumed := watch.fates[Fate.RESUMED]:
        parts.append(f"{resumed} of them from where an earlier run stopped")
    for fate, text in ((Fate.MOUNTED, "mounted from another repository"), (Fate.THERE, "already there")):
        if number := watch.fates[fate]:
            parts.append(f"{count(number, 'blob')} {text}")
    return ", ".join(parts) or "no blobs"


@contextlib.contextmanager
def bars() -> Iterator[Audience]:
    """Show a bar for all bytes and one for each blob that moves, on a terminal."""
    from regsetup.transfer.watch import Silence

    if render.style.json or render.style.quiet or not (console := render.err()).is_terminal:
        yield Silence()
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description:<20}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as shown:
        yield Bars(shown)


class Bars:
    """Shows what is told."""

    def __init__(self, shown: Any) -> None:
        self._shown = shown
        self._tasks: dict[Digest, Any] = {}
        self._all: Any = None
        self._blobs = self._done = 0
        self._counting = threading.Lock()

    def total(self, size: int, blobs: int) -> None:
        """See ``Audience``."""
        self._blobs = blobs
        self._all = self._shown.add_task(self._headline(), total=size)

    def began(self, digest: Digest, size: int) -> None:
        """See ``Audience``."""
        self._tasks[digest] = self._shown.add_task(f"  {digest.hex[:_SHOWN]}", total=size)

    def moved(self, digest: Digest, count: int) -> None:
        """See ``Audience``."""
        self._shown.advance(self._tasks[digest], count)
        self._shown.advance(self._all, count)

    def ended(self, digest: Digest, fate: Fate) -> None:  # noqa: ARG002  a bar that is full goes
        """See ``Audience``."""
        with self._counting:
            self._done += 1
        self._shown.remove_task(self._tasks.pop(digest))
        self._shown.update(self._all, description=self._headline())

    def _headline(self) -> str:
        return f"{self._done} of {count(self._blobs, 'blob')}"
