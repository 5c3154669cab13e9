"""Puts the storage on disk together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.registry.disk.blobs import Blobs
from regsetup.registry.disk.layout import Layout
from regsetup.registry.disk.manifests import Locks, Manifests, Tags
from regsetup.registry.disk.referrers import Referrers
from regsetup.registry.disk.repositories import Repositories
from regsetup.registry.disk.uploads import Uploads
from regsetup.registry.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def open_store(root: Path) -> Store:
    """Return the store below ``root``; creates nothing."""
    places = Layout(root)
    locks = Locks()
    blobs = Blobs(places)
    tags = Tags(places, locks)
    manifests = Manifests(places, blobs, tags, locks)
    return Store(
        blobs=blobs,
        uploads=Uploads(places, blobs),
        manifests=manifests,
        referrers=Referrers(places, manifests, blobs, locks),
        tags=tags,
        repositories=Repositories(places),
    )
