"""``regsetup check``, and the proof at the end of ``up``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regsetup.cli import options, render
from regsetup.cli.status import NoRegistry

if TYPE_CHECKING:
    import typer

    from regsetup.errors import RegsetupError
    from regsetup.smoke import Check


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "check")(check)


def check(
    name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """Prove that the registry works: who may enter, push, pull, digests, delete, and the engine.

    Leaves nothing behind. Exits with 3 if a check does not hold. Warns 30 days
    before the certificate ends.
    """
    from regsetup.backends.choice import reopen
    from regsetup.prove import prove_here
    from regsetup.state import read
    from regsetup.status import remembered, warnings

    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    checks = prove_here(remembered(paths), paths, reopen(paths, state), tell)
    errors, warned = failed(checks), warnings(paths)
    return render.Outcome(
        {
            "name": name,
            "checks": [one.as_dict() for one in checks],
            "warnings": [one.as_dict() for one in warned],
        },
        (table(checks),),
        code=3 if errors else 0,
        errors=errors,
        warnings=warned,
    )


def tell(one: Check) -> None:
    """Say that a check has ended; the table says how."""
    from regsetup.smoke import Outcome

    if one.outcome is Outcome.FAILED:
        render.say(f"  check     {one.name} does not hold")


def failed(checks: tuple[Check, ...]) -> tuple[RegsetupError, ...]:
    """Return what the checks that do not hold have to say."""
    return tuple(one.error for one in checks if one.error)


def table(checks: tuple[Check, ...]) -> Any:
    """Return the checks as a table for people."""
    from rich.table import Column, Table

    from regsetup.smoke import Outcome

    styles = {Outcome.OK: "green", Outcome.FAILED: "bold red"}
    kept = [Column(one, no_wrap=True) for one in ("check", "", "time")]
    shown = Table(*kept, Column("seen", overflow="fold"), box=None, pad_edge=False)
    for one in checks:
        took = f"{one.seconds * 1000:.0f} ms" if one.seconds else "-"
        shown.add_row(one.name, str(one.outcome), took, one.detail, style=styles.get(one.outcome, "dim"))
    return shown
