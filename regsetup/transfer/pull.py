"""Out of a registry into files."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from regsetup.client import Begun, DigestMismatch, UnexpectedAnswer
from regsetup.transfer.jobs import together
from regsetup.transfer.remote_image import pieces
from regsetup.transfer.watch import Fate

if TYPE_CHECKING:
    from regsetup.client import RegistryClient
    from regsetup.image.document import Part
    from regsetup.image.tree import Tree
    from regsetup.image.writing import Incoming, Target
    from regsetup.transfer.watch import Watch


def pull(client: RegistryClient, repository: str, tree: Tree, target: Target, watch: Watch) -> bool:
    """Fetch what the target lacks, then let it add manifests and names; tell whether anything changed.

    Raises:
        RegistryError: a blob is not to be had, or not what its digest says.
        CannotWrite: the disk is full, no rights.
    """
    watch.total(tree.size, len(tree.blobs))
    blobs = sorted(tree.blobs, key=lambda blob: -blob.size)  # the largest should not be the last
    together(
        [functools.partial(_pull_blob, client, repository, blob, target, watch) for blob in blobs], watch.stop
    )
    return target.finish(tree.documents) or watch.bytes > 0


def _pull_blob(client: RegistryClient, repository: str, blob: Part, target: Target, watch: Watch) -> None:
    watch.began(blob.digest, blob.size)
    if target.has(blob):
        watch.moved(blob.digest, blob.size)
        watch.ended(blob.digest, Fate.THERE)
        return
    with target.incoming(blob) as incoming:
        resumed = _taken_up(incoming, blob, watch)
        try:
            moved = _fetch(client, repository, blob, incoming, resumed, watch)
            incoming.commit()
        except (DigestMismatch, UnexpectedAnswer):
            incoming.discard()
            raise
    watch.ended(blob.digest, Fate.RESUMED if moved < blob.size else Fate.MOVED, moved)


def _taken_up(incoming: Incoming, blob: Part, watch: Watch) -> Begun:
    """Return what an earlier run left of the blob."""
    begun = Begun(blob.digest)
    for piece in incoming.beginning():
        begun.take(piece)
        watch.moved(blob.digest, len(piece))
    return begun


def _fetch(
    client: RegistryClient, repository: str, blob: Part, incoming: Incoming, begun: Begun, watch: Watch
) -> int:
    """Fetch the rest; all, if what was left turns out to be wrong. Return how many bytes came."""
    had = begun.length
    try:
        if had == blob.size:
            begun.check(f"a blob of {repository}")
        else:
            _receive(client, repository, blob, incoming, begun, watch)
    except (DigestMismatch, UnexpectedAnswer):
        if not had:
            raise
        incoming.restart()
        watch.moved(blob.digest, -begun.length)
        had = 0
        _receive(client, repository, blob, incoming, Begun(blob.digest), watch)
    return blob.size - had


def _receive(
    client: RegistryClient, repository: str, blob: Part, incoming: Incoming, begun: Begun, watch: Watch
) -> None:
    for piece in pieces(client, repository, blob, begun):
        incoming.write(piece)
        watch.moved(blob.digest, len(piece))
