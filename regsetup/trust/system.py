"""The system's store of CAs, for curl, git, and every program that has no store of its own.

Debian's update-ca-certificates(8) and RHEL's update-ca-trust(8). There is no such store for plain HTTP. Go
programs read it once: an engine would need a restart, which is why Docker gets the CA by certs.d instead.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host.process import run
from regsetup.trust.base import Client, Edit, Plan, read

if TYPE_CHECKING:
    from regsetup.trust.base import Registry


class StoreNotUpdated(RegsetupError):
    """The program that rebuilds the system's CA store failed."""

    code = "ca-store"

    def __init__(self, command: str, detail: str) -> None:
        super().__init__(f"{command} failed", cause=detail, fix=f"run it by hand: sudo {command}")


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of distributions keeps its CAs."""

    directory: Path
    command: tuple[str, ...]


DEBIAN = Family(Path("/usr/local/share/ca-certificates"), ("update-ca-certificates", "--fresh"))
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
        if self._family is not None:
            done = run(self._family.command)
            if done.code != 0:
                raise StoreNotUpdated(" ".join(self._family.command), done.err.strip())
        return None


def family() -> Family | None:
    """Return this machine's family."""
    return next((one for one in (DEBIAN, RHEL) if shutil.which(one.command[0])), None)
