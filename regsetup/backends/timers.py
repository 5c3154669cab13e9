"""Jobs of a registry as systemd timers: the two units of each, written, asked about, and removed.

systemd.timer(5), systemd.time(7). A registry's own service is ``regsetup-NAME.service``, so no name makes
it ``regsetup.JOB-NAME.service``.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from regsetup.backends.systemd import Scope
from regsetup.backends.unit import quote
from regsetup.host.files import CannotWrite, remove_unfinished, write_atomic
from regsetup.templating import render

if TYPE_CHECKING:
    from regsetup.deployment import Paths

COMMAND = (sys.executable, "-m", "regsetup")


class Job(StrEnum):
    """What is done; a later one waits for an earlier one that runs, for they exclude each other."""

    BACKUP = "backup"
    GC = "gc"
    VERIFY = "verify"


class Every(StrEnum):
    """How often."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


_DAYS = {Every.DAILY: "*-*-*", Every.WEEKLY: "Sun *-*-*", Every.MONTHLY: "*-*-01"}
_CRON = {Every.DAILY: "* * *", Every.WEEKLY: "* * 0", Every.MONTHLY: "1 * *"}


@dataclass(frozen=True, slots=True)
class Plan:
    """One job: ``at`` is ``HH:MM`` of the machine's time zone; ``to`` and ``keep`` belong to a backup."""

    job: Job
    every: Every
    at: str
    to: str | None = None
    keep: int | None = None

    @property
    def calendar(self) -> str:
        """As systemd writes it; weekly is on Sunday, monthly on the first."""
        return f"{_DAYS[self.every]} {self.at}:00"

    @property
    def cron(self) -> str:
        """The five fields of a crontab."""
        hour, minute = self.at.split(":")
        return f"{int(minute)} {int(hour)} {_CRON[self.every]}"

    def argv(self, name: str) -> tuple[str, ...]:
        """Return the command that does it."""
        words = (*COMMAND, str(self.job), *((self.to,) if self.to else ()), "--name", name, "--quiet")
        return (*words, "--keep", str(self.keep)) if self.keep else words

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what a timer says of itself; None if it says nothing."""
        try:
            raw = json.loads(text)
            return cls(Job(raw["job"]), Every(raw["every"]), raw["at"], raw["to"], raw["keep"])
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Life:
    """What systemd says of a job: when it runs next, when it ended last, and how."""

    next: str | None
    last: str | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Timer:
    """The timer and the service of one job."""

    paths: Paths
    job: Job
    scope: Scope

    @classmethod
    def of(cls, paths: Paths, job: Job, *, user: bool, machine: Path | None = None) -> Self:
        """Return that of root's systemd, or of the user's."""
        scope = Scope(f"regsetup.{job}-{paths.name}.timer", user)
        return cls(paths, job, replace(scope, machine=machine) if machine else scope)

    @property
    def _service(self) -> Scope:
        return replace(self.scope, unit=self.scope.unit.replace(".timer", ".service"))

    def texts(self, plan: Plan) -> dict[Scope, str]:
        """Return both units."""
        values = {
            "name": self.paths.name,
            "description": f"{self.job} of the container registry {self.paths.name} (regsetup)",
            "root": json.dumps(str(self.paths.root)),
            "job": json.dumps(asdict(plan)),
            "every": str(plan.every),
            "calendar": plan.calendar,
            "after": " ".join(_earlier(self.paths.name, self.job)),
            "command": " ".join(quote(word, dollars=True) for word in plan.argv(self.paths.name)),
            "environment": [quote(f"REGSETUP_HOME={self.paths.home}")],
        }
        return {self._service: render("job.service.j2", values), self.scope: render("job.timer.j2", values)}

    def plan(self) -> Plan | None:
        """Return what the timer on disk says, None if there is none."""
        text = self.scope.text() or ""
        found = [line.partition("=")[2] for line in text.splitlines() if line.startswith("X-RegsetupJob=")]
        return Plan.parse(found[0]) if found else None

    def is_as(self, plan: Plan) -> bool:
        """Tell whether both units are on disk as they would be written."""
        return all(one.text() == text for one, text in self.texts(plan).items())

    def install(self, plan: Plan) -> None:
        """Write both, and start the timer.

        Raises:
            CannotWrite: no rights, no space.
            ServiceError: systemd refuses.
        """
        try:
            self.scope.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(self.scope.path.parent, error) from error
        for one, text in self.texts(plan).items():
            write_atomic(one.path, text)
        self.scope.systemctl("daemon-reload")
        self.scope.linger(self._note)
        self.scope.systemctl("enable", "--quiet", self.scope.unit)
        self.scope.systemctl("restart", self.scope.unit)

    def remove(self) -> None:
        """Stop and remove both; a job that runs goes on to its end."""
        if self.scope.runs():
            self.scope.systemctl("disable", "--quiet", "--now", self.scope.unit, fails=True)
            self.scope.systemctl("clean", "--what=state", self.scope.unit, fails=True)  # when it ran last
        for one in (self.scope, self._service):
            one.path.unlink(missing_ok=True)
            remove_unfinished(one.path)
        with suppress(OSError):  # no link there; or others want their timers started, too
            (self.scope.path.parent / "timers.target.wants" / self.scope.unit).unlink()
        with suppress(OSError):
            (self.scope.path.parent / "timers.target.wants").rmdir()
        if self.scope.runs():
            self.scope.systemctl("daemon-reload")
            self.scope.systemctl("reset-failed", self._service.unit, fails=True)
        self.scope.unlinger(self._note)
        if self.scope.user:
            stamps = Path.home() / ".local/share/systemd/timers"
            for made in (*list(self.scope.path.parents)[:3], stamps, stamps.parent):  # ~/.config/systemd/user
                with suppress(OSError):  # not empty: they are somebody's
                    made.rmdir()

    def life(self) -> Life:
        """Ask systemd."""
        timer = self._show("NextElapseUSecRealtime", self.scope)
        service = self._show("ExecMainExitTimestamp,Result", self._service)
        return Life(
            timer.get("NextElapseUSecRealtime") or None,
            service.get("ExecMainExitTimestamp") or None,
            service.get("Result", "success") != "success",
        )

    def notes(self) -> tuple[str, ...]:
        """Say what a person should know of a job here."""
        return self.scope.notes("the job waits while you are not logged in; so that it does not")

    @property
    def _note(self) -> Path:
        return self.paths.home / ".lingering"

    def _show(self, properties: str, scope: Scope) -> dict[str, str]:
        if not scope.runs():
            return {}
        shown = scope.systemctl("show", f"--property={properties}", scope.unit, fails=True).out
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _earlier(name: str, job: Job) -> list[str]:
    """Return the services that this one waits for, should they run."""
    jobs = list(Job)
    return [f"regsetup.{one}-{name}.service" for one in jobs[: jobs.index(job)]]
