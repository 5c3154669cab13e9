"""Restarts a dockerd the way it was started: by systemd, by an init script, or as the process it was.

Decides nothing: ``reload`` does. Every ``restart`` returns None, or what went wrong in the engine's words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from regsetup.host.engine import Dockerd, Manager, systemctl
from regsetup.host.process import ProgramTimeout, Result, run, spawn_detached

if TYPE_CHECKING:
    from collections.abc import Sequence

STOP_SECONDS = 60.0  # dockerd gives its containers 15 s by default ("shutdown-timeout")
START_SECONDS = 120.0  # it restores containers and networks before it answers
_TAIL_LINES = 5
_SERVICE_LOG = Path("/var/log/docker.log")  # of Docker's own script, and of Debian's
_GONE = {1, 2, 3}  # what `status` ends with for a program that does not run (LSB 5.0, init script actions)


class Starter(Protocol):
    """Restarts one engine, more than once if need be."""

    def restart(self) -> str | None:
        """Stop it if it runs and start it; return why that failed, or None."""
        ...

    def failure(self) -> str | None:
        """Return why it can't come up any more, or None while it still may."""
        ...


def starter(engine: Dockerd, pid: int) -> Starter:
    """Return what restarts ``engine``, which runs as process ``pid`` of this machine."""
    if engine.manager in (Manager.SYSTEMD, Manager.SYSTEMD_USER):
        return SystemdUnit(systemctl(engine.manager), engine.unit)
    if engine.manager is Manager.SERVICE:
        return InitScript(engine.unit)
    return PlainProcess(pid, engine.args)


class SystemdUnit:
    """A systemd service."""

    def __init__(self, systemctl_command: tuple[str, ...], unit: str) -> None:
        self._systemctl = systemctl_command
        self._unit = unit

    def restart(self) -> str | None:
        """Restart the unit, even if it failed so often that systemd gave up on it."""
        socket = self._unit.replace(".service", ".socket")
        run([*self._systemctl, "reset-failed", self._unit, socket])  # fails where nothing has: no matter
        failed = _try([*self._systemctl, "restart", self._unit])
        if failed is None:
            return None
        scope = "--user-unit" if "--user" in self._systemctl else "--unit"
        said = run(
            ["journalctl", scope, self._unit, "--lines", str(_TAIL_LINES), "--output=cat", "--no-pager"]
        )
        return f"{failed}\n{said.out}".strip()

    def failure(self) -> str | None:
        """Return None: ``systemctl restart`` has waited for the unit to be up."""
        return None


class InitScript:
    """A sysvinit or OpenRC script; ``service`` runs either."""

    def __init__(self, name: str) -> None:
        self._name = name

    def restart(self) -> str | None:
        """Run the script's ``restart``."""
        return _try(["service", self._name, "restart"])

    def failure(self) -> str | None:
        """Return the last line of its log, which names the reason, once the script says that it is gone."""
        if run(["service", self._name, "status"]).code not in _GONE:
            return None
        return _last_line(_SERVICE_LOG) or f"service {self._name} status says that it does not run"


class PlainProcess:
    """A dockerd that nobody looks after: the same command line again, with the same environment and log."""

    def __init__(self, pid: int, args: tuple[str, ...]) -> None:
        process = psutil.Process(pid)
        self._pid = pid
        self._args = args
        self._environment = process.environ()
        self._log = _log_of(pid)

    def restart(self) -> str | None:
        """End it as a service manager would, and start it again."""
        if not _end(self._pid):
            return f"process {self._pid} did not end within {STOP_SECONDS:g} s"
        self._pid = spawn_detached(self._args, log=self._log, env=self._environment)
        return None

    def failure(self) -> str | None:
        """Return the last line of its log, which names the reason, once the process is gone."""
        if psutil.pid_exists(self._pid):
            return None
        return _last_line(self._log)


def _try(args: Sequence[str]) -> str | None:
    try:
        done: Result = run(args, timeout=STOP_SECONDS + START_SECONDS)
    except ProgramTimeout as error:
        return error.message
    return None if done.code == 0 else (done.err or done.out).strip() or f"exit code {done.code}"


def _end(pid: int) -> bool:
    """Ask a process to end, and wait for it; True if it has."""
    try:
        process = psutil.Process(pid)
        process.terminate()
        process.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def _log_of(pid: int) -> Path:
    """Return the file that a process writes its errors to, if it is a file."""
    target = Path(os.path.realpath(f"/proc/{pid}/fd/2"))
    return target if target.is_file() else _SERVICE_LOG


def _last_line(log: Path) -> str:
    """Return the last line of a log; nothing if it has none."""
    try:
        return "".join(log.read_text(errors="replace").splitlines()[-1:])
    except OSError:
        return ""
