"""``regsetup doctor``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.doctor import Finding


class NothingToExplain(UsageError):
    """``--explain`` without a text."""

    code = "nothing-to-explain"

    def __init__(self) -> None:
        super().__init__(
            "there is no text to explain",
            fix='regsetup doctor --explain "TEXT", or COMMAND 2>&1 | regsetup doctor --explain -',
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "doctor")(doctor)


def doctor(
    name: options.Name = "registry",
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="TEXT", help="Explain an error that a client printed; - reads it."),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Look for what is wrong with the registry, the engine and this machine, and say what mends it.

    Without a registry it looks at what `regsetup up` would meet. Exits with 3 if something is wrong.

    Example: docker push localhost:5000/app 2>&1 | regsetup doctor --explain -
    """
    if explain is not None:
        from regsetup.called import named
        from regsetup.doctor import explain as explained

        text = sys.stdin.read() if explain == "-" else explain
        if not text.strip():
            raise NothingToExplain
        error = explained(text)
        error.fix = named(error.fix or "", name)
        lines = (error.message, f"  cause  {error.cause}", f"  fix    {error.fix}")
        return render.Outcome({"explanation": error.as_dict()}, lines)
    from regsetup.doctor import diagnose
    from regsetup.doctor.examine import look

    facts = look(options.find_paths(name), os.environ)
    found = diagnose(facts)
    data = {"name": name, "registry": facts.there, "findings": [one.as_dict() for one in found]}
    missing = () if facts.there else (f"there is no registry named {name} yet; this is what up would meet:",)
    return render.Outcome(data, (*missing, *_lines(found)), code=3 if found else 0)


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
