"""Atomic writes and locks, on a real file system with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.host.files import CannotWrite, Locked, locked, remove_unfinished, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to other users")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@given(st.binary())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    write_atomic(path, content)
    assert path.read_bytes() == content


def test_nothing_takes_the_place_of_a_device_or_pipe(tmp_path: Path) -> None:
    """As root a rename would: /dev/null and /dev/stdout of the whole machine were files then."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(CannotWrite) as caught:
            write_atomic(tmp_path / name, "x")
        assert caught.value.cause == "what stands there is no regular file"
    assert (tmp_path / "pipe").is_fifo()
    assert {one.name for one in tmp_path.iterdir()} == {"pipe", "link"}
    with pytest.raises(CannotWrite, match="can't be written") as caught:
        write_atomic(tmp_path, "x")
    assert caught.value.cause == "Is a directory"


def test_text_is_written_as_utf8_and_nothing_is_left_beside(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "häuser\n")
    assert (tmp_path / "a").read_bytes() == "häuser\n".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_of_a_new_file_is_exact_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "default", "x")
        write_atomic(tmp_path / "secret", "x", mode=0o600)
    finally:
        os.umask(before)
    assert (mode(tmp_path / "default"), mode(tmp_path / "secret")) == (0o644, 0o600)


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o640)
    write_atomic(path, "new", mode=0o600)
    assert (path.read_text(), mode(path)) == ("new", 0o640)


@root_only
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 12345, 54321)
    write_atomic(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"


def test_readers_see_the_old_or_the_new_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [b"a" * 300_000, b"b" * 300_000]
    write_atomic(path, contents[0])
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        write_atomic(path, contents[turn % 2])
    done.set()
    reader.join()
    assert seen
    assert all(content in contents for content in seen)


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kill = (
        "import sys, os; from pathlib import Path; from regsetup.host.files import write_atomic\n"
        "sys.addaudithook(lambda event, _: os._exit(9) if event == 'os.rename' else None)\n"
        f"write_atomic(Path({str(tmp_path / 'service.json')!r}), 'half')"
    )
    assert subprocess.run([sys.executable, "-c", kill], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    others = {".service.jsonx.1234.tmp", ".other.1234.tmp", "service.json"}
    for other in others:
        (tmp_path / other).touch()
    remove_unfinished(tmp_path / "service.json")
    assert {path.name for path in tmp_path.iterdir()} == others


def test_a_missing_directory_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="can't be written") as caught:
        write_atomic(tmp_path / "no" / "file", "x")
    assert (caught.value.code, caught.value.cause) == ("cannot-write", "No such file or directory")
    assert caught.value.fix == f"mkdir -p {tmp_path}/no"


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    script = (
        "import resource, signal, sys; from pathlib import Path; from regsetup.host.files import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "free = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, free[1]))\n"
        "try: write_atomic(Path(sys.argv[1]), b'x' * 5000)\n"
        "except CannotWrite as error: sys.exit(error.cause)\n"
        "finally: resource.setrlimit(resource.RLIMIT_FSIZE, free)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "File too large\n")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@root_only
def test_no_rights_are_explained_and_root_is_the_fix(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:  # as nobody, who may not write here
        os.setuid(65534)
        try:
            write_atomic(tmp_path / "a", "x")
        except CannotWrite as error:
            os._exit(0 if error.fix and "sudo" in error.fix else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lock_is_released_and_its_file_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, timeout=0):
        assert path.read_text() == f"{os.getpid()}\n"
        assert mode(path) == 0o600
    assert not path.exists()
    with locked(path, timeout=0):
        pass


def test_a_lock_is_released_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys; from pathlib import Path; from regsetup.host.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(Locked, match=f"locked by process {holder.pid}") as caught,
            locked(path, timeout=0.1),
        ):
            raise AssertionError("two holders")
        assert caught.value.code == "locked"
        assert (
            caught.value.fix == f"wait until it has ended, then try again; ps {holder.pid} shows what it is"
        )
        holder.kill()
    with locked(path, timeout=5):  # the kernel lets go when the holder dies, whatever it left
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_holder_that_has_not_written_its_pid_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        path.write_text("")
        with pytest.raises(Locked, match="unknown"), locked(path, timeout=0):
            raise AssertionError("two holders")


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(3):
            with locked(tmp_path / "lock", timeout=30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_can_not_be_made_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite), locked(tmp_path / "no" / "lock"):
        raise AssertionError("locked nothing")
