"""What a stored manifest refers to, of any kind that ever was: nothing here refuses what it does not know.

A collector must keep what it can't judge. So this reads more than a registry takes: OCI image-spec 1.1 and
Docker's schema 2, schema 1's ``fsLayers``, the ``blobs`` of artifact manifests, and indexes whose entries are
blobs (build caches). Bytes in, values out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTS = ("layers", "blobs", "manifests", "fsLayers")
_MANIFEST_TYPES = (  # what an entry of an index is, if it is a manifest
    "application/vnd.oci.image.manifest.",
    "application/vnd.oci.image.index.",
    "application/vnd.docker.distribution.manifest.",
)


@dataclass(frozen=True, slots=True)
class Need:
    """Content that a manifest needs.

    Attributes:
        size: bytes, 0 where the manifest does not say.
        is_manifest: it is a manifest itself.
        elsewhere: a layer that a registry need not have: it names where it can be got.
    """

    digest: Digest
    size: int = 0
    is_manifest: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """What a manifest needs, and the manifest that it is attached to."""

    needs: tuple[Need, ...] = ()
    subject: Digest | None = None


def references(content: bytes) -> References:
    """Read a manifest; one that is not JSON refers to nothing."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return References()
    if not isinstance(document, dict):
        return References()
    needs = [*_needs("config", document.get("config"))]
    for key in _LISTS:
        entries = document.get(key)
        needs += [
            need for entry in (entries if isinstance(entries, list) else ()) for need in _needs(key, entry)
        ]
    subject = next(_needs("subject", document.get("subject")), None)
    return References(tuple(needs), subject.digest if subject else None)


def _needs(key: str, entry: object) -> Iterator[Need]:
    if not isinstance(entry, dict):
        return
    size = entry.get("size")
    for name in ("digest", "blobSum"):
        text = entry.get(name)
        if isinstance(text, str):
            try:
                yield Need(
                    Digest.parse(text),
                    size if isinstance(size, int) else 0,
                    is_manifest=key == "manifests"
                    and str(entry.get("mediaType")).startswith(_MANIFEST_TYPES),
                    elsewhere=bool(entry.get("urls")),
                )
            except BadReference:
                continue
