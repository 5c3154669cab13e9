"""``up``, ``upgrade`` or ``migrate`` that is killed: ends as by SIGKILL when the n-th step begins or is done.

Run as ``python -m tests.bed.dying N [--adopt] NAME PORT DATA [KEY=VALUE ...]``, as ``... N --to BACKEND
NAME`` or as ``... N --image IMAGE NAME``, where an empty IMAGE means the same, pulled anew. Exit code 137
says that it was killed, 0 that there were fewer events. What comes after the data are variables of the
container.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.auth.htpasswd import Cost, Password
from regsetup.deploy import Manner, deploy
from regsetup.deployment import Backend, Paths
from regsetup.load import find_home, load
from regsetup.secret import Secret
from regsetup.upgrade import How, migrate, upgrade

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.step import Progress, Step

KILLED = 137  # 128 + SIGKILL, as a shell tells it


class Killer:
    """Ends the process at the n-th event, without a chance to clean up."""

    def __init__(self, n: int) -> None:
        self._left = n

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(KILLED)

    def started(self, step: Step) -> None:
        """See ``Reporter``; told on standard error, so that a failing test shows how far it came."""
        sys.stderr.write(f"{step.action} {step.resource}\n")
        self._count()

    def done(self, step: Step) -> None:
        """See ``Reporter``."""
        self._count()

    def transferred(self, progress: Progress) -> None:
        """See ``Reporter``."""

    def noted(self, note: str) -> None:
        """See ``Reporter``."""

    def undone(self, step: Step) -> None:
        """See ``Reporter``."""


def _passwords(users: tuple[str, ...]) -> Mapping[str, Password]:
    return {user: Password(Secret("correct-horse-battery"), Cost.FAST, generated=False) for user in users}


def main(arguments: list[str]) -> int:
    """Run ``up`` until it is killed."""
    n, *rest = arguments
    if rest[0] == "--to":
        paths = Paths(find_home(os.environ), rest[2])
        migrate(paths, Backend(rest[1]), How(_passwords, Killer(int(n)), lambda _check: None))
        return 0
    if rest[0] == "--image":
        paths = Paths(find_home(os.environ), rest[2])
        state = states.read(paths.state)
        assert state is not None
        upgrade(paths, state, How(_passwords, Killer(int(n)), lambda _check: None), image=rest[1] or None)
        return 0
    adopt = "--adopt" in rest
    name, port, data, *env = [word for word in rest if word != "--adopt"]
    home = find_home(os.environ)
    flags = {"name": name, "backend": "docker", "port": port, "env": env, "data": data or None}
    if not adopt:
        flags["user"] = ["alice"]
    loaded = load(flags, os.environ, None, home, cwd=Path.cwd())
    deploy(loaded, Paths(home, name), _passwords, Killer(int(n)), Manner(adopt=adopt))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
