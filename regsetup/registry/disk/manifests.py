"""Manifests and tags on disk: ``_manifests/revisions`` and ``_manifests/tags``, and their order of writing.

Put: bytes, referrer link, revision link, then tags; so a kill leaves a manifest that nobody sees, never a tag
that leads nowhere. Delete: the tags first. Both need ``_layers/`` beside ``_manifests/``: without it
distribution 2.8's collector deletes tagged images.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from regsetup.reference import is_tag
from regsetup.registry.content import media_type_of
from regsetup.registry.disk import durable, layout
from regsetup.registry.disk.blobs import linked
from regsetup.registry.errors import ManifestUnknown, NameUnknown, held_fast
from regsetup.registry.store import StoredManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.reference import Digest
    from regsetup.registry.disk.blobs import Blobs

MAX_MANIFEST = 4 << 20  # bytes; distribution's maxManifestBodySize
MAX_CACHED = 8 << 20  # bytes of manifests kept in memory
_STRIPES = 64  # locks that repositories share


class Locks:
    """One lock for the writes of each repository, out of a fixed number of locks."""

    def __init__(self) -> None:
        self._locks = tuple(threading.RLock() for _ in range(_STRIPES))

    def of(self, repository: str) -> threading.RLock:
        """Return the lock that orders the writes of a repository."""
        return self._locks[hash(repository) % _STRIPES]


class Tags:
    """The tags of a registry. Methods are safe to call from any thread."""

    def __init__(self, places: layout.Layout, locks: Locks) -> None:
        self._places = places
        self._locks = locks

    def get(self, repository: str, tag: str) -> Digest:
        """Return what a tag points to.

        Raises:
            ManifestUnknown: no such tag.
        """
        digest = self._places.read_link(self._places.tag_link(repository, tag))
        if digest is None:
            raise _unknown(repository, tag)
        return digest

    def set(self, repository: str, tag: str, digest: Digest, *, replace: bool = True) -> None:
        """Point a tag to a manifest of the repository, durably.

        Raises:
            Denied: it points to another one, and ``replace`` is off (409).
        """
        with self._locks.of(repository):
            current = self._places.read_link(self._places.tag_link(repository, tag))
            if current is not None and current != digest and not replace:
                raise held_fast(tag, current)
            directory = f"{self._places.tags(repository)}/{tag}"
            if os.path.isdir(directory):
                _point(directory, digest)
            else:
                self._make(repository, tag, digest)

    def delete(self, repository: str, tag: str, *, immutable: bool = False) -> None:
        """Remove a tag, also one whose link is damaged; its manifest stays.

        Raises:
            ManifestUnknown: no such tag.
            Denied: it is there, and ``immutable`` (409).
        """
        with self._locks.of(repository):
            if not os.path.isdir(f"{self._places.tags(repository)}/{tag}"):
                raise _unknown(repository, tag)
            if immutable:
                raise held_fast(tag, self._places.read_link(self._places.tag_link(repository, tag)))
            self._remove(repository, tag)

    def names(self, repository: str) -> list[str]:
        """Return the tags in no order.

        Raises:
            NameUnknown: no such repository.
        """
        try:
            names = os.listdir(self._places.tags(repository))
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(f"{self._places.repository(repository)}/_layers"):
                return []
            raise NameUnknown("repository name not known to registry", detail={"name": repository}) from None
        return [name for name in names if is_tag(name)]

    def pushed(self, repository: str) -> list[str]:
        """Return the directories of the tags, none where there is no such repository."""
        with contextlib.suppress(NameUnknown):
            return [f"{self._places.tags(repository)}/{tag}" for tag in self.names(repository)]
        return []

    def pointing(self, repository: str, digest: Digest) -> list[str]:
        """Return the tags that point to a manifest."""
        with contextlib.suppress(NameUnknown):
            return [
                tag
                for tag in self.names(repository)
                if self._places.read_link(self._places.tag_link(repository, tag)) == digest
            ]
        return []

    def _make(self, repository: str, tag: str, digest: Digest) -> None:
        """Write a new tag out of sight and rename it into place: no tag is listed that leads nowhere."""
        aside = f"{self._places.aside(repository)}/{uuid.uuid4().hex}"
        tags = self._places.tags(repository)
        try:
            _point(aside, digest)
            os.rename(aside, f"{tags}/{tag}")
        except OSError:
            durable.remove_tree(aside)
            raise
        durable.sync_directory(tags)

    def _remove(self, repository: str, tag: str) -> None:
        """Rename the tag out of sight, which is atomic, and then delete it file by file."""
        durable.make_directory(self._places.aside(repository))
        aside = f"{self._places.aside(repository)}/{uuid.uuid4().hex}"
        tags = self._places.tags(repository)
        os.rename(f"{tags}/{tag}", aside)
        durable.sync_directory(tags)
        durable.remove_tree(aside)


def _point(directory: str, digest: Digest) -> None:
    """Write into a tag's directory what it ever pointed to, then what it points to."""
    layout.write_link(layout.index_link(directory, digest), digest)
    layout.write_link(layout.current_link(directory), digest)


def _unknown(repository: str, tag: str) -> ManifestUnknown:
    return ManifestUnknown("manifest unknown", detail={"name": repository, "tag": tag})


def _remove_link(link: str) -> None:
    os.unlink(link)
    durable.sync_directory(os.path.dirname(link))
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(link))


def _unlink(link: str) -> None:
    """Remove a link and its directory; the entry of that is to be put on disk by the caller."""
    os.unlink(link)
    try:
        os.rmdir(os.path.dirname(link))
    except OSError:  # a killed writer left something in it
        durable.sync_directory(os.path.dirname(link))


