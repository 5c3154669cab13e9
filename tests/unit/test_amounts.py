"""Durations and sizes as people type them."""

from __future__ import annotations

import pytest

from regsetup import amounts


@pytest.mark.parametrize(
    ("text", "found"), [("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604800), ("0s", 0)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, found: int) -> None:
    assert amounts.seconds(text) == found


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "1 h", "1w", "9999999999s"])
def test_what_is_no_duration(text: str) -> None:
    assert amounts.seconds(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("0", 0), ("1024", 1024), ("64MiB", 64 << 20), ("2g", 2 << 30), ("1K", 1024), ("1TiB", 1 << 40)],
)
def test_a_size_has_units_of_1024(text: str, found: int) -> None:
    assert amounts.size(text) == found


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "64 MiB", "64MB", "9999999999"])
def test_what_is_no_size(text: str) -> None:
    assert amounts.size(text) is None
