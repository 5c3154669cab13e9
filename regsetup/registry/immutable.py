"""What an immutable tag holds fast: where it points, and all that its image is made of."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from regsetup.manifest import references
from regsetup.registry.errors import ManifestUnknown, NameUnknown, held_fast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regsetup.reference import Digest
    from regsetup.registry.context import Context


def refuse_move(context: Context, repository: str, tags: Iterable[str], digest: Digest) -> None:
    """Look before anything is stored whether tags may point to a manifest.

    Raises:
        Denied: an immutable one points to another (409).
    """
    for tag in filter(context.settings.is_immutable, tags):
        with suppress(ManifestUnknown):
            current = context.store.tags.get(repository, tag)
            if current != digest:
                raise held_fast(tag, current)


def refuse_loss(context: Context, repository: str, digest: Digest) -> None:
    """Look before a manifest or blob is deleted whether an immutable image needs it.

    Raises:
        Denied: names the tag (409).
    """
    if not context.settings.immutable_tags:
        return
    with suppress(NameUnknown):
        for tag in filter(context.settings.is_immutable, context.store.tags.names(repository)):
            with suppress(ManifestUnknown):
                root = context.store.tags.get(repository, tag)
                if digest in _parts(context, repository, root):
                    raise held_fast(tag, root)


def _parts(context: Context, repository: str, root: Digest) -> Iterator[Digest]:
    """Yield a manifest and everything that it needs, at any depth."""
    waiting, seen = [root], {root}
    while waiting:
        digest = waiting.pop()
        yield digest
        with suppress(ManifestUnknown):  # a blob, or not stored
            found = references(context.store.manifests.get(repository, digest).content)
            new = {need.digest for need in found.needs} - seen
            seen |= new
            waiting += new
