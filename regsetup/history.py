"""What is remembered of a registry beyond its state: samples of the disk, last backup, last collection.

``history.json`` beside the state. Losing it loses a forecast and nothing else: a file that can't be read
counts as empty, and where this user may not write it nothing is noted.
"""

from __future__ import annotations

import json
import statistics
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from regsetup.host.files import CannotWrite, Locked, locked, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.deployment import Paths

VERSION = 1
APART = timedelta(hours=1)  # between two samples; more says no more
AT_MOST = 400  # samples: more than a year of daily ones
SPAN = timedelta(days=3)  # of history before anything is foretold
FEWEST = 4  # samples before anything is foretold
LOOK_BACK = timedelta(days=60)  # older samples say nothing of today's growth
FAR = 1000  # days; further is not worth telling


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes stored and bytes free at one moment (RFC 3339 UTC)."""

    at: str
    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Event:
    """When something was done last, where its result is, and how many bytes it was about."""

    at: str
    where: str
    size: int | None


@dataclass(frozen=True, slots=True)
class History:
    """All that is remembered."""

    samples: tuple[Sample, ...] = ()
    backup: Event | None = None
    collection: Event | None = None


def read(paths: Paths) -> History:
    """Return what is remembered; nothing where the file is missing or damaged."""
    try:
        raw = json.loads(paths.history.read_text(encoding="utf-8"))
        if raw["version"] != VERSION:
            return History()
        samples = tuple(Sample(str(one["at"]), int(one["size"]), int(one["free"])) for one in raw["samples"])
        _ = [datetime.fromisoformat(one.at) for one in samples]
        return History(samples, _event(raw["backup"]), _event(raw["collection"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return History()


def _event(raw: dict[str, Any] | None) -> Event | None:
    return Event(str(raw["at"]), str(raw["where"]), raw["size"]) if raw else None


def note_sample(paths: Paths, size: int, free: int, now: datetime | None = None) -> None:
    """Remember how full the disk is, an hour after the last time at the earliest."""
    moment = now or datetime.now(UTC)

    def more(before: History) -> History:
        last = before.samples[-1].at if before.samples else None
        if last and timedelta() <= moment - datetime.fromisoformat(last) < APART:
            return before
        sample = Sample(moment.isoformat(timespec="seconds"), size, free)
        return replace(before, samples=(*before.samples, sample)[-AT_MOST:])

    _change(paths, more)


def note_backup(paths: Paths, at: str, where: str, size: int) -> None:
    """Remember the last backup."""
    _change(paths, lambda before: replace(before, backup=Event(at, where, size)))


def note_collection(paths: Paths, freed: int | None) -> None:
    """Remember the last collection."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _change(paths, lambda before: replace(before, collection=Event(now, "", freed)))


def _change(paths: Paths, change: Callable[[History], History]) -> None:
    if not paths.root.is_dir():
        return
    with suppress(CannotWrite, Locked), locked(paths.root / ".history.lock"):
        before = read(paths)
        after = change(before)
        if after != before:
            text = json.dumps({"version": VERSION, **asdict(after)}, indent=1)
            write_atomic(paths.history, text + "\n", mode=0o600)


def days_until_full(history: History, free: int, now: datetime) -> int | None:
    """Return in how many days the disk is full if it goes on like this; None where that can't be told.

    The median of the slopes between all samples (Theil-Sen): one large push or collection does not move it.
    Nothing is said of fewer than ``FEWEST`` samples, of less than ``SPAN``, of a disk that does not fill up.
    """
    recent = [
        (datetime.fromisoformat(one.at).timestamp() / 86400, one.free)
        for one in history.samples
        if timedelta() <= now - datetime.fromisoformat(one.at) <= LOOK_BACK
    ]
    if len(recent) < FEWEST or (recent[-1][0] - recent[0][0]) < SPAN / timedelta(days=1):
        return None
    slopes = [
        (free_b - free_a) / (day_b - day_a)
        for at, (day_a, free_a) in enumerate(recent)
        for day_b, free_b in recent[at + 1 :]
        if day_b > day_a
    ]
    growth = -statistics.median(slopes)
    if growth <= 0 or free / growth > FAR:
        return None
    return int(free / growth)
