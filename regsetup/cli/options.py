"""Options that several commands take, and what they are turned into."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regsetup.deployment import Paths


def one_of(*words: str) -> Callable[[str], list[str]]:
    """Return what completes a value that is one of these words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def known_names(incomplete: str) -> list[str]:
    """Complete ``--name`` with the registries of this machine."""
    from regsetup.load import find_home

    home = find_home(os.environ)
    names = [path.parent.name for path in home.glob("*/state.json")] if home.is_dir() else []
    return [name for name in names if name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        envvar="REGSETUP_NAME",
        show_envvar=False,
        help="Which registry on this machine.",
        autocompletion=known_names,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DAEMON = ("auto", "reload", "restart", "never")
FROM_STDIN = "Read passwords from standard input, one a line."
FROM_FILE = "Read passwords from a file, one a line."
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help=FROM_STDIN)]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", metavar="FILE", help=FROM_FILE)]
Generate = Annotated[bool, typer.Option("--generate", help="Make up the password and show it once.")]


def find_paths(name: str, *, any_user: bool = False) -> Paths:
    """Return where the files of a registry lie.

    Args:
        any_user: also if this user may not read them.

    Raises:
        BadSetting: not a name.
        RegistryOfAnother: this user may not read them.
    """
    from regsetup import settings
    from regsetup.deployment import Paths
    from regsetup.given import BadSetting
    from regsetup.load import find_home, insist_on_rights

    try:
        settings.name(name, Path())
    except settings.BadValue as error:
        raise BadSetting("--name", name, str(error)) from None
    paths = Paths(find_home(os.environ), name)
    if not any_user:
        insist_on_rights(paths)
    return paths


def may_restart(stopped: Sequence[str]) -> bool:
    """Ask whether the engine may be restarted; without a terminal it may not."""
    if not sys.stdin.isatty():
        return False
    cost = f"this stops {', '.join(stopped)}" if stopped else "no container stops"
    return typer.confirm(f"The engine must be restarted to trust the registry: {cost}. Restart it?", err=True)
