"""Pulls again and again, killed at each of its changes and pieces in turn: ``URL TARGET``.

Prints how often it died. Between two deaths nothing half stands under a final name; the run that
survives completes the image.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from regsetup.client import Endpoint, RegistryClient
from regsetup.image import layout
from regsetup.reference import Digest
from regsetup.transfer import jobs
from regsetup.transfer.source import choose, opened
from regsetup.transfer.watch import Silence, Watch
from tests.bed.moving import fetched
from tests.contract.killer import KILLED, die_before

_MOST = 300


class Mortal(Silence):
    """Dies at the n-th piece that moved."""

    def __init__(self, number: int) -> None:
        self._left = number

    def moved(self, digest: Digest, count: int) -> None:
        """See ``Audience``."""
        self._left -= 1
        if self._left == 0:
            os._exit(KILLED)


def survives(url: str, target: Path, number: int, *, at_pieces: bool) -> bool:
    """Pull in a child that dies at its n-th event; tell whether it lived to the end."""
    child = os.fork()
    if child == 0:
        if not at_pieces:
            die_before(number)
        with RegistryClient(Endpoint(url)) as client:
            watch = Watch(Mortal(number) if at_pieces else Silence())
            fetched(client, "team/app", "1", target, watch=watch)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, KILLED}, status
    return status == 0


def check(target: Path) -> None:
    """Hold that nothing half has a name."""
    if target.suffix == ".tar":
        assert not target.exists()
    for path in target.glob("blobs/sha256/[0-9a-f]*"):
        assert Digest.of(path.read_bytes()).hex == path.name, path
    if (target / "index.json").exists():
        verify(target)


def verify(target: Path) -> None:
    """Hold that the image is there, to the last blob."""
    with opened(target) as files:
        image = choose(files, None, None, compress=False).image
        for blob in image.blobs:  # type: ignore[union-attr]
            layout.verify(files, blob)


def main(url: str, name: str) -> None:
    target, deaths = Path(name), 0
    for at_pieces, fresh in ((False, False), (True, True), (False, True)):
        for number in range(1, _MOST):
            if survives(url, target, number, at_pieces=at_pieces):
                break
            deaths += 1
            check(target)
            if fresh:
                shutil.rmtree(target, ignore_errors=True)
        verify(target)
        left = [*target.parent.glob(".*.unfinished"), *target.rglob("*.tmp"), *target.rglob(".*.partial")]
        assert not left, left
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    print(deaths)  # noqa: T201


if __name__ == "__main__":
    jobs.THREADS = 1  # a child that dies in one thread should have done the same in each run
    main(*sys.argv[1:])
