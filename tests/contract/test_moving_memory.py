"""What push, pull and copy take of memory does not grow with the image."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bed.moving import Shelf
from tests.contract.both import Serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

BOUND = 128  # MiB
LAYER = 24 << 20  # bytes; the six that travel at once would be far above the bound, held in memory
PROGRAM = """
import sys
from pathlib import Path
from regsetup.cli import run
code = run(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(code)
"""


def peak(regsetup: Regsetup, *arguments: str) -> float:
    """Run a command; return the most memory that its process had, in MiB."""
    environment = dict(os.environ) | regsetup.environment()
    command = [sys.executable, "-c", PROGRAM, *arguments, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr) / 1024


@pytest.mark.slow
def test_an_image_larger_than_the_bound_stays_below_it(regsetup: Regsetup, tmp_path: Path) -> None:
    layers = [bytes(LAYER - 1) + bytes([number]) for number in range(8)]
    shelf = Shelf.single(tmp_path / "made", layers)
    del layers
    serve = Serve("bundled", tmp_path, [])
    try:
        here, there = (serve().url.removeprefix("http://") for _ in range(2))
        image, archive = f"{here}/team/app:1", str(tmp_path / "app.tar")
        taken = {
            "push": peak(regsetup, "push", str(shelf.path), image),
            "copy": peak(regsetup, "copy", image, f"{there}/team/app:1"),
            "pull": peak(regsetup, "pull", image, str(tmp_path / "out")),
            "pull into a file": peak(regsetup, "pull", image, archive),
            "push, compressed": peak(regsetup, "push", archive, f"{there}/team/packed:1"),
        }
    finally:
        for one in serve.started:
            one.stop()
    assert max(taken.values()) < BOUND, taken
    assert min(taken.values()) > 10, taken  # it was measured
