"""Links that are kept in memory: whatever another process does to one is seen at the next request."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from regsetup.reference import Digest
from regsetup.registry.disk.layout import SETTLED, Layout, write_link

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


@pytest.mark.slow
def test_a_link_that_another_process_changes_is_read_again(tmp_path: Path) -> None:
    places = Layout(tmp_path)
    paths = [Path(places.tag_link("app", f"tag{number}")) for number in range(5)]
    for path in paths:
        write_link(str(path), ONE)
        assert places.read_link(str(path)) == ONE
    time.sleep(SETTLED / 1e9 + 0.1)
    assert {places.read_link(str(path)) for path in paths} == {ONE}
    replaced, rewritten, emptied, removed, untagged = paths
    write_link(str(replaced), TWO)  # another file, as we do
    before = rewritten.stat()
    with rewritten.open("r+") as file:  # the same file, as registry:2 does
        file.write(str(TWO))
    os.utime(rewritten, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -p and tar do
    emptied.write_bytes(b"")
    removed.unlink()
    shutil.rmtree(untagged.parent.parent)
    assert [places.read_link(str(path)) for path in paths] == [TWO, TWO, None, None, None]
    write_link(str(removed), TWO)
    assert places.read_link(str(removed)) == TWO


def test_a_link_that_changes_again_and_again_is_never_late(tmp_path: Path) -> None:
    """Many changes within one tick of the file system's clock, some by files of the same number."""
    places = Layout(tmp_path)
    path = places.tag_link("app", "latest")
    for number in range(300):
        digest = Digest.of(str(number).encode())
        write_link(path, digest)
        assert places.read_link(path) == digest
