"""Regular jobs of a registry: collection, verification, backup. Systemd keeps the time."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.backends.timers import Every, Job, Plan, Timer
from regsetup.errors import RegsetupError, UsageError
from regsetup.state import Entry, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.backends.timers import Life
    from regsetup.deployment import Paths
    from regsetup.state import State

_AT = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
AT = {Job.BACKUP: "02:00", Job.GC: "03:00", Job.VERIFY: "04:00"}  # one after the other, when nobody pushes


class NoSystemd(RegsetupError):
    """Nothing here keeps the time for jobs; cron may."""

    code = "no-systemd"

    def __init__(self, paths: Paths, plan: Plan) -> None:
        command = shlex.join((f"REGSETUP_HOME={paths.home}", *plan.argv(paths.name))).replace("%", "\\%")
        super().__init__(
            "systemd does not run here, or not for this user, so nothing keeps the time",
            fix=f"with cron, this line into `crontab -e`:\n{plan.cron} env {command}",
        )


class BadTime(UsageError):
    """``--at`` is no time of day."""

    code = "bad-time"

    def __init__(self, text: str) -> None:
        super().__init__(f"--at {text!r} is no time of day", fix="hours and minutes: --at 03:00")


class BackupNeedsPlace(UsageError):
    """A scheduled backup needs a directory; other jobs have no use for one."""

    code = "backup-needs-place"

    def __init__(self, job: Job) -> None:
        if job is Job.BACKUP:
            super().__init__(
                "a backup needs a directory to go to",
                fix="regsetup schedule add backup daily --to DIR --keep 7",
            )
        else:
            super().__init__(f"--to and --keep are for backup, not for {job}", fix="leave them out")


class NoSuchJob(UsageError):
    """This job is not scheduled."""

    code = "no-such-job"

    def __init__(self, name: str, job: Job) -> None:
        super().__init__(
            f"no {job} of {name} is scheduled", fix=f"regsetup schedule list --name {name} shows what is"
        )


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A job in the ledger; ``plan`` is None where somebody removed or damaged its timer."""

    job: Job
    plan: Plan | None
    life: Life


def plan_of(job: Job, every: Every, at: str | None, to: Path | None, keep: int | None) -> Plan:
    """Return a job from what was said of it.

    Raises:
        BadTime, BackupNeedsPlace.
    """
    if at is not None and not _AT.fullmatch(at):
        raise BadTime(at)
    if (job is Job.BACKUP) != (to is not None) or (keep is not None and to is None):
        raise BackupNeedsPlace(job)
    place = f"{to.absolute()}/" if to else None
    return Plan(job, every, at or AT[job], place, keep)


def add(paths: Paths, plan: Plan) -> bool:
    """Schedule a job, in the place of one of the same kind; tells whether anything changed.

    The caller is ``exclusive``.

    Raises:
        NoSystemd: says what to write into a crontab.
        CannotWrite, ServiceError.
    """
    timer = _timer(paths, plan.job)
    if not timer.scope.runs():
        raise NoSystemd(paths, plan)
    state = _state(paths)
    if state.knows(Kind.TIMER, plan.job) and timer.is_as(plan) and timer.life().next:
        return False
    states.write(paths.state, state.with_entry(Kind.TIMER, plan.job))
    timer.install(plan)
    return True


def notes(paths: Paths, job: Job) -> tuple[str, ...]:
    """Return what a person should know of a job that was added."""
    return _timer(paths, job).notes()


def remove(paths: Paths, job: Job) -> None:
    """Remove a job.

    Raises:
        NoSuchJob: the ledger does not know it.
    """
    state = _state(paths)
    if not state.knows(Kind.TIMER, job):
        raise NoSuchJob(paths.name, job)
    _timer(paths, job).remove()
    states.write(paths.state, state.without_entry(Entry(Kind.TIMER, job)))


def remove_all(paths: Paths, state: State) -> None:
    """Remove every job that the ledger has; the caller forgets them."""
    for job in state.of(Kind.TIMER):
        _timer(paths, Job(job)).remove()


def listed(paths: Paths, state: State) -> tuple[Scheduled, ...]:
    """Return the jobs of a registry."""
    timers = [_timer(paths, Job(job)) for job in state.of(Kind.TIMER)]
    return tuple(Scheduled(one.job, one.plan(), one.life()) for one in timers)


def _timer(paths: Paths, job: Job) -> Timer:
    return Timer.of(paths, job, user=os.geteuid() != 0)


def _state(paths: Paths) -> State:
    state = states.read(paths.state)
    if state is None:
        raise AssertionError("the caller has looked for the registry")
    return state
