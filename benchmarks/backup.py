"""Measures ``regsetup backup`` beside ``tar | zstd -3 -T0`` on the same data directory, in turns.

python -m benchmarks.backup [--rounds 5] [--layers 40] [--size 16] [--directory DIR]

The tree has layers as registries have them: compressed, so that nothing can be won there. Each side is a
process of its own, started anew, and its file is on disk (fsync) when it ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bed.stored import store_image

MIB = 1 << 20
HEAD = "| what | seconds, median (min - max) | MiB/s | ratio |\n|---|---|---|---|"
_BACKUP = """
import sys
from pathlib import Path
from regsetup.backup.make import backup
from regsetup.backup.survey import DirectorySource
from regsetup.deployment import Deployment, Directory, Paths
root, home, target = map(Path, sys.argv[1:])
wanted = Deployment("registry", Directory(root))
target = str(target) + ("/" if target.suffix == "" else "")
backup(wanted, Paths(home, "registry"), "embedded", DirectorySource(root), target, keep=None,
       told=lambda done, total: None)
"""


def fill(root: Path, layers: int, size: int) -> int:
    """Store images of four layers of ``size`` MiB; return the bytes of the tree."""
    for number in range(0, layers, 4):
        store_image(root, f"team/app{number}", "1.0", *(os.urandom(size * MIB) for _ in range(4)))
    for number in range(500):  # small ones: links and manifests cost, too
        store_image(root, "team/small", f"t{number}", b"the same layer", str(number).encode())
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--size", type=int, default=16, help="MiB of a layer")
    parser.add_argument("--directory", type=Path, default=None)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="regsetup-bench", dir=given.directory))
    try:
        run(place, given.rounds, given.layers, given.size)
    finally:
        shutil.rmtree(place)


def run(place: Path, rounds: int, layers: int, size: int) -> None:
    root, home = place / "data", place / "home"
    (home / "registry").mkdir(parents=True)
    total = fill(root, layers, size)
    ours = [sys.executable, "-c", _BACKUP, str(root), str(home)]
    pipe = f"tar -C {root} -cf - docker | zstd -3 -T0 -q -f -o {place}/tar.zst && sync {place}/tar.zst"
    sides = {
        "tar, zstd -3 -T0": ["sh", "-c", pipe],
        "regsetup backup FILE": [*ours, str(place / "b.zst")],
        "regsetup backup DIR, the first": [*ours, str(place / "many")],
        "regsetup backup DIR, nothing new": [*ours, str(place / "many")],
    }
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        shutil.rmtree(place / "many", ignore_errors=True)
        for name, command in sides.items():
            took[name].append(timed(command))
    print(f"{total / MIB:.0f} MiB, load {os.getloadavg()[0]:.1f}\n\n{HEAD}")
    base = statistics.median(next(iter(took.values())))
    for name, all_ in took.items():
        median = statistics.median(all_)
        spread = f"{median:.2f} ({min(all_):.2f} - {max(all_):.2f})"
        print(f"| {name} | {spread} | {total / MIB / median:.0f} | **{base / median:.2f}** |")


if __name__ == "__main__":
    main()
