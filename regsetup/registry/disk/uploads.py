"""Upload sessions on disk: ``_uploads/<uuid>/{startedat,data}``, as distribution keeps them.

``data`` grows as bytes arrive, so an upload that was cut goes on from its length. hashlib's state can't be
saved: when a request ends, size and digest are noted in ``hashed``, and a final PUT without a body needs no
second pass, in another process either. A note from before the last boot is not trusted: pages may be lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.reference import Digest
from regsetup.registry.disk import blobs, durable
from regsetup.registry.errors import DigestInvalid, TooManyRequests, UploadUnknown
from regsetup.writeout import WriteOut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from regsetup.registry.disk.layout import Layout

MAX_LIVE = 256  # hash states in memory; an older session is hashed again from disk
_IDENTIFIER = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_IOV_MAX = 512  # buffers a writev(2); Linux allows 1024
_AT_ONCE = 64 << 10  # bytes a writev(2), see ``portions``
_helpers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hash")


class Session:
    """One upload, held by one request. Not safe for two threads at once."""

    def __init__(self, store: Uploads, repository: str, identifier: str, algorithm: str) -> None:
        self.identifier = identifier
        self.repository = repository
        self.directory = f"{store.places.uploads(repository)}/{identifier}"
        self._store = store
        self._data = f"{self.directory}/data"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._data, flags, 0o644)
        except FileNotFoundError:
            raise _unknown(identifier) from None
        self.size = os.fstat(self._descriptor).st_size
        self._writeout = WriteOut(self._descriptor, self.size)
        self._hasher, self._hashed = store.recall(self, algorithm)
        self._hashing: Future[None] | None = None

    def append(self, chunks: Sequence[bytes | memoryview], *, parallel: bool) -> None:
        """Write and hash; with ``parallel`` another thread hashes, until ``settle`` or the next ``append``.

        Raises:
            OSError: the disk is full or broken; ``size`` counts what was written.
        """
        self.settle()
        if self._hashed != self.size:
            self._catch_up()
        if parallel:
            self._hashing = _helpers.submit(self._update, chunks)
            self._write(chunks)
        else:
            self._write(chunks)
            self._update(chunks)

    def settle(self) -> None:
        """Wait until everything that was appended is hashed."""
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            hashing.result()

    def reader(self) -> int:
        """Return a descriptor that reads what is written, also after ``commit``; the receiver closes it."""
        return os.open(self._data, os.O_RDONLY | os.O_CLOEXEC)

    def commit(self, digest: Digest) -> None:
        """Make what was sent the blob ``digest`` of the repository, durably, and end the session.

        Raises:
            DigestInvalid: it has another digest; the session is gone, and its disk space free.
        """
        self.settle()
        found = self._digest(digest.algorithm)
        if found != digest:
            self.cancel()
            raise DigestInvalid(
                "provided digest did not match uploaded content",
                detail={"digest": str(digest), "received": str(found)},
            )
        os.fsync(self._descriptor)
        if not os.path.exists(self._data):  # cancelled by another request meanwhile
            raise _unknown(self.identifier)
        self._store.blobs.adopt(self._data, digest)
        self._store.blobs.link(self.repository, digest)
        self.cancel()

    def pause(self) -> None:
        """Let go of the session; another request may go on with it."""
        self.settle()
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if self._hasher is not None and self._hashed == self.size:
            self._store.keep(self, self._hasher)
            self._note(Digest(self._hasher.name, self._hasher.hexdigest()))

    def cancel(self) -> None:
        """End the session and free what it took."""
        self.settle()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._store.forget(self)
        durable.remove_tree(self.directory)

    def _write(self, chunks: Sequence[bytes | memoryview]) -> None:
        for waiting in portions(chunks):
            while waiting:
                count = os.writev(self._descriptor, waiting)
                self.size += count
                while waiting and count >= len(waiting[0]):
                    count -= len(waiting.pop(0))
                if count:
                    waiting[0] = waiting[0][count:]
        self._writeout.reached(self.size)

    def _update(self, chunks: Sequence[bytes | memoryview]) -> None:
        if self._hasher is None:
            raise AssertionError("a session hashes from its beginning")
        for chunk in chunks:
            self._hasher.update(chunk)
            self._hashed += len(chunk)

    def _catch_up(self) -> None:
        """Hash what stands on disk already: the state was lost with a process, or another upload's."""
        algorithm = self._hasher.name if self._hasher is not None else "sha256"
        self._hasher = hashlib.new(algorithm)
        self._hashed = blobs.hash_file(self._descriptor, self._hasher)

    def _digest(self, algorithm: str) -> Digest:
        if self._hasher is not None and self._hasher.name == algorithm and self._hashed == self.size:
            return Digest(algorithm, self._hasher.hexdigest())
        noted = self._noted()
        if noted is not None and noted.algorithm == algorithm:
            return noted
        self._hasher = hashlib.new(algorithm)
        self._hashed = blobs.hash_file(self._descriptor, self._hasher)
        return Digest(algorithm, self._hasher.hexdigest())

    def _note(self, digest: Digest) -> None:
        note = json.dumps({"size": self.size, "digest": str(digest), "boot": _boot()})
        temporary = f"{self.directory}/hashed{durable.SUFFIX}"
        with contextlib.suppress(OSError):  # only a saving of time
            Path(temporary).write_text(note)
            os.replace(temporary, f"{self.directory}/hashed")

    def _noted(self) -> Digest | None:
        content = durable.read(f"{self.directory}/hashed", 1024)
        try:
            note = json.loads(content or b"")
            if note["size"] == self.size and note["boot"] == _boot():
                return Digest.parse(note["digest"])
        except (ValueError, KeyError, TypeError):
            pass
        return None


