"""Finds processes that a test started, however they were detached: their environment or arguments tell."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.bed.run import wait_for


def marked_processes(mark: str) -> dict[int, str]:
    """Return pid and command line of every living process, but this one, that carries ``mark``."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or another user's
        if command and mark.encode() in command + environment:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def end_marked(mark: str) -> dict[int, str]:
    """End them, wait until they are gone, and return what there was."""
    found = marked_processes(mark)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(f"the end of {found}", lambda: not marked_processes(mark), seconds=10)
    return found
