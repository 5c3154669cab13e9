"""The system's store of CAs, for curl, git, and every program that has no store of its own.

Debian's update-ca-certificates(8) and RHEL's update-ca-trust(8). There is no such store for plain HTTP. Go
programs read it once: an engine would need a restart, which is why Docker gets the CA by certs.d instead.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host.process import run
from regsetup.trust.base import Client, Edit, Plan, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.trust.base import Registry


class StoreNotUpdated(RegsetupError):
    """The program that rebuilds the system's CA store failed."""

    code = "ca-store"

    def __init__(self, command: str, detail: str) -> None:
        super().__init__(f"{command} failed", cause=detail, fix=f"run it by hand: sudo {command}")


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of distributions keeps its CAs.

    Attributes:
        directory: local CAs, a file each.
        command: makes the store of them.
        links: the store has a link to each CA here.
        hooks: programs that keep a store of their own, such as Java's, and read what came and went.
    """

    directory: Path
    command: tuple[str, ...]
    links: Path | None = None
    hooks: Path | None = None

    def gone(self) -> list[Path]:
        """Return the links whose CA was removed, until the command removes them too."""
        links = sorted(self.links.glob("regsetup-*.pem")) if self.links else ()
        return [link for link in links if link.is_symlink() and not link.exists()]

    def tell(self, gone: Sequence[Path]) -> list[str]:
        """Tell each hook what went, as update-ca-certificates(8) has it; return those that failed.

        With --fresh that program removes all links first, and its hooks never hear of one that stays away.
        """
        found = sorted(self.hooks.iterdir()) if gone and self.hooks and self.hooks.is_dir() else ()
        hooks = [one for one in found if _HOOK.fullmatch(one.name) and os.access(one, os.X_OK)]
        went = "".join(f"-{link}\n" for link in gone).encode()
        return [str(hook) for hook in hooks if run((str(hook),), input=went).code != 0]


_HOOK = re.compile(r"[a-zA-Z0-9_-]+")  # run-parts(8) passes over others
DEBIAN = Family(
    Path("/usr/local/share/ca-certificates"),
    ("update-ca-certificates", "--fresh"),
    Path("/etc/ssl/certs"),
    Path("/etc/ca-certificates/update.d"),
)
RHEL = Family(Path("/etc/pki/ca-trust/source/anchors"), ("update-ca-trust", "extract"))


class System(Client):
    """The CA store of this machine; ``family`` is None where we know of none."""

    name = "system"

    def __init__(self, family: Family | None) -> None:
        self._family = family

    def detect(self) -> bool:
        """Tell whether there is a store that we know."""
        return self._family is not None

    def plan(self, registry: Registry) -> Plan:
        """Plan a CA file in the directory for local CAs."""
        if registry.ca is None or self._family is None:
            return Plan((), "a CA store has nothing to do with plain HTTP")
        path = self._family.directory / f"regsetup-{registry.slug}.crt"
        return Plan((Edit(path, read(path), registry.ca),))

    def settle(self) -> str | None:
        """Rebuild the store from its directories, what was removed left out.

        Raises:
            StoreNotUpdated: the program failed.
        """
        if self._family is None:
            return None
        gone = self._family.gone()
        done = run(self._family.command)
        if done.code != 0:
            raise StoreNotUpdated(" ".join(self._family.command), done.err.strip())
        failed = self._family.tell(gone)
        names = ", ".join(link.stem for link in gone)
        return f"{', '.join(failed)} failed: its store may have {names} still" if failed else None


def family() -> Family | None:
    """Return this machine's family."""
    return next((one for one in (DEBIAN, RHEL) if shutil.which(one.command[0])), None)
