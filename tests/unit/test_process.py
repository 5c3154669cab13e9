"""Programs are started, fed, timed out and left running; each with a real program."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from regsetup.host.process import ProgramMissing, ProgramTimeout, lines, run, spawn_detached


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)


def test_output_and_exit_code_are_given_back() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    assert result.args == ("sh", "-c", "echo out; echo err >&2; exit 7")


def test_input_arrives_and_without_it_standard_input_is_empty() -> None:
    assert run(["cat"], input=b"hello").out == "hello"
    assert run(["cat"]).out == ""


def test_environment_is_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGSETUP_TEST_OURS", "1")
    script = "echo $REGSETUP_TEST_OURS $REGSETUP_TEST_GIVEN"
    assert run(["sh", "-c", script], env={"REGSETUP_TEST_GIVEN": "2"}).out == "1 2\n"


def test_output_that_is_not_text_is_replaced() -> None:
    assert run(["printf", r"\377"]).out == "\ufffd"


def test_a_signal_is_a_negative_exit_code() -> None:
    assert run(["sh", "-c", "kill -KILL $$"]).code == -signal.SIGKILL


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissing, match="no-such-program-here") as caught:
        run(["no-such-program-here"])
    assert caught.value.code == "program-missing"


def test_a_file_that_is_no_program_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0\0\0")
    broken.chmod(0o755)
    with pytest.raises(ProgramMissing) as caught:
        run([str(broken)])
    assert caught.value.cause == "Exec format error"


@pytest.mark.slow
def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(ProgramTimeout, match=r"did not end within 0\.5 s") as caught:
        run(["sh", "-c", f"sleep 60 & echo $! > {pidfile}; wait"], timeout=0.5)
    assert time.monotonic() - started < 10
    assert caught.value.fix is not None
    assert "sleep 60" in caught.value.fix
    wait_until_gone(int(pidfile.read_text()))


def test_a_detached_program_leads_its_own_session_and_writes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    script = "echo $$; echo $GIVEN >&2; pwd; read line || echo no input"
    pid = spawn_detached(["sh", "-c", script], log=log, env={"GIVEN": "seen"})
    wait_until_gone(pid)
    assert log.read_text() == f"before\n{pid}\nseen\n/\nno input\n"


def test_a_detached_program_survives_its_parent(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from regsetup.host.process import spawn_detached;"
        f"print(spawn_detached(['sleep', '60'], log=Path({str(tmp_path / 'log')!r})))"
    )
    pid = int(run([sys.executable, "-c", script]).out)
    try:
        os.kill(pid, 0)
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_log_is_not_for_everybody(tmp_path: Path) -> None:
    log = tmp_path / "log"
    wait_until_gone(spawn_detached(["true"], log=log))
    assert log.stat().st_mode & 0o777 == 0o640


def test_a_program_that_can_not_be_detached_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing):
        spawn_detached(["no-such-program-here"], log=tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        spawn_detached(["true"], log=tmp_path / "missing" / "log")


def test_lines_come_as_they_are_written() -> None:
    assert list(lines(["printf", r"one\ntwo\n\377"])) == ["one", "two", "\ufffd"]
    with pytest.raises(ProgramMissing):
        next(lines(["no-such-program-here"]))


@pytest.mark.slow
def test_closing_the_lines_ends_the_program_and_its_children() -> None:
    coming = lines(["sh", "-c", "sleep 60 & echo $!; echo $$; wait"])
    pids = [int(next(coming)), int(next(coming))]
    assert isinstance(coming, Generator)
    coming.close()
    for pid in pids:
        wait_until_gone(pid)
