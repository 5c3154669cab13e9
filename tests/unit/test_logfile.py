"""The last lines of a log file, and those that follow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from regsetup.backends import logfile
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def collect(path: Path, heard: list[str], alive: threading.Event) -> None:
    for line in logfile.lines(path, follow=True, alive=alive.is_set):
        heard.append(line)


@given(
    rows=st.lists(st.text("ab é", max_size=30), max_size=30),
    tail=st.none() | st.integers(0, 40),
    ended=st.booleans(),
)
def test_tail_is_the_end_of_all_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], tail: int | None, *, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "registry.log"
    text = "\n".join(rows) + ("\n" if ended and rows else "")
    path.write_text(text)
    expected = text.split("\n")[: -1 if text.endswith("\n") or not text else None]
    start = 0 if tail is None else max(0, len(expected) - tail)
    assert list(logfile.lines(path, tail=tail)) == expected[start:]


def test_tail_of_a_long_file_reads_only_its_end(tmp_path: Path) -> None:
    path = tmp_path / "registry.log"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"%099d\n" % number for number in range(2000)))
    assert [int(line) for line in logfile.lines(path, tail=1500)] == list(range(500, 2000))


@given(
    parts=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    tail=st.none() | st.integers(0, 20),
)
def test_a_log_in_several_files_is_one_log(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int], tail: int | None
) -> None:
    path, rows, last = tmp_path_factory.mktemp("log") / "registry.log", list[str](), len(parts) - 1
    for number, count in enumerate(parts):
        some = [f"{number}-{one}" for one in range(count)]
        rows += some
        name = f"registry.log.{last - number}" if number < last else "registry.log"
        path.with_name(name).write_text("".join(f"{row}\n" for row in some))
    assert len(logfile.files(path)) == len(parts)
    assert list(logfile.lines(path, tail=tail)) == rows[0 if tail is None else max(0, len(rows) - tail) :]


def test_a_file_that_was_renamed_is_read_to_its_end_and_the_next_from_its_start(tmp_path: Path) -> None:
    path, heard, alive = tmp_path / "registry.log", list[str](), threading.Event()
    path.write_text("first\n")
    alive.set()
    listener = threading.Thread(target=collect, args=(path, heard, alive))
    listener.start()
    wait_for("the first line", lambda: heard == ["first"])
    expected = ["first"]
    for number in range(3):
        with path.open("a") as file:
            path.rename(tmp_path / f"registry.log.{number + 1}")
            file.write(f"late {number}\n")
        path.write_text(f"next {number}\n")
        expected += [f"late {number}", f"next {number}"]
        wait_for("the next line", lambda last=expected[-1]: heard[-1] == last)  # type: ignore[misc]
    assert heard == expected
    alive.clear()
    listener.join(timeout=10)
    assert not listener.is_alive()


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert list(logfile.lines(tmp_path / "registry.log", follow=True)) == []


def test_followed_it_gives_what_comes_until_nobody_writes(tmp_path: Path) -> None:
    path, heard, alive = tmp_path / "registry.log", list[str](), threading.Event()
    path.write_text("old\n")
    alive.set()
    listener = threading.Thread(target=collect, args=(path, heard, alive))
    listener.start()
    wait_for("the old line", lambda: heard == ["old"])
    with path.open("a") as file:
        file.write("new\nhal")
        file.flush()
        wait_for("the new line", lambda: heard == ["old", "new"])
        file.write("f\nlast words")
    alive.clear()
    listener.join(timeout=10)
    assert heard == ["old", "new", "half", "last words"]


def test_a_file_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "registry.log"
    path.write_text("a long first line\n")
    heard, alive = list[str](), threading.Event()
    alive.set()
    listener = threading.Thread(target=collect, args=(path, heard, alive))
    listener.start()
    wait_for("the first line", lambda: heard == ["a long first line"])
    path.write_text("cut\n")
    wait_for("the line after the cut", lambda: heard == ["a long first line", "cut"])
    alive.clear()
    listener.join(timeout=10)
    assert not listener.is_alive()
