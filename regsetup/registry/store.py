"""The storage contract: what the endpoints and the collector may ask, and the values they get.

Everything here is synchronous and safe to call from any thread. What may take long (it hashes, or waits for
the disk) is called in threads; the rest reads a few small files. ``regsetup.registry.disk`` implements it.

How a collector and a running registry share a store, in one process or two: whoever tells a client that
content exists (``known``, ``verify``, ``put``) makes it young, and ``discard`` deletes nothing that is
younger than its ``before``. So a collector that lists what is referenced, then discards the rest if older
than a grace period, breaks no push. Making young and discarding are one step each: one waits for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from regsetup.reference import Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored blob: its size in bytes, and when somebody was last told of it (seconds since the epoch)."""

    digest: Digest
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """A blob that is being read: a file descriptor, which the receiver closes, and the size in bytes."""

    descriptor: int
    size: int


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was pushed, byte for byte, and the type that it states."""

    digest: Digest
    media_type: str
    content: bytes


class BlobStore(Protocol):
    """Content by digest, and which repository may see it."""

    def target(self, repository: str, digest: Digest) -> Digest:
        """Return under which digest a repository's blob is stored; BlobUnknown if it has none."""

    def open(self, repository: str, digest: Digest) -> OpenBlob:
        """Open a blob of a repository; BlobUnknown if it has none."""

    def known(self, digest: Digest) -> int | None:
        """Return the size of a blob that is whole, without reading it; None: ask ``verify``."""

    def verify(self, digest: Digest) -> int | None:
        """Return the size of a blob that is whole, reading it if need be; None: absent or damaged."""

    def link(self, repository: str, digest: Digest, target: Digest | None = None) -> None:
        """Make a stored blob part of a repository, durably."""

    def unlink(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository; BlobUnknown if it has none."""

    def each(self) -> Iterator[Entry]:
        """Yield every stored blob, manifests too, in no order."""

    def layers(self, repository: str) -> Iterator[Digest]:
        """Yield the blobs of a repository, in no order."""

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """Yield a blob's bytes as they stand, without making it young; nothing where there is none."""

    def entry(self, digest: Digest) -> Entry | None:
        """Return size and age of a blob without making it young; None where there is none."""

    def discard(self, digest: Digest, before: float, links: Sequence[tuple[str, Digest]]) -> bool:
        """Delete a blob that nobody was told of since ``before``, and its links; False if it stays."""

    def tidy(self, before: float) -> int:
        """Remove what killed writers left before ``before``; return its bytes."""


class Upload(Protocol):
    """One upload session, held by one request; for one thread at a time."""

    identifier: str
    size: int

    def append(self, chunks: Sequence[bytes | memoryview], *, parallel: bool) -> None:
        """Write and hash bytes at the end; OSError when the disk is full.

        With ``parallel`` they may still be hashed after the return: until the next ``append``, or ``settle``.
        """

    def settle(self) -> None:
        """Wait until everything is hashed: the memory that was appended is the caller's again."""

    def reader(self) -> int:
        """Return a descriptor that reads what is written, also after ``commit``; the receiver closes it."""

    def commit(self, digest: Digest) -> None:
        """Make it a blob of the repository, durably; DigestInvalid if it has another digest."""

    def cancel(self) -> None:
        """End it and free its space."""


class UploadStore(Protocol):
    """Upload sessions."""

    def start(self, repository: str) -> str:
        """Make a session and return its identifier."""

    def hold(
        self, repository: str, identifier: str, algorithm: str = "sha256"
    ) -> AbstractContextManager[Upload]:
        """Hold a session; UploadUnknown if there is none, TooManyRequests while another request holds it."""

    def size(self, repository: str, identifier: str) -> int:
        """Return how many bytes it has; UploadUnknown if there is none."""

    def cancel(self, repository: str, identifier: str) -> None:
        """End it and free its space; UploadUnknown if there is none."""

    def stale(self, repository: str, before: float) -> list[str]:
        """Return the sessions that got nothing since ``before``."""

    def expire(self, repository: str, before: float) -> int:
        """Remove the sessions that got nothing since ``before``; return how many."""


class ManifestStore(Protocol):
    """Manifests of each repository."""

    def get(self, repository: str, digest: Digest) -> StoredManifest:
        """Return a manifest; ManifestUnknown if there is none, or it is damaged."""

    def relied_on(self, repository: str, digest: Digest) -> StoredManifest:
        """Return it for a client that will not push it again; ManifestUnknown if it is not whole on disk."""

    def has(self, repository: str, digest: Digest) -> bool:
        """Tell whether a manifest is there and whole."""

    def delete(self, repository: str, digest: Digest, may_untag: Callable[[str], bool]) -> None:
        """Remove a manifest and its tags; ManifestUnknown, or Denied if a tag may not go."""

    def discard(self, repository: str, digest: Digest, before: float) -> bool:
        """Remove a manifest that nobody was told of since ``before``; False if it stays.

        Durable after ``settle``, so that a collection waits for the disk once a repository.
        """

    def settle(self, repository: str) -> None:
        """Make durable what ``discard`` removed from a repository."""

    def forget(self, repository: str, before: float) -> None:
        """Remove what tags remember of manifests that are gone, and nobody was told of since ``before``."""

    def each(self, repository: str) -> Iterator[Digest]:
        """Yield a repository's manifests, in no order."""


class ReferrerStore(Protocol):
    """Which manifests are attached to which."""

    def put(self, repository: str, manifest: StoredManifest, subject: Digest | None) -> None:
        """Make a manifest part of a repository, durably, and index its subject."""

    def of(self, repository: str, subject: Digest) -> list[StoredManifest]:
        """Return the manifests of a repository with this subject, ordered by digest."""


class TagStore(Protocol):
    """Names of manifests."""

    def get(self, repository: str, tag: str) -> Digest:
        """Return what a tag points to; ManifestUnknown if there is none."""

    def set(self, repository: str, tag: str, digest: Digest, *, replace: bool = True) -> None:
        """Point a tag to a manifest, durably; Denied (409) if it may not move."""

    def delete(self, repository: str, tag: str, *, immutable: bool = False) -> None:
        """Remove a tag; ManifestUnknown if there is none, Denied (409) if it is immutable."""

    def names(self, repository: str) -> list[str]:
        """Return a repository's tags in no order; NameUnknown if there is no such repository."""


class RepositoryStore(Protocol):
    """Which repositories there are."""

    def each(self) -> Iterator[str]:
        """Yield every repository, also one without a manifest, in no order."""

    def listed(self) -> list[str]:
        """Return the repositories that have a manifest, in byte order."""

    def exists(self, repository: str) -> bool:
        """Tell whether something was ever pushed to a repository."""


@dataclass(frozen=True, slots=True)
class Store:
    """The whole contract."""

    blobs: BlobStore
    uploads: UploadStore
    manifests: ManifestStore
    referrers: ReferrerStore
    tags: TagStore
    repositories: RepositoryStore
