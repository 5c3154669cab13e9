"""Blobs on disk: ``blobs/<alg>/<2>/<hex>/data``, and the layer links that make them part of a repository.

A blob "exists" for a client only when its size and digest are known to hold (``verify``). What was hashed
once is remembered by inode, size and time of change: only a file that somebody else touched is hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest
from regsetup.registry.disk import durable, layout, leftovers
from regsetup.registry.disk.held import held
from regsetup.registry.errors import BlobUnknown
from regsetup.registry.store import Entry, OpenBlob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_REMEMBERED = 65_536  # blobs; about 10 MiB of memory at worst
FRESH = 1.0  # seconds; a blob that was announced as existing is younger than this
_READ = 1 << 20  # bytes a read, when hashing what is on disk

_Signature = tuple[int, int, int]


class Blobs:
    """The blobs of a registry. Methods are safe to call from any thread."""

    def __init__(self, places: layout.Layout) -> None:
        self._places = places
        self._whole: OrderedDict[Digest, _Signature] = OrderedDict()
        self._lock = threading.Lock()
        self._hashing: dict[Digest, threading.Lock] = {}

    def target(self, repository: str, digest: Digest) -> Digest:
        """Return the digest under which the blob's bytes stand: distribution stores sha512 under sha256.

        Raises:
            BlobUnknown: the repository has no link to it, or one that is damaged.
        """
        found = self._places.read_own_link(self._places.layer_link(repository, digest), digest)
        if found is None:
            raise BlobUnknown("blob unknown to registry", detail={"digest": str(digest)})
        return found

    def open(self, repository: str, digest: Digest) -> OpenBlob:
        """Open a blob of a repository for reading; the caller closes the descriptor.

        Raises:
            BlobUnknown: not in this repository, or emptied on disk.
        """
        target = self.target(repository, digest)
        try:
            descriptor = os.open(self._places.blob(target), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobUnknown("blob unknown to registry", detail={"digest": str(digest)}) from None
        size = os.fstat(descriptor).st_size
        if size == 0 and target != Digest.of(b"", target.algorithm):
            os.close(descriptor)
            raise BlobUnknown("blob is damaged on disk", detail={"digest": str(digest)})
        return OpenBlob(descriptor, size)

    def known(self, digest: Digest) -> int | None:
        """Return the size of a blob that is known to be whole, without reading it; None: ask ``verify``."""
        try:
            status = os.stat(self._places.blob(digest))
        except FileNotFoundError:
            return None
        if self._whole.get(digest) != _signature(status):
            return None
        if time.time() - status.st_mtime > FRESH and not self._freshen(digest):
            return None
        return status.st_size

    def verify(self, digest: Digest) -> int | None:
        """Return the size of a blob whose bytes have this digest; None when it is absent or damaged.

        Reads the whole blob unless ``known`` answers; two callers at once read it once.
        """
        size = self.known(digest)
        if size is not None:
            return size
        with self._lock:
            lock = self._hashing.setdefault(digest, threading.Lock())
        try:
            with lock:
                size = self.known(digest)
                return self._hash(digest) if size is None else size
        finally:
            with self._lock:
                self._hashing.pop(digest, None)

    def link(self, repository: str, digest: Digest, target: Digest | None = None) -> None:
        """Make a stored blob part of a repository, durably."""
        layout.write_link(self._places.layer_link(repository, digest), target or digest)

    def unlink(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository; its bytes stay for the collector.

        Raises:
            BlobUnknown: it is not in there.
        """
        link = self._places.layer_link(repository, digest)
        try:
            os.unlink(link)
        except FileNotFoundError:
            raise BlobUnknown("blob unknown to registry", detail={"digest": str(digest)}) from None
        durable.sync_directory(os.path.dirname(link))

    def adopt(self, path: str, digest: Digest) -> None:
        """Move a file, synced and of this digest, into its place; a damaged one there is replaced."""
        directory = self._places.blob_directory(digest)
        os.utime(path)  # its last byte may have come long ago
        with held(directory, make=True):
            os.replace(path, self._places.blob(digest))
            durable.sync_directory(directory)
            self.remember(digest)

    def store(self, digest: Digest, content: bytes) -> None:
        """Write a small blob, such as a manifest; one that is there already and right is left alone."""
        path = self._places.blob(digest)
        with held(self._places.blob_directory(digest), make=True):
            if durable.read(path, len(content) + 1) == content:
                _touch(path)
            else:
                durable.write(path, content)
            self.remember(digest)

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return a small blob's bytes; None where it is absent, larger than ``limit``, or damaged."""
        content = durable.read(self._places.blob(digest), limit)
        if content is None or Digest.of(content, digest.algorithm) != digest:
            return None
        return content

    def each(self) -> Iterator[Entry]:
        """Yield every blob on disk with its size and time of change, in no order."""
        for algorithm in _names(self._places.blobs):
            for prefix in _names(f"{self._places.blobs}/{algorithm}"):
                for encoded in _names(f"{self._places.blobs}/{algorithm}/{prefix}"):
                    with contextlib.suppress(BadReference):
                        found = self.entry(Digest.parse(f"{algorithm}:{encoded}"))
                        if found is not None:
                            yield found

    def layers(self, repository: str) -> Iterator[Digest]:
        """Yield the digests that a repository links as blobs."""
        yield from linked(f"{self._places.repository(repository)}/_layers")

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """Yield a blob's bytes as they stand, without making it young; nothing where there is none."""
        with contextlib.suppress(FileNotFoundError), open(self._places.blob(digest), "rb") as file:
            while piece := file.read(_READ):
                yield piece

    def entry(self, digest: Digest) -> Entry | None:
        """Return size and age of a blob without making it young; None where there is none."""
        try:
            status = os.stat(self._places.blob(digest))
        except FileNotFoundError:
            return None
        return Entry(digest, status.st_size, status.st_mtime)

    def discard(self, digest: Digest, before: float, links: Sequence[tuple[str, Digest]]) -> bool:
        """Delete a blob that nobody was told of since ``before`` (seconds since the epoch).

        It is taken out of repositories first, while nobody can be told of it. One that is gone already is
        one that nobody was told of: then its links go.

        Args:
            links: repository and the digest by which that knows the blob.
        """

        def delete() -> None:
            for repository, name in links:
                link = self._places.layer_link(repository, name)
                with contextlib.suppress(OSError):
                    os.unlink(link)
                    os.rmdir(os.path.dirname(link))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._places.blob(digest))
            self._forget(digest)

        return self.while_old(digest, before, delete)

    def while_old(self, digest: Digest, before: float, act: Callable[[], None]) -> bool:
        """Call ``act`` if nobody was told of a blob since ``before``, and while nobody can be told of it."""
        directory = self._places.blob_directory(digest)
        with held(directory, make=True):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._places.blob(digest)).st_mtime >= before:
                    return False
            act()
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(directory)
        return True

    def tidy(self, before: float) -> int:
        """Remove what killed writers left before ``before``, anywhere in the store; return its bytes."""
        return leftovers.remove(self._places.base, before)

    def remember(self, digest: Digest) -> None:
        """Note that the file now in place is whole."""
        signature = _signature(os.stat(self._places.blob(digest)))
        with self._lock:
            self._whole[digest] = signature
            self._whole.move_to_end(digest)
            if len(self._whole) > MAX_REMEMBERED:
                self._whole.popitem(last=False)

    def _forget(self, digest: Digest) -> None:
        with self._lock:
            self._whole.pop(digest, None)

    def _freshen(self, digest: Digest) -> bool:
        """Set the time of change to now: a client relies on the blob. False if a collector was quicker."""
        with held(self._places.blob_directory(digest)) as there:
            try:
                if there:
                    _touch(self._places.blob(digest))
                    self.remember(digest)
            except FileNotFoundError:
                return False
        return there

    def _hash(self, digest: Digest) -> int | None:
        try:
            descriptor = os.open(self._places.blob(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            before = _signature(os.fstat(descriptor))
            hasher = hashlib.new(digest.algorithm)
            hash_file(descriptor, hasher)
            if hasher.hexdigest() != digest.hex:
                self._forget(digest)
                return None
            with self._lock:
                self._whole[digest] = before
        finally:
            os.close(descriptor)
        return self.known(digest)


def hash_file(descriptor: int, hasher: hashlib._Hash) -> int:
    """Feed a file from its beginning to a hash; return its length in bytes."""
    buffer = bytearray(_READ)
    view = memoryview(buffer)
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        hasher.update(view[:count])
        offset += count
    return offset


def linked(directory: str) -> Iterator[Digest]:
    """Yield the digests ``<alg>/<hex>`` below a directory that have a ``link``."""
    for algorithm in _names(directory):
        for encoded in _names(f"{directory}/{algorithm}"):
            with contextlib.suppress(BadReference):
                digest = Digest.parse(f"{algorithm}:{encoded}")
                if os.path.exists(f"{directory}/{algorithm}/{encoded}/link"):
                    yield digest


def _touch(path: str) -> None:
    """Set the time of change to now, unless the file is another user's or the file system is read-only."""
    try:
        os.utime(path)
    except PermissionError:
        return
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _signature(status: os.stat_result) -> _Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns
