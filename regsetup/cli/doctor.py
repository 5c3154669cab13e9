"""``regsetup doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.cli.status import NoRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.deployment import Paths
    from regsetup.doctor import Finding


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "doctor")(doctor)


def doctor(
    name: options.Name = "registry",
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="TEXT", help="Explain an error that a client printed.")
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Look for what is wrong with the registry, the engine and this machine, and say what mends it.

    Exits with 3 if something is wrong.
    """
    if explain is not None:
        from regsetup.doctor import explain as explained

        error = explained(explain)
        lines = (error.message, f"  cause  {error.cause}", f"  fix    {error.fix}")
        return render.Outcome({"explanation": error.as_dict()}, lines)
    found = _findings(options.find_paths(name))
    data = {"name": name, "findings": [one.as_dict() for one in found]}
    return render.Outcome(data, tuple(_lines(found)), code=3 if found else 0)


def _findings(paths: Paths) -> tuple[Finding, ...]:
    import os

    from regsetup import trust_here
    from regsetup.backends.engine import of_this_machine
    from regsetup.doctor import diagnose
    from regsetup.doctor.examine import examine
    from regsetup.state import read
    from regsetup.status import remembered
    from regsetup.trust.clients import every

    state = read(paths.state)
    if state is None:
        raise NoRegistry(paths.name)
    wanted = remembered(paths)
    engine = of_this_machine(state.engine, os.environ)
    control = trust_here.control(engine, wanted, trust_here.no_restart)
    from pathlib import Path

    clients = every(control, Path.home())
    return diagnose(examine(wanted, paths, state.backend, None if wanted.machine else control, clients))


def _lines(found: Sequence[Finding]) -> list[str]:
    if not found:
        return ["nothing is wrong"]
    lines = []
    for one in found:
        lines += [
            f"{one.severity}: {one.message}  [{one.code}]",
            f"  cause  {one.cause}",
            f"  fix    {one.fix}",
        ]
    return lines