def _remove_unless(link: str, other: str) -> None:
    """Remove a link and its directory, unless ``other`` is there (again)."""
    if not os.path.exists(other):
        with contextlib.suppress(FileNotFoundError):
            _unlink(link)


class Manifests:
    """The manifests of a registry. Methods are safe to call from any thread."""

    def __init__(self, places: layout.Layout, blobs: Blobs, tags: Tags, locks: Locks) -> None:
        self._places = places
        self._blobs = blobs
        self._tags = tags
        self._locks = locks
        self._cache: OrderedDict[Digest, StoredManifest] = OrderedDict()
        self._cached = 0
        self._cache_lock = threading.Lock()

    def get(self, repository: str, digest: Digest) -> StoredManifest:
        """Return a manifest of a repository.

        Raises:
            ManifestUnknown: not in this repository, or damaged on disk.
        """
        target = self._places.read_own_link(self._places.revision_link(repository, digest), digest)
        return self._found(repository, digest, target)

    def relied_on(self, repository: str, digest: Digest) -> StoredManifest:
        """Return a manifest for a client that will not push it again: only if it is whole on disk, too.

        Raises:
            ManifestUnknown: not in this repository, or damaged on disk.
        """
        return self._found(repository, digest, self._whole(repository, digest))

    def has(self, repository: str, digest: Digest) -> bool:
        """Tell whether a manifest is in a repository and whole on disk."""
        return self._whole(repository, digest) is not None

    def put(self, repository: str, manifest: StoredManifest) -> None:
        """Make a manifest part of a repository, durably; ``Referrers.put`` also indexes its subject."""
        with self._locks.of(repository):
            self._blobs.store(manifest.digest, manifest.content)
            durable.make_directory(f"{self._places.repository(repository)}/_layers")
            durable.make_directory(self._places.tags(repository))
            layout.write_link(self._places.revision_link(repository, manifest.digest), manifest.digest)
        self._remember(manifest)

    def delete(
        self, repository: str, digest: Digest, may_untag: Callable[[str], bool] = lambda _: True
    ) -> None:
        """Remove a manifest and the tags that point to it; its bytes stay for the collector.

        Raises:
            ManifestUnknown: not in this repository.
            Denied: ``may_untag`` said no to a tag that points to it (409).
        """
        with self._locks.of(repository):
            link = self._places.revision_link(repository, digest)
            if not os.path.exists(link):
                raise ManifestUnknown("manifest unknown", detail={"name": repository, "digest": str(digest)})
            tags = self._tags.pointing(repository, digest)
            for tag in tags:
                if not may_untag(tag):
                    raise held_fast(tag, digest)
            for tag in tags:
                self._tags.delete(repository, tag)
            _remove_link(link)

    def discard(self, repository: str, digest: Digest, before: float) -> bool:
        """Remove a manifest that nobody was told of since ``before`` (seconds); False if it stays.

        Like ``delete``, but for the collector: it may be another process than the one that serves. It is on
        disk after ``settle``.
        """
        link = self._places.revision_link(repository, digest)
        target = self._places.read_link(link)
        return target is not None and self._blobs.while_old(target, before, lambda: _unlink(link))

    def settle(self, repository: str) -> None:
        """Put on disk what ``discard`` removed."""
        revisions = self._places.revisions(repository)
        for algorithm in os.listdir(revisions):
            durable.sync_directory(f"{revisions}/{algorithm}")

    def forget(self, repository: str, before: float) -> None:
        """Remove what tags remember of manifests that are gone, and nobody was told of since ``before``.

        Distribution keeps such a link for every manifest that a tag ever pointed to, and only its collector's
        ``--delete-untagged`` reads them, to remove them. Lost with the machine, this is done again.
        """
        for tag in self._tags.pushed(repository):
            for digest in list(linked(f"{tag}/index")):
                link = self._places.revision_link(repository, digest)
                if not os.path.exists(link):
                    index = layout.index_link(tag, digest)
                    self._blobs.while_old(digest, before, partial(_remove_unless, index, link))

    def each(self, repository: str) -> Iterator[Digest]:
        """Yield the digests of a repository's manifests, in no order."""
        yield from linked(self._places.revisions(repository))

    def _whole(self, repository: str, digest: Digest) -> Digest | None:
        """Return under what a manifest stands whole on disk; the collector keeps it for a while then."""
        link = self._places.revision_link(repository, digest)
        target = self._places.read_own_link(link, digest)
        if target is None or self._blobs.verify(target) is None:
            return None
        # Looked at again once the collector knows that somebody relies on it: it may have been quicker.
        return target if os.path.exists(link) else None

    def _found(self, repository: str, digest: Digest, target: Digest | None) -> StoredManifest:
        found = None if target is None else self._find(target)
        if found is None:
            raise ManifestUnknown("manifest unknown", detail={"name": repository, "digest": str(digest)})
        return found

    def _find(self, digest: Digest) -> StoredManifest | None:
        found = self._cache.get(digest)
        if found is not None:
            return found
        content = self._blobs.read(digest, MAX_MANIFEST + 1)
        if content is None:
            return None
        found = StoredManifest(digest, media_type_of(content), content)
        self._remember(found)
        return found

    def _remember(self, manifest: StoredManifest) -> None:
        with self._cache_lock:
            if manifest.digest in self._cache:
                self._cache.move_to_end(manifest.digest)
                return
            self._cache[manifest.digest] = manifest
            self._cached += len(manifest.content)
            while self._cached > MAX_CACHED and len(self._cache) > 1:
                self._cached -= len(self._cache.popitem(last=False)[1].content)