def portions(chunks: Sequence[bytes | memoryview]) -> Iterator[list[memoryview]]:
    """Yield the chunks in portions for writev(2), none longer than 64 KiB.

    A longer one goes into larger pages, which a virtual machine takes from what its host has taken back: to
    touch them for the first time cost 0.1 of the 0.85 s of a copy of 500 MB.
    """
    portion: list[memoryview] = []
    length = 0
    for chunk in chunks:
        for at in range(0, len(chunk), _AT_ONCE):
            piece = memoryview(chunk)[at : at + _AT_ONCE]
            if portion and (length + len(piece) > _AT_ONCE or len(portion) == _IOV_MAX):
                yield portion
                portion, length = [], 0
            portion.append(piece)
            length += len(piece)
    if portion:
        yield portion


class Uploads:
    """The upload sessions of a registry."""

    def __init__(self, places: Layout, store: blobs.Blobs) -> None:
        self.places = places
        self.blobs = store
        self._held: set[str] = set()
        self._live: OrderedDict[str, tuple[hashlib._Hash, int]] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, repository: str) -> str:
        """Make a session and return its identifier."""
        identifier = str(uuid.uuid4())
        directory = f"{self.places.uploads(repository)}/{identifier}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        durable.make_directory(self.places.blobs)  # distribution's collector fails where it is missing
        durable.make_directory(self.places.repository(repository))  # what is acknowledged later relies on it
        try:
            # Nothing is acknowledged yet: a session may be lost with the machine, but not be half there.
            os.makedirs(directory)
            durable.write_whole(f"{directory}/startedat", now.encode())
        except OSError:
            durable.remove_tree(directory)
            raise
        return identifier

    @contextlib.contextmanager
    def hold(self, repository: str, identifier: str, algorithm: str = "sha256") -> Iterator[Session]:
        """Hold a session for one request.

        Raises:
            UploadUnknown: there is none.
            TooManyRequests: another request holds it.
        """
        if not self.exists(repository, identifier):
            raise _unknown(identifier)
        key = f"{repository}/{identifier}"
        with self._lock:
            if key in self._held:
                raise TooManyRequests(
                    "another request is writing to this upload", headers={"Retry-After": "1"}
                )
            self._held.add(key)
        try:
            session = Session(self, repository, identifier, algorithm)
            try:
                yield session
            finally:
                session.pause()
        finally:
            with self._lock:
                self._held.discard(key)

    def exists(self, repository: str, identifier: str) -> bool:
        """Tell whether there is such a session."""
        if not _IDENTIFIER.fullmatch(identifier):
            return False
        return os.path.exists(f"{self.places.uploads(repository)}/{identifier}/startedat")

    def size(self, repository: str, identifier: str) -> int:
        """Return how many bytes a session has.

        Raises:
            UploadUnknown: there is none.
        """
        if not self.exists(repository, identifier):
            raise _unknown(identifier)
        try:
            return os.stat(f"{self.places.uploads(repository)}/{identifier}/data").st_size
        except FileNotFoundError:
            return 0

    def cancel(self, repository: str, identifier: str) -> None:
        """End a session and free its space, also while a request writes to it.

        Raises:
            UploadUnknown: there is none.
        """
        if not self.exists(repository, identifier):
            raise _unknown(identifier)
        durable.remove_tree(f"{self.places.uploads(repository)}/{identifier}")

    def expire(self, repository: str, before: float) -> int:
        """Remove sessions that got nothing since ``before`` (seconds since the epoch); return how many."""
        stale = self.stale(repository, before)
        for name in stale:
            durable.remove_tree(f"{self.places.uploads(repository)}/{name}")
        return len(stale)

    def stale(self, repository: str, before: float) -> list[str]:
        """Return the sessions that got nothing since ``before`` and that no request of ours holds."""
        directory = self.places.uploads(repository)
        with contextlib.suppress(FileNotFoundError):
            return [
                name
                for name in os.listdir(directory)
                if _last_change(f"{directory}/{name}") < before and f"{repository}/{name}" not in self._held
            ]
        return []

    def recall(self, session: Session, algorithm: str) -> tuple[hashlib._Hash | None, int]:
        """Return the hash state of a session and how many bytes it covers."""
        with self._lock:
            live = self._live.pop(session.identifier, None)
        if live is not None and live[1] == session.size:
            return live
        if session.size == 0:
            return hashlib.new(algorithm), 0
        return None, 0

    def keep(self, session: Session, hasher: hashlib._Hash) -> None:
        """Remember a session's hash state for its next request."""
        with self._lock:
            self._live[session.identifier] = (hasher, session.size)
            if len(self._live) > MAX_LIVE:
                self._live.popitem(last=False)

    def forget(self, session: Session) -> None:
        """Drop what is remembered of a session."""
        with self._lock:
            self._live.pop(session.identifier, None)


def _unknown(identifier: str) -> UploadUnknown:
    return UploadUnknown("blob upload unknown to registry", detail={"uuid": identifier})


def _last_change(directory: str) -> float:
    times = []
    for path in (directory, f"{directory}/data", f"{directory}/startedat"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            times.append(os.stat(path).st_mtime)
    return max(times, default=time.time())


def _boot() -> str:
    """Return what identifies this run of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
