"""Root's rights, given up for a while within the test's own process, so that its coverage counts."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534  # uid and gid of nobody and nogroup


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run a block as nobody: real and effective ids, so that signals are refused, too."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)
