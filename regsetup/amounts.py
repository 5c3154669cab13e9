"""Durations and sizes as people type them: ``90s``, ``2h``, ``7d``; ``64MiB``, ``2G``. Pure."""

from __future__ import annotations

import re

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SIZE = re.compile(r"([0-9]{1,9})([KMGT]?)(?:iB)?", re.IGNORECASE)


def seconds(text: str) -> int | None:
    """Return a duration in seconds; None if the text is none."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * UNITS[match[2]] if match else None


def size(text: str) -> int | None:
    """Return a size in bytes, units being powers of 1024; None if the text is none."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ") if match else None
