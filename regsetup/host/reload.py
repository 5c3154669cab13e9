"""Makes an engine take a new daemon.json, and puts the old one back if it can't live with it.

Write, SIGHUP, look whether it took; only then, and only with leave, restart. At every moment the file is one
that dockerd starts from: it is replaced in one step, and only after every check that can be made before.
"""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from regsetup.deployment import Daemon
from regsetup.errors import RegsetupError
from regsetup.host.docker_info import has_live_restore
from regsetup.host.engine import Dockerd, Manager
from regsetup.host.files import make_directory, remove_file, write_atomic
from regsetup.host.process import run
from regsetup.host.restart import START_SECONDS, Starter, starter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from regsetup.host.docker_info import Info

RELOAD_SECONDS = 5.0  # dockerd reports a reload within milliseconds; the rest is for a loaded machine
SETTLE_SECONDS = 2.0  # from the report to ``docker info``
_POLL = 0.1  # seconds


class Probe(Protocol):
    """What must be asked of the engine while its settings change."""

    def info(self) -> Info | None:
        """Return ``docker info``, or None if the engine does not answer."""
        ...

    def running(self) -> Sequence[str]:
        """Return the names of running containers."""
        ...

    def reloaded(self, since: float) -> bool:
        """Tell whether the engine reported ``daemon reload`` since then, in seconds of the epoch.

        ``GET /events`` takes fractions; rounded down, the reload before this one would count again.
        """
        ...


class Outcome(Enum):
    """How a change of daemon.json ended."""

    RELOADED = "reloaded"
    RESTARTED = "restarted"
    NOT_RUNNING = "not running"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Applied:
    """How a change of daemon.json ended, and what is left for a person to do.

    Attributes:
        by_hand: the command or clicks that make the engine take it; None when it has.
        stops: the containers that these would stop.
    """

    outcome: Outcome
    reason: str
    by_hand: str | None = None
    stops: tuple[str, ...] = ()


class DaemonRefused(RegsetupError):
    """dockerd does not accept the file; the old one is in place, and the engine was not restarted."""

    code = "daemon-refused"

    def __init__(self, config: Path, detail: str) -> None:
        super().__init__(
            f"dockerd does not accept {config}; it is as it was before",
            cause=detail,
            fix=f"look at {config}: a key that dockerd does not know, or that is also one of its flags",
        )


class EngineStayedDown(RegsetupError):
    """dockerd did not come back; the old file is in place."""

    code = "engine-stayed-down"

    def __init__(self, config: Path, detail: str, *, up: bool, by_hand: str) -> None:
        state = "and it runs again" if up else "but it does not start with that either"
        super().__init__(
            f"dockerd did not come back with the new {config}; the old one is in place, {state}",
            cause=detail,
            fix="regsetup doctor" if up else f"look at its log, then: {by_hand}",
        )


class EngineUnmoved(RegsetupError):
    """dockerd took the file, was restarted, runs, and still does not do what the file says."""

    code = "engine-unmoved"

    def __init__(self, config: Path) -> None:
        super().__init__(
            f"dockerd runs, but does not follow {config}",
            cause="another file or flag decides, or this is not the engine that reads it",
            fix="regsetup doctor, or name the right file with --daemon-json",
        )


def restart_command(engine: Dockerd) -> str:
    """Return what a person types or clicks to restart ``engine``."""
    return {
        Manager.SYSTEMD: f"sudo systemctl restart {engine.unit}",
        Manager.SYSTEMD_USER: f"systemctl --user restart {engine.unit}",
        Manager.SERVICE: "sudo service docker restart",
        Manager.PROCESS: f"sudo kill {engine.pid}; sudo {shlex.join(engine.args)}",
        Manager.DESKTOP: "Docker Desktop: Settings > Docker Engine > Apply & restart",
        Manager.ELSEWHERE: "restart Docker on the machine that it runs on",
        Manager.STOPPED: "sudo systemctl start docker, or sudo service docker start",
    }[engine.manager]


