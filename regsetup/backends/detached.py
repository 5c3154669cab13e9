"""The bundled registry as a detached process, where no systemd runs.

It leads its own session, so the end of a terminal (SIGHUP) does not reach it. ``service.pid`` says which
process it is; a process is believed only if it was started at the noted instant of the noted boot, so a
recycled pid is never taken for ours, let alone killed. If a run was killed between the start and the note,
the process is found by the id in its environment. Nobody starts it again: not after a crash, not at boot.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from regsetup.backends import logfile
from regsetup.backends.manager import Life, ServiceError
from regsetup.host.files import remove_unfinished, write_atomic
from regsetup.host.process import spawn_detached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.backends.description import Description

MARK = "REGSETUP_SERVICE"  # variable of the process: the id of its description
NOTE = "no systemd runs here, so nobody starts the registry again after a crash or a reboot; regsetup up does"
_POLL = 0.02  # seconds between two looks whether it has ended
_KILLED_SECONDS = 5.0  # SIGKILL needs no more, unless the kernel is stuck in a disk


@dataclass(frozen=True, slots=True)
class Birth:
    """Which process: pid, start in clock ticks since boot (proc(5) stat, field 22), and which boot.

    Not psutil's ``create_time``: that is wall-clock time and moves when the clock is set.
    """

    pid: int
    ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Birth | None:
        """Read it; None if there is no such process, or only its zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name in field 2 may hold blanks and brackets
        if fields[0] in (b"Z", b"X"):
            return None
        return cls(
            pid, int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        )


class Detached:
    """Runs one registry's process under nobody's watch."""

    def __init__(self, service: Description, root: Path, log: Path, stop_seconds: float) -> None:
        self._service = service
        self._stop_seconds = stop_seconds
        self._pid_file = root / "service.pid"
        self._log = log

    def install(self) -> None:
        """See ``Manager.install``: there is nothing to prepare."""

    def uninstall(self) -> None:
        """See ``Manager.uninstall``."""
        self._pid_file.unlink(missing_ok=True)
        remove_unfinished(self._pid_file)

    def start(self) -> None:
        """See ``Manager.start``.

        Raises:
            ServiceError: the log can't be opened.
            ProgramMissing: the interpreter is gone.
        """
        running = self._find()
        if running is None:
            try:
                pid = spawn_detached(
                    self._service.argv, log=self._log, env={**dict(self._service.env), MARK: self._service.id}
                )
            except OSError as error:
                raise ServiceError(
                    f"{self._log} can't be opened", cause=error.strerror, fix=f"ls -l {self._log}"
                ) from error
            running = Birth.of(pid)
        if running is not None:  # else it has ended already, and `life` says so
            write_atomic(self._pid_file, json.dumps(asdict(running)) + "\n")

    def stop(self) -> None:
        """See ``Manager.stop``: SIGTERM, and SIGKILL after ``stop_seconds``.

        Raises:
            ServiceError: it is another user's, or does not even end by SIGKILL.
        """
        running = self._find()
        if running is not None:
            self._end(running)
        self._pid_file.unlink(missing_ok=True)

    def _end(self, running: Birth) -> None:
        try:
            process = psutil.Process(running.pid)
            for send, seconds in ((process.terminate, self._stop_seconds), (process.kill, _KILLED_SECONDS)):
                if Birth.of(running.pid) == running:  # else the pid may be somebody else's by now
                    send()
                if _gone(running, seconds):
                    return
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise ServiceError(
                f"process {running.pid} can't be stopped by this user",
                cause="another user started it",
                fix="run it as that user, or with sudo",
            ) from error
        raise ServiceError(
            f"process {running.pid} does not end",
            cause="neither SIGTERM nor SIGKILL ended it; the kernel waits for a disk, as a rule",
            fix=f"cat /proc/{running.pid}/stack shows where it hangs",
        )

    def life(self) -> Life:
        """See ``Manager.life``; nobody notes the exit code."""
        running = self._find()
        if running is None:
            return Life(running=False, trouble="the process has ended")
        return Life(running=True, pid=running.pid)

    def drift(self) -> str | None:
        """See ``Manager.drift``: there is nothing to change."""
        return None

    def logs(self, *, tail: int | None, follow: bool) -> Iterator[str]:
        """See ``Manager.logs``."""
        return logfile.lines(self._log, tail=tail, follow=follow, alive=lambda: self._find() is not None)

    def _find(self) -> Birth | None:
        """Return the living process of ``service``: the noted one, else one that carries its id."""
        noted = self._noted()
        if noted is not None and Birth.of(noted.pid) == noted and _carries(noted.pid, self._service.id):
            return noted
        for pid in psutil.pids():
            with suppress(ProcessLookupError):
                # Its children carry the id as well, but lead no session.
                if _carries(pid, self._service.id) and os.getsid(pid) == pid:
                    return Birth.of(pid)
        return None

    def _noted(self) -> Birth | None:
        try:
            return Birth(**json.loads(self._pid_file.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # never written, or by somebody else: the search by id finds it


def _carries(pid: int, identity: str) -> bool:
    """Tell whether the process was started with our mark; False where its environment is not ours to read."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={identity}".encode() in environment.split(b"\0")


def _gone(process: Birth, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while Birth.of(process.pid) == process:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
