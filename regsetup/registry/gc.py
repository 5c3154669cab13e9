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

from regsetup.manifest import references
from regsetup.reference import Digest
from regsetup.registry.errors import BlobUnknown, ManifestUnknown, NameUnknown
from regsetup.registry.settings import WEEK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.registry.store import Entry, Store

Loose: TypeAlias = dict[Digest, list[tuple[str, Digest]]]
"""Blobs that nothing needs, each with repository and digest of the links to it."""

GRACE = 3600.0  # seconds; longer than any push goes on without asking for a layer again


@dataclass(frozen=True, slots=True)
class Damage:
    """A link or manifest that leads nowhere."""

    repository: str
    what: str


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
        found = _Repository(store, repository)
        done.damaged += found.damaged
        gone = _discard_manifests(found, before, done) if untagged and not found.damaged else set()
        kept |= found.needed(gone)
        for digest, target in found.links():
            if target.hex not in kept:
                loose.setdefault(target, []).append((repository, digest))
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


class _Repository:
    """The tags of one repository, and what each of its manifests needs, read once."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.damaged: list[Damage] = []
        self.manifests: dict[Digest, frozenset[Digest]] = {}
        self.attached: dict[Digest, set[Digest]] = {}
        # Tags first: what is tagged later is young.
        self.tagged = self._tags()
        for digest in list(store.manifests.each(name)):
            self._read(digest)
        for tag, digest in self.tagged.items():
            if digest not in self.manifests and self._leads(tag) == digest:
                self.damaged.append(
                    Damage(name, f"tag {tag} leads to {digest}, which is not there or damaged")
                )

    def live(self) -> set[Digest]:
        """Return the manifests that a tag leads to: from index to child, from subject to referrer."""
        found: set[Digest] = set()
        waiting = list(self.tagged.values())
        while waiting:
            digest = waiting.pop()
            if digest in self.manifests and digest not in found:
                found.add(digest)
                waiting += self.after(digest)
        return found

    def after(self, digest: Digest) -> set[Digest]:
        """Return the manifests that stay as long as ``digest`` does."""
        children = self.manifests.keys() & self.manifests[digest]
        return (children | self.attached.get(digest, set())) - {digest}

    def needed(self, gone: set[Digest]) -> set[str]:
        """Return the digests, as hex, of all that the manifests need, but those that are ``gone``."""
        digests: set[Digest] = set()
        for digest, needs in self.manifests.items():
            if digest not in gone:
                digests |= {digest, *needs}
        if self.damaged:  # whatever is damaged may have needed it
            digests.update(self.tagged.values())
            digests.update(self.store.blobs.layers(self.name))
            digests.update(self.store.manifests.each(self.name))
        return {one.hex for digest in digests for one in (digest, self._target(digest))}

    def links(self) -> Iterator[tuple[Digest, Digest]]:
        """Yield each blob's digest here, and the digest under which it is stored."""
        for digest in self.store.blobs.layers(self.name):
            yield digest, self._target(digest)

    def _target(self, digest: Digest) -> Digest:
        """Return what a blob is stored under: registry:2 keeps sha512 under sha256."""
        try:
            return self.store.blobs.target(self.name, digest)
        except BlobUnknown:
            return digest

    def _tags(self) -> dict[str, Digest]:
        tags = {}
        for tag in self._names():
            digest = self._leads(tag)
            if digest is not None:
                tags[tag] = digest
            elif tag in self._names():
                self.damaged.append(Damage(self.name, f"tag {tag} has no readable link"))
        return tags

    def _names(self) -> list[str]:
        try:
            return self.store.tags.names(self.name)
        except NameUnknown:
            return []

    def _leads(self, tag: str) -> Digest | None:
        try:
            return self.store.tags.get(self.name, tag)
        except ManifestUnknown:
            return None

    def _read(self, digest: Digest) -> None:
        try:
            stored = self.store.manifests.get(self.name, digest)
        except ManifestUnknown:
            if digest in self.store.manifests.each(self.name):
                self.damaged.append(
                    Damage(self.name, f"manifest {digest} is damaged, or its bytes are missing")
                )
            return
        found = references(stored.content)
        self.manifests[digest] = frozenset({stored.digest, *(need.digest for need in found.needs)})
        if found.subject is not None:
            self.attached.setdefault(found.subject, set()).add(digest)


def _discard_manifests(found: _Repository, before: float, done: Collected) -> set[Digest]:
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
    return gone


def _discard_manifest(found: _Repository, digest: Digest, before: float, *, dry_run: bool) -> bool:
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