@dataclass(frozen=True, slots=True)
class Control:
    """An engine, how to ask it, and what may be done to it.

    ``confirm`` gets the names of the containers that a restart would stop; it is called for
    ``Daemon.AUTO`` only.
    """

    engine: Dockerd
    probe: Probe
    policy: Daemon
    confirm: Callable[[Sequence[str]], bool]

    def change(self, text: str, took: Callable[[Info], bool]) -> Applied:
        """Write ``text`` as daemon.json and make the engine take it; ``took`` tells from ``docker info``.

        Raises:
            CannotWrite: the file's place is not writable; nothing has changed.
            DaemonRefused: dockerd does not accept the file; the old one is back.
            EngineStayedDown: it did not survive the restart; the old file is back.
            EngineUnmoved: it restarted and does not follow the file.
        """
        config = self.engine.config
        old = config.read_bytes() if config.exists() else None
        self._validate(text)
        make_directory(config.parent)
        write_atomic(config, text)
        if self.engine.manager is Manager.STOPPED:
            return Applied(Outcome.NOT_RUNNING, "dockerd is not running and will read it when it starts")
        if self.policy is Daemon.NEVER or self.engine.pid is None:
            reason = "--daemon never" if self.policy is Daemon.NEVER else "it can't be reloaded from here"
            return self._pending(reason)
        if self._reload(self.engine.pid, took, old):
            return Applied(Outcome.RELOADED, "dockerd took it on SIGHUP; containers were left alone")
        if not self._may_restart():
            return self._pending("dockerd did not take it on SIGHUP, and a restart was not allowed")
        self._restart(self.engine.pid, took, old)
        return Applied(Outcome.RESTARTED, "dockerd took it by a restart")

    def would_stop(self) -> tuple[str, ...]:
        """Return the containers that a restart would stop: none of them with live-restore."""
        info = self.probe.info()
        return () if info is None or has_live_restore(info) else tuple(self.probe.running())

    def _pending(self, reason: str) -> Applied:
        return Applied(Outcome.PENDING, reason, restart_command(self.engine), self.would_stop())

    def _may_restart(self) -> bool:
        if self.policy is Daemon.AUTO:
            return self.confirm(self.would_stop())
        return self.policy is Daemon.RESTART

    def _validate(self, text: str) -> None:
        """Ask ``dockerd --validate`` with the engine's own flags; engines before 23 do not know it."""
        if not self.engine.args:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as candidate:
            candidate.write(text)
            candidate.flush()
            done = run([*self.engine.args, "--validate", f"--config-file={candidate.name}"])
        said = done.err + done.out
        if done.code != 0 and "unknown flag: --validate" not in said:
            raise DaemonRefused(self.engine.config, said.strip().replace(candidate.name, "daemon.json"))

    def _reload(self, pid: int, took: Callable[[Info], bool], old: bytes | None) -> bool:
        """Send SIGHUP; without the event that follows a good reload the file was refused."""
        since = time.time()
        os.kill(pid, signal.SIGHUP)
        reported = _until(RELOAD_SECONDS, lambda: self._took(took) or self.probe.reloaded(since))
        if reported:
            return _until(SETTLE_SECONDS, lambda: self._took(took))
        _put_back(self.engine.config, old)
        raise DaemonRefused(self.engine.config, "it ignored SIGHUP and reported no reload; its log says why")

    def _took(self, took: Callable[[Info], bool]) -> bool:
        info = self.probe.info()
        return info is not None and took(info)

    def _restart(self, pid: int, took: Callable[[Info], bool], old: bytes | None) -> None:
        config, again = self.engine.config, starter(self.engine, pid)
        failed = self._start(again)
        if failed is None:
            if not _until(SETTLE_SECONDS, lambda: self._took(took)):
                raise EngineUnmoved(config)
            return
        _put_back(config, old)
        up = self._start(again) is None
        raise EngineStayedDown(config, failed, up=up, by_hand=restart_command(self.engine))

    def _start(self, again: Starter) -> str | None:
        """Restart the engine and wait until it answers; return why it does not, or None."""
        failed = again.restart()
        if failed is not None:
            return failed
        _until(START_SECONDS, lambda: again.failure() is not None or self.probe.info() is not None)
        if self.probe.info() is not None:
            return None
        return again.failure() or f"no answer within {START_SECONDS:g} s"


def _put_back(config: Path, old: bytes | None) -> None:
    if old is None:
        remove_file(config)
    else:
        write_atomic(config, old)


def _until(seconds: float, holds: Callable[[], bool]) -> bool:
    """Poll until ``holds`` or the time is up."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
