"""How much disk a removal can give back: what nothing that stays in the registry needs any more.

Blobs are stored once for all repositories, so all have to be looked at. Where that takes too long, or the
registry does not list its repositories, the number is an upper bound, and said to be one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.contents.inspection import NoSuchRepository
from regsetup.contents.listing import NoCatalog, repositories
from regsetup.contents.repository import gather

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from regsetup.client import RegistryClient
    from regsetup.contents.deletion import Removal
    from regsetup.contents.repository import Contents
    from regsetup.reference import Digest

PATIENCE = 10.0  # seconds spent on looking at other repositories; about 10,000 manifests on loopback


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes; not ``exact`` where less may come back, since not all repositories were looked at."""

    size: int
    exact: bool


def estimate(
    client: RegistryClient, removals: Sequence[tuple[Contents, Removal]], patience: float = PATIENCE
) -> Estimate:
    """Return what can come back once these removals are done and the registry has been collected.

    Raises:
        RegistryError: the registry can't be asked.
    """
    freed = {digest: size for _, removal in removals for digest, size in removal.blobs.items()}
    for contents, removal in removals:
        _keep(freed, contents, removal.images)
    known = {contents.repository for contents, _ in removals}
    until = time.monotonic() + patience
    try:
        others = [name for name in repositories(client) if name not in known] if freed else []
    except NoCatalog:
        return Estimate(sum(freed.values()), exact=False)
    for name in others:
        if time.monotonic() > until:
            return Estimate(sum(freed.values()), exact=False)
        try:
            _keep(freed, gather(client, name), frozenset())
        except NoSuchRepository:  # registry:2 lists what it has not any more
            continue
    return Estimate(sum(freed.values()), exact=True)


def _keep(freed: dict[Digest, int], contents: Contents, gone: Collection[Digest]) -> None:
    """Take out of ``freed`` what stays."""
    for digest in contents.blobs(one for one in contents.nodes if one not in gone):
        freed.pop(digest, None)
