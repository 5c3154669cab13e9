"""Collection: deletes what no manifest refers to, while the registry runs.

Distribution's "Garbage collection", without its downtime. Untagged manifests stay, as with registry:2, unless
``untagged`` is asked for: clients pull by digest, too. Kept either way: children of indexes and, at any
depth, what is attached to something kept (OCI distribution-spec 1.1 "subject").

It may run in another process than the registry. What makes that safe is the store's promise: whoever was told
that content exists finds it for the time of the grace period; see ``store``. So first manifests go, then
what the manifests that are still there refer to is noted, and then blobs go.

Where a link or manifest is damaged nobody can tell what it needed: that is reported, and everything in its
repository stays.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from regsetup.reference import Digest
from regsetup.registry.settings import WEEK
from regsetup.registry.survey import Survey

if TYPE_CHECKING:
    from regsetup.registry.store import Entry, Store
    from regsetup.registry.survey import Damage

Loose: TypeAlias = dict[Digest, list[tuple[str, Digest]]]
"""Blobs that nothing needs, each with repository and digest of the links to it."""

GRACE = 3600.0  # seconds; longer than any push goes on without asking for a layer again


@dataclass(slots=True)
class Collected:
    """What a collection did, or with ``dry_run`` would do. Sizes in bytes.

    Attributes:
        manifests: removed, as repository and digest.
        blobs: deleted.
        young: how many blobs stayed only because of the grace period, and their size.
        leftovers: bytes of temporary files that killed writers had left.
    """

    dry_run: bool
    manifests: list[tuple[str, Digest]] = field(default_factory=list)
    blobs: list[Entry] = field(default_factory=list)
    uploads: int = 0
    young: int = 0
    young_size: int = 0
    kept: int = 0
    kept_size: int = 0
    leftovers: int = 0
    damaged: list[Damage] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes of the blobs that were deleted, or would be, and of leftovers."""
        return sum(blob.size for blob in self.blobs) + self.leftovers


def collect(
    store: Store, *, grace: float = GRACE, untagged: bool = False, dry_run: bool = False
) -> Collected:
    """Collect once; at any point a kill leaves a store that is whole.

    Args:
        grace: seconds since somebody was told of a blob, for which it stays.
        untagged: also remove manifests without a tag that nothing kept refers to.

    Raises:
        OSError: the disk; nothing that is referenced was deleted.
    """
    before = time.time() - grace
    done = Collected(dry_run)
    kept: set[str] = set()
    loose: Loose = {}
    for repository in list(store.repositories.each()):
        found = Survey(store, repository)
        done.damaged += found.damaged
        gone = _discard_manifests(found, before, done) if untagged and not found.damaged else set()
        kept |= found.needed(gone)
        for digest, target in found.links():
            if target.hex not in kept:
                loose.setdefault(target, []).append((repository, digest))
        if not (found.damaged or dry_run):
            store.manifests.forget(repository, before)
        done.uploads += _expire(store, repository, dry_run=dry_run)
    _discard_blobs(store, kept, loose, before, done)
    if not dry_run:
        done.leftovers = store.blobs.tidy(before)
    return done


def _expire(store: Store, repository: str, *, dry_run: bool) -> int:
    before = time.time() - WEEK
    if dry_run:
        return len(store.uploads.stale(repository, before))
    return store.uploads.expire(repository, before)


def _discard_manifests(found: Survey, before: float, done: Collected) -> set[Digest]:
    """Remove what no tag leads to; whatever stays keeps its children and referrers, so those go after it."""
    dead = found.manifests.keys() - found.live()
    above = Counter(digest for one in dead for digest in found.after(one))
    waiting = [digest for digest in dead if not above[digest]]
    gone = set()
    while waiting:
        digest = waiting.pop()
        if not _discard_manifest(found, digest, before, dry_run=done.dry_run):
            continue
        gone.add(digest)
        done.manifests.append((found.name, digest))
        for below in found.after(digest) & dead:
            above[below] -= 1
            if not above[below]:
                waiting.append(below)
    if gone and not done.dry_run:
        found.store.manifests.settle(found.name)  # before blobs go that these manifests refer to
    return gone


def _discard_manifest(found: Survey, digest: Digest, before: float, *, dry_run: bool) -> bool:
    if not dry_run:
        return found.store.manifests.discard(found.name, digest, before)
    entry = found.store.blobs.entry(digest)
    return entry is None or entry.modified < before


def _discard_blobs(store: Store, kept: set[str], loose: Loose, before: float, done: Collected) -> None:
    for entry in store.blobs.each():
        links = loose.pop(entry.digest, ())
        if entry.digest.hex in kept:
            done.kept += 1
            done.kept_size += entry.size
        elif entry.modified < before and (done.dry_run or store.blobs.discard(entry.digest, before, links)):
            done.blobs.append(entry)
        else:
            done.young += 1
            done.young_size += entry.size
    for digest, links in loose.items():
        if digest.hex not in kept and not done.dry_run:
            store.blobs.discard(digest, before, links)
