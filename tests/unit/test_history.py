"""What ``status`` remembers, and what it foretells from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup import history
from regsetup.deployment import Paths
from regsetup.history import History, Sample

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GB = 1_000_000_000


def samples(*free: int, every: timedelta = timedelta(days=1)) -> History:
    """Return samples, the last of them now."""
    first = NOW - every * (len(free) - 1)
    return History(
        tuple(Sample((first + every * at).isoformat(), 0, bytes_) for at, bytes_ in enumerate(free))
    )


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path, "registry")
    paths.root.mkdir()
    return paths


@given(st.integers(1, 400), st.integers(4, 40))
def test_steady_growth_is_foretold(days: int, count: int) -> None:
    rate = 1_000_000
    left = days * rate
    known = samples(*(left + rate * at for at in reversed(range(count))))
    assert history.days_until_full(known, left, NOW) == days


def test_one_large_push_or_collection_moves_nothing() -> None:
    free = [100 * GB - at * GB for at in range(10)]
    jump = [one - (5 * GB if at == 5 else 0) for at, one in enumerate(free)]
    assert history.days_until_full(samples(*free), 91 * GB, NOW) == 91
    assert history.days_until_full(samples(*jump), 91 * GB, NOW) == 91


@pytest.mark.parametrize(
    "known",
    [
        History(),
        samples(100, 90, 80),
        samples(100, 90, 80, 70, 60, every=timedelta(hours=12)),
        samples(100, 100, 100, 100, 100),
        samples(60, 70, 80, 90, 100),
        samples(10**9, 10**9 - 1, 10**9 - 2, 10**9 - 3, 10**9 - 4),
    ],
    ids=["nothing", "too few", "too short", "no growth", "less and less", "in a million years"],
)
def test_without_a_reason_nothing_is_foretold(known: History) -> None:
    free = known.samples[-1].free if known.samples else 100
    assert history.days_until_full(known, free, NOW) is None


@pytest.mark.slow
def test_samples_are_an_hour_apart_and_do_not_grow_for_ever(paths: Paths) -> None:
    for minutes in (0, 30, 59, 60, 90, 121):
        history.note_sample(paths, 1, minutes, NOW + timedelta(minutes=minutes))
    assert [one.free for one in history.read(paths).samples] == [0, 60, 121]
    for days in range(1, history.AT_MOST + 5):
        history.note_sample(paths, 1, days, NOW + timedelta(days=days))
    assert len(history.read(paths).samples) == history.AT_MOST
    history.note_sample(paths, 1, 7, NOW)  # the clock was put back
    assert history.read(paths).samples[-1].free == 7


def test_events_are_remembered_beside_samples(paths: Paths) -> None:
    history.note_sample(paths, 5, 6, NOW)
    history.note_backup(paths, "2026-06-01T00:00:00+00:00", "/srv/b.tar.zst", 9)
    history.note_collection(paths, None)
    known = history.read(paths)
    assert known.samples[0].size == 5
    assert known.backup == history.Event("2026-06-01T00:00:00+00:00", "/srv/b.tar.zst", 9)
    assert known.collection
    assert known.collection.size is None
    assert not list(paths.root.glob(".*.lock"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2}', '{"version": 1, "samples": [{"at": "x", "size": 1, "free": 1}]}'],
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(paths: Paths, text: str) -> None:
    paths.history.write_text(text)
    assert history.read(paths) == History()
    history.note_collection(paths, 1)
    assert history.read(paths).collection


def test_where_there_is_no_registry_nothing_is_made(tmp_path: Path) -> None:
    history.note_collection(Paths(tmp_path, "gone"), 1)
    assert list(tmp_path.iterdir()) == []
