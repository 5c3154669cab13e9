from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.writeout import ALIGNED, STEP, WriteOut, due, forget

if TYPE_CHECKING:
    from pathlib import Path


@given(first=st.integers(0, 1 << 40), pieces=st.lists(st.integers(0, 4 * STEP), max_size=20))
def test_whatever_the_pieces_less_than_a_step_waits_and_nothing_is_begun_that_was_not_written(
    first: int, pieces: list[int]
) -> None:
    begun = end = first
    for piece in pieces:
        end += piece
        stop = due(begun, end)
        assert begun <= stop <= end
        assert stop == begun or stop % ALIGNED == 0
        assert end - stop < STEP
        begun = stop


def test_a_file_that_is_written_meanwhile_has_its_bytes(tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    with (tmp_path / "file").open("xb", buffering=0) as file:
        writeout = WriteOut(file.fileno(), 0)
        for _ in range(2 * STEP // len(content)):
            file.write(content)
            writeout.reached(file.tell())
    assert (tmp_path / "file").read_bytes() == content * (2 * STEP // len(content))


def resident(path: Path) -> int:
    """Return how many KiB of a file are in memory."""
    shown = subprocess.run(["fincore", "-brno", "RES", path], capture_output=True, check=True, text=True)
    return int(shown.stdout) >> 10


@pytest.mark.skipif(shutil.which("fincore") is None, reason="fincore (util-linux) is not there")
def test_what_is_forgotten_leaves_memory_and_not_the_disk(tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    for name in ("kept", "forgotten"):
        with (tmp_path / name).open("xb", buffering=0) as file:
            writeout = WriteOut(file.fileno(), 0, forget=name == "forgotten")
            for _ in range(4 * STEP // len(content)):
                file.write(content)
                writeout.reached(file.tell())
            os.fsync(file.fileno())
            if name == "forgotten":
                forget(file.fileno(), 0, 0)
    if not resident(tmp_path / "kept"):
        pytest.skip("this file system keeps nothing in memory")
    assert resident(tmp_path / "forgotten") < STEP >> 10
    assert (tmp_path / "forgotten").read_bytes() == content * (4 * STEP // len(content))


def test_what_can_not_be_written_so_is_left_alone() -> None:
    reading, writing = os.pipe()  # sync_file_range(2): ESPIPE
    try:
        WriteOut(writing, 0).reached(STEP)
    finally:
        os.close(reading)
        os.close(writing)
