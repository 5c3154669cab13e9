"""``regsetup teardown``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from regsetup.teardown import Stored


class NeedsYes(UsageError):
    """Something would be deleted for good, and nobody can be asked."""

    code = "needs-yes"

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"--purge would delete {what}, and there is no terminal to ask on",
            fix=f"regsetup teardown --name {name} --purge -y",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "teardown")(teardown)


def teardown(
    name: options.Name = "registry",
    purge: Annotated[bool, typer.Option("--purge", help="Also delete images, users and settings.")] = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Stop the registry and take away what regsetup made; images and users stay.

    With --purge they are deleted too, after path and size have been shown.
    """
    from regsetup import teardown as work
    from regsetup.state import exclusive

    paths = options.find_paths(name)
    if not paths.state.exists():
        return render.Outcome({"name": name}, (f"nothing to do: there is no registry named {name} here",))
    with exclusive(paths) as made:
        removal = work.look(paths)
        if purge:
            work.check_purge(removal)
            if not yes and not _confirmed(name, removal.stored):
                return render.Outcome({"name": name}, ("nothing was deleted",), code=1)
        notes = work.remove(removal, paths)
        if purge:
            made.extend(work.purge(removal, paths))
    stored = [_shown(one) for one in removal.stored]
    verb = "deleted" if purge else "kept"
    return render.Outcome(
        {
            "name": name,
            "removed": list(removal.things),
            verb: [one.where for one in removal.stored],
            "to_do": notes,
        },
        (
            *(f"removed  {thing}" for thing in removal.things),
            *(f"to do    {note}" for note in notes),
            *(f"{verb:<8} {one}" for one in stored),
            f"deleted  {paths.root} (users, settings)"
            if purge
            else f"kept     {paths.root} (users, settings); regsetup up brings it back",
        ),
        changed=bool(removal.things) or purge,
    )


def _confirmed(name: str, stored: tuple[Stored, ...]) -> bool:
    what = " and ".join([*(_shown(one) for one in stored), f"the users and settings of {name}"])
    if not sys.stdin.isatty():
        raise NeedsYes(name, what)
    return typer.confirm(f"Delete {what}?", err=True)


def _shown(stored: Stored) -> str:
    if stored.size is None:
        return stored.where
    from rich.filesize import decimal

    return f"{stored.where} ({decimal(stored.size)})"
