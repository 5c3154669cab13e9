"""Which of a client's files this user may not write, and the command with which root does.

``called`` says why root is told by the exported script.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from regsetup.called import regsetup
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from regsetup.trust.base import Plan

NEEDED = "needs root: "


class NeedsRoot(RegsetupError):
    """A client's files are root's, and this user is not."""

    code = "needs-root"

    def __init__(self, clients: Sequence[str], paths: Sequence[Path], command: str) -> None:
        super().__init__(
            f"{', '.join(clients)} not told: this user may not write {', '.join(map(str, paths))}",
            cause="these files are root's",
            fix=command,
        )


def closed(plan: Plan) -> tuple[Path, ...]:
    """Return the files that are to change and that this user may not put in place."""
    return tuple(edit.path for edit in plan.needed if not may_write(edit.path))


def may_write(path: Path) -> bool:
    """Tell whether this user may put a file there, with the directories that are missing."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.access(target, os.W_OK):  # noqa: PTH110  no error where it is hidden
        return False
    ground = os.path.dirname(target)  # noqa: PTH120
    while not os.path.isdir(ground):  # noqa: PTH112
        ground = os.path.dirname(ground)  # noqa: PTH120
    return os.access(ground, os.W_OK | os.X_OK)


def by_root(arguments: Sequence[str], clients: Sequence[str] = ()) -> str:
    """Return what makes root tell ``clients``, of the registry that ``arguments`` name to ``trust``."""
    wanted = [*arguments, *(word for client in clients for word in ("--for", client))]
    if os.geteuid() == 0:
        return " ".join([regsetup(), "trust install", *map(shlex.quote, wanted)])
    return by_script(wanted)


def by_script(arguments: Sequence[str]) -> str:
    """Return what tells root's clients of a person's registry."""
    return f"{' '.join(['regsetup trust export', *map(shlex.quote, arguments)])} | sudo sh"


def named(name: str) -> tuple[str, ...]:
    """Return the arguments that name a registry of this machine."""
    return () if name == "registry" else ("--name", name)
