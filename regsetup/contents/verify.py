"""Verification over the API: everything that a registry serves is fetched and hashed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.contents import inventory
from regsetup.contents.inventory import DAMAGE, trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.client import RegistryClient
    from regsetup.contents.inventory import Inventory
    from regsetup.reference import Digest, Reference


def verify(
    client: RegistryClient, told: Callable[[int, int], None], only: Reference | None = None
) -> Inventory:
    """Fetch and hash what tags lead to, or one repository, tag or digest; ``troubles`` says what is wrong.

    A blob that several repositories have is fetched once, and asked for in the others.

    Args:
        told: is called with bytes read and bytes in all, as manifests state them.

    Raises:
        RegistryError: the registry can't be asked.
    """
    found = inventory.take(client, only)
    whole: set[Digest] = set()
    total = sum({digest: size for (_, digest), size in found.blobs.items()}.values())
    done = 0
    for (repository, digest), size in found.blobs.items():
        try:
            if digest in whole and client.has_blob(repository, digest):
                continue
            for piece in client.get_blob(repository, digest, limit=size or None):
                done += len(piece)
                told(done, total)
        except DAMAGE as error:
            found.troubles.append(trouble(repository, digest, error))
        else:
            whole.add(digest)
    return found
