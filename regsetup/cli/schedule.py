"""``regsetup schedule add``, ``list`` and ``remove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.status import NoRegistry
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from enum import StrEnum

    from regsetup.deployment import Paths
    from regsetup.schedule import Scheduled

_JOBS, _EVERY = ("backup", "gc", "verify"), ("daily", "weekly", "monthly")
Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="gc, verify or backup.",
        autocompletion=options.one_of(*_JOBS),
    ),
]

To = Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The directory of backups.")]


class NotOneOf(UsageError):
    """A word that is none of those that are known."""

    code = "not-one-of"

    def __init__(self, what: str, text: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{text!r} is no {what}", fix=f"one of {', '.join(known)}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        cls=render.Group,
        help="Collect, verify and back up regularly, by systemd timers.",
        no_args_is_help=True,
    )
    render.command(family, "add", family="schedule")(add)
    render.command(family, "list", family="schedule")(list_)
    render.command(family, "remove", family="schedule")(remove)
    app.add_typer(family, name="schedule")


def add(
    job: Job,
    every: Annotated[
        str,
        typer.Argument(
            metavar="EVERY",
            help="daily, weekly (on Sunday) or monthly (on the 1st).",
            autocompletion=options.one_of(*_EVERY),
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="HH:MM", help="When (default: backup 02:00, gc 03:00, verify 04:00)."),
    ] = None,
    to: To = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=1, help="Keep the newest N backups.")
    ] = None,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Do a job regularly; one of the same kind is replaced.

    By root's systemd or the user's own. What a job says is in the journal; a job that fails, or
    finds damage, is a failed unit.

    Example: regsetup schedule add backup daily --to /srv/backups --keep 7
    """
    from regsetup import schedule as work
    from regsetup.backends.timers import Every
    from regsetup.backends.timers import Job as Jobs
    from regsetup.state import exclusive

    paths = options.find_paths(name)
    plan = work.plan_of(
        Jobs(_one_of("job", job, _JOBS)), Every(_one_of("interval", every, _EVERY)), at, to, keep
    )
    _require(paths)
    with exclusive(paths):
        changed = work.add(paths, plan)
    notes = work.notes(paths, plan.job)
    when = f"{plan.job} of {name}: {plan.every} at {plan.at}"
    more = (f" to {plan.to}" if plan.to else "") + (f", the newest {plan.keep} are kept" if plan.keep else "")
    lines = (when + more + ("" if changed else " (no changes)"), *(f"  note      {one}" for one in notes))
    return render.Outcome({"name": name, **_plan(plan), "notes": list(notes)}, lines, changed=changed)


def list_(
    name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """Show the jobs, when they run next, and how they ended last."""
    from regsetup import schedule as work
    from regsetup.state import read

    paths = options.find_paths(name)
    _require(paths)
    state = read(paths.state)
    found = work.listed(paths, state) if state else ()
    lines: tuple[Any, ...] = (_table(found),) if found else (f"nothing is scheduled for {name}",)
    return render.Outcome({"name": name, "jobs": [_job(one) for one in found]}, lines)


def remove(
    job: Job, name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """Stop doing a job."""
    from regsetup import schedule as work
    from regsetup.backends.timers import Job as Jobs
    from regsetup.state import exclusive

    paths = options.find_paths(name)
    which = Jobs(_one_of("job", job, _JOBS))
    _require(paths)
    with exclusive(paths):
        work.remove(paths, which)
    return render.Outcome(
        {"name": name, "job": str(which)}, (f"{which} of {name} is not scheduled any more",), changed=True
    )


def _one_of(what: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise NotOneOf(what, text, known)
    return text


def _require(paths: Paths) -> None:
    if not paths.state.exists():
        raise NoRegistry(paths.name)


def _plan(plan: Any) -> dict[str, Any]:
    values: dict[str, StrEnum | str | int | None] = {
        "job": str(plan.job),
        "every": str(plan.every),
        "at": plan.at,
        "to": plan.to,
        "keep": plan.keep,
    }
    return values


def _job(one: Scheduled) -> dict[str, Any]:
    said = _plan(one.plan) if one.plan else {"job": str(one.job), "every": None, "at": None}
    return said | {"next": one.life.next, "last": one.life.last, "failed": one.life.failed}


def _table(found: tuple[Scheduled, ...]) -> Any:
    from rich.table import Table

    table = Table("job", "when", "next", "last", box=None, pad_edge=False)
    for one in found:
        when = (
            f"{one.plan.every} at {one.plan.at}" if one.plan else "its timer is gone: schedule add it again"
        )
        ended = " (failed)" if one.life.failed else ""
        table.add_row(str(one.job), when, one.life.next or "-", f"{one.life.last or '-'}{ended}")
    return table
