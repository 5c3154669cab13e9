"""The power fails: what was acknowledged is on the disk, not only in the page cache."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from regsetup.registry.disk.store import open_store
from regsetup.registry.errors import ApiError
from tests.bed.lost_pages import Disk
from tests.registry.harness import collect_garbage
from tests.registry.test_crash import holds, story

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def told(root: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run the story on a disk that loses what is not synced; yield what was acknowledged so far."""
    root.mkdir()
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        for step in story(open_store(root)):
            said.append(step)
            yield said
    disk.close()


def test_what_was_acknowledged_is_there_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "data")
    for said in told(tmp_path / "data", disk, monkeypatch):
        left = tmp_path / str(len(said))
        disk.rebuild(left)
        holds(left, said)
        if shutil.which("docker-registry") is not None and (left / "docker").is_dir():
            collect_garbage(left)
            holds(left, [step for step in said if not step.startswith("blob")])
    assert len(said) > 10


@pytest.mark.parametrize("forgets", ["files", "directories"])
def test_a_disk_that_forgets_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: str
) -> None:
    """The failing twin: without the fsync of either, the first blob is not there."""
    disk = Disk(tmp_path / "data", forgets=forgets)
    said = next(told(tmp_path / "data", disk, monkeypatch))
    disk.rebuild(tmp_path / "left")
    with pytest.raises((AssertionError, ApiError)):
        holds(tmp_path / "left", said)
