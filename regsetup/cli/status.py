"""``regsetup status`` and ``regsetup logs``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from regsetup.status import Status


class NoRegistry(RegsetupError):
    """There is no registry of this name here."""

    code = "no-registry"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no registry named {name} on this machine",
            fix=f"regsetup up --name {name}; regsetup status --all lists those that are here",
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "status")(status)
    render.command(app, "logs")(logs)


def status(
    name: options.Name = "registry",
    every: Annotated[
        bool, typer.Option("--all", help="All registries of this machine, a line each.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Show whether the registry runs, where, since when, and how much it stores.

    Exits with 3 if it does not run. Warns 30 days before its certificate ends.
    """
    from regsetup import status as work

    paths = options.find_paths(name)
    if every:
        found = work.look_at_all(paths.home)
        return render.Outcome({"registries": [_data(one) for one in found]}, (_list(found),))
    seen = work.look(paths)
    if seen is None:
        raise NoRegistry(name)
    warned = work.warnings(paths)
    return render.Outcome(
        _data(seen) | {"warnings": [one.as_dict() for one in warned]},
        (_table(seen),),
        code=0 if seen.running else 3,
        warnings=warned,
    )


def _data(seen: Status) -> dict[str, Any]:
    return asdict(seen)


def _table(seen: Status) -> Any:
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    size = "" if seen.size is None else f", {decimal(seen.size)}"
    free = "" if seen.free is None else f", {decimal(seen.free)} free"
    rows = {
        "registry": seen.name,
        "state": _state(seen),
        "address": seen.url,
        "certificate": None if seen.certificate_days is None else f"good for {_days(seen.certificate_days)}",
        "runs as": seen.id and f"{seen.kind} {seen.id}" + (f" from {seen.image}" if seen.image else ""),
        "since": seen.started_at and f"{seen.started_at[:19]}Z, up for {_span(seen.uptime or 0)}",
        "users": ", ".join(seen.users) if seen.auth else "everybody may push and pull",
        "images": f"{seen.storage}{size}{free}",
        "disk": None
        if seen.days_until_full is None
        else f"full in {_days(seen.days_until_full)} at this rate",
        "backup": seen.last_backup and f"{seen.last_backup.at[:19]}Z, {seen.last_backup.where}",
        "collection": seen.last_collection and f"{seen.last_collection.at[:19]}Z",
        "scheduled": ", ".join(seen.jobs),
    }
    for label, text in rows.items():
        if text:
            table.add_row(label, text)
    return table


def _days(number: int) -> str:
    return {0: "less than a day", 1: "1 day"}.get(number, f"{number} days")


def _span(seconds: int) -> str:
    """Return "3 days", "5 h" or "12 min": the largest unit that says it."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _state(seen: Status) -> str:
    """Say that it answers, which is more than that Docker finds it healthy, or what is wrong."""
    if not seen.running:
        return seen.state + (f": {seen.problem}" if seen.problem else "")
    answers = "answers" if seen.answers else "does not answer"
    return f"running, {answers}" + (", unhealthy" if seen.health == "unhealthy" else "")


def _list(found: tuple[Status, ...]) -> Any:
    from rich.table import Column, Table

    address, images = (Column(one, overflow="fold") for one in ("address", "images"))
    table = Table("name", "state", address, "runs as", images, box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, one.state, one.url, one.kind, one.storage)
    return table


def logs(
    name: options.Name = "registry",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", metavar="N", min=0, help="Only the last N lines (default: all).")
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Show what the registry wrote."""
    from regsetup.backends.choice import reopen
    from regsetup.state import read

    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    lines = reopen(paths, state).runtime.logs(tail=tail, follow=follow and not as_json)
    if as_json:
        return render.Outcome({"name": name, "lines": list(lines)})
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        if not follow:
            raise
    return render.Outcome()
