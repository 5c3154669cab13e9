"""Other programs: the only place that starts any.

Arguments are always a list and never meet a shell. Passwords go in through ``input``, never through ``args``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class ProgramMissing(RegsetupError):
    """A program that is needed is not installed, or may not be executed."""

    code = "program-missing"

    def __init__(self, program: str, cause: str) -> None:
        super().__init__(
            f"{program} can't be started", cause=cause, fix=f"install {program}, or put it on PATH"
        )


class ProgramTimeout(RegsetupError):
    """A program did not end in time; it and its children were killed."""

    code = "program-timeout"

    def __init__(self, args: Sequence[str], timeout: float) -> None:
        super().__init__(
            f"{args[0]} did not end within {timeout:g} s and was killed",
            fix=f"run it by hand to see what it waits for: {shlex.join(args)}",
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a program did: its exit code (negative: killed by that signal) and its output as text."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str


def run(
    args: Sequence[str],
    *,
    input: bytes | None = None,  # noqa: A002  as subprocess names it
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a program to its end, whatever its exit code; ``env`` is added to our environment.

    Without ``input`` its standard input is empty. Output that is not UTF-8 gets replacement characters.

    Raises:
        ProgramMissing: not on PATH, or not executable.
        ProgramTimeout: still running after ``timeout`` seconds; the whole process group is killed.
    """
    reads = subprocess.DEVNULL if input is None else subprocess.PIPE
    with _start(args, subprocess.PIPE, subprocess.PIPE, reads, env) as process:
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            raise ProgramTimeout(args, timeout) from error
        finally:
            # On any way out, SIGINT too: children that hold the pipes would keep us waiting for ever.
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return Result(tuple(args), process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def lines(args: Sequence[str]) -> Iterator[str]:
    """Run a program and yield what it writes, line by line, as it comes; closing the iterator ends it.

    What it says on standard error is dropped, and so is its exit code.

    Raises:
        ProgramMissing: not on PATH, or not executable.
    """
    with _start(args, subprocess.PIPE, subprocess.DEVNULL, subprocess.DEVNULL, None) as process:
        try:
            for line in process.stdout or ():
                yield line.decode(errors="replace").rstrip("\n")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def spawn_detached(args: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a program that outlives us and the terminal, and return its pid.

    It leads a session of its own, reads nothing, works in ``/`` and appends its output to ``log`` (created
    0640). Should it end while we still run it is reaped, so that no zombie looks alive.

    Raises:
        ProgramMissing: not on PATH, or not executable.
        OSError: ``log`` can't be opened.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        process = _start(args, descriptor, subprocess.STDOUT, subprocess.DEVNULL, env, directory="/")
    finally:
        os.close(descriptor)
    threading.Thread(target=process.wait, name=f"reap {process.pid}", daemon=True).start()
    return process.pid


@dataclass(frozen=True, slots=True)
class Dialed:
    """A program that speaks on ``sock``, its standard input and output; it ends when that is closed."""

    sock: socket.socket
    _end: threading.Thread
    _said: list[bytes]

    def last_words(self, timeout: float) -> str | None:
        """Return what it said on standard error if it has ended, or ends within ``timeout`` seconds."""
        self._end.join(timeout)
        return None if self._end.is_alive() else b"".join(self._said).decode(errors="replace").strip()


def dial(args: Sequence[str]) -> Dialed:
    """Start a program that connects to something by its standard input and output, such as ``ssh``.

    Raises:
        ProgramMissing: not on PATH, or not executable.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = _start(args, theirs.fileno(), subprocess.PIPE, theirs.fileno(), None)
        except ProgramMissing:
            ours.close()
            raise
    said: list[bytes] = []
    end = threading.Thread(
        target=lambda: said.append(process.communicate()[1]), name=f"reap {process.pid}", daemon=True
    )
    end.start()
    return Dialed(ours, end, said)


def _start(
    args: Sequence[str],
    out: int,
    err: int,
    reads: int,
    env: Mapping[str, str] | None,
    directory: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``args`` as the leader of a new session."""
    program = shutil.which(args[0])
    if program is None:
        raise ProgramMissing(args[0], "no executable of this name is on PATH")
    try:
        return subprocess.Popen(
            list(args),
            executable=Path(program).absolute(),
            stdin=reads,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {})},
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramMissing(args[0], error.strerror or str(error)) from error
