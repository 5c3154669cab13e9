"""What a stored manifest refers to, of any kind that ever was: nothing here refuses what it does not know.

A collector must keep what it can't judge. So this reads more than ``content.parse`` takes: schema 1's
``fsLayers``, the ``blobs`` of artifact manifests, and indexes whose entries are blobs (build caches).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTS = ("layers", "blobs", "manifests", "fsLayers")


@dataclass(frozen=True, slots=True)
class References:
    """Digests: all that a manifest needs, be it blob or manifest, and the manifest that it is attached to."""

    needs: frozenset[Digest]
    subject: Digest | None


def references(content: bytes) -> References:
    """Read a manifest; one that is not JSON refers to nothing."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return References(frozenset(), None)
    entries = [document.get("config"), *(entry for key in _LISTS for entry in _list(document.get(key)))]
    found = frozenset(digest for entry in entries for digest in _digests(entry))
    return References(found, next(_digests(document.get("subject")), None))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _digests(entry: object) -> Iterator[Digest]:
    if not isinstance(entry, dict):
        return
    for key in ("digest", "blobSum"):
        text = entry.get(key)
        if isinstance(text, str):
            try:
                yield Digest.parse(text)
            except BadReference:
                continue
