"""What ``status`` foretells of the disk, in the words that a person reads."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.bed.run import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow


def remember(root: Path, lost_a_day: float) -> None:
    """Write a history of five days in which the disk lost that share of what is free now, each day."""
    found = os.statvfs(root)
    free, now = found.f_bavail * found.f_frsize, datetime.now(UTC)
    samples = [
        {"at": (now - timedelta(days=ago)).isoformat(), "size": 0, "free": int(free * (1 + lost_a_day * ago))}
        for ago in (5, 4, 3, 2, 1)
    ]
    text = json.dumps({"version": 1, "samples": samples, "backup": None, "collection": None})
    (root / "history.json").write_text(text)


def test_the_forecast_is_said_in_words(regsetup: Regsetup) -> None:
    regsetup("up", "--backend", "embedded", "--port", str(free_port()), "--no-auth", "--no-check").ok()
    root = regsetup.home / "registry"
    (root / "history.json").unlink(missing_ok=True)
    assert "full in" not in regsetup("status").ok().out, "without a history"
    for lost, said in ((2, "less than a day"), (1 / 1.5, "1 day"), (1 / 10.5, "10 days")):
        remember(root, lost)
        assert f"full in {said} at this rate" in regsetup("status").ok().out
        assert regsetup.json("status")["data"]["days_until_full"] == int(1 / lost)
    for lost in (0, -0.1, 1e-5):
        remember(root, lost)
        assert "full in" not in regsetup("status").ok().out, f"{lost} of what is free, each day"
        assert regsetup.json("status")["data"]["days_until_full"] is None
