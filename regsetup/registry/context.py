"""What every endpoint works with: the settings, the store, and threads to wait in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from regsetup.reference import BadReference, Digest
from regsetup.registry.errors import DigestInvalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.registry.mirror import Mirror
    from regsetup.registry.settings import Settings
    from regsetup.registry.store import Store

P = ParamSpec("P")
T = TypeVar("T")
CORES = os.cpu_count() or 1
BULK = 8  # threads that send and receive blobs


BATCH = 1 << 20  # bytes of an upload that are written and hashed at once
KEPT = 8  # buffers that wait for the next upload


class Buffers:
    """Memory for uploads, used again: new memory costs a page fault every 4 KiB. Safe from any thread."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def two(self) -> Iterator[list[memoryview]]:
        """Lend two times ``BATCH`` bytes with anything in them."""
        with self._lock:
            lent, self._free = self._free[:2], self._free[2:]
        while len(lent) < 2:
            lent.append(memoryview(bytearray(BATCH)))
        try:
            yield lent
        finally:
            with self._lock:
                self._free = [*self._free, *lent][:KEPT]


def _threads(name: str, count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)


@dataclass(slots=True)
class Context:
    """One running registry.

    Attributes:
        disk: threads that wait for the disk.
        bulk: threads that send and receive blobs.
        hashing: threads that verify what is on disk; few, so that they don't starve the rest.
        sealing: threads that encrypt ahead of those that send.
        sending: how many blobs are sent right now.
        receiving: how many uploads send bytes right now.
        turns: how many of both have a thread, or wait for one.
        mirror: what is behind a pull-through cache; None for a registry that takes pushes.
        received: bytes of blobs that came since the start.
        buffers: memory for uploads, lent while a thread reads: who waits for a slow client has none.
    """

    settings: Settings
    store: Store
    disk: ThreadPoolExecutor = field(default_factory=lambda: _threads("disk", 8))
    bulk: ThreadPoolExecutor = field(default_factory=lambda: _threads("bulk", BULK))
    hashing: ThreadPoolExecutor = field(default_factory=lambda: _threads("verify", CORES))
    sealing: ThreadPoolExecutor = field(default_factory=lambda: _threads("seal", CORES))
    sending: int = 0
    receiving: int = 0
    turns: int = 0
    mirror: Mirror | None = None
    received: int = 0
    buffers: Buffers = field(default_factory=Buffers)

    @property
    def cores_are_free(self) -> bool:
        """Whether one transfer gains by a second thread: with more transfers, each has its core already."""
        return self.sending + self.receiving < CORES

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that waits for the disk, in a thread."""
        return await in_thread(self.disk, lambda: call(*args, **kwargs))

    async def verify(self, digest: Digest) -> int | None:
        """Return the size of a blob that is whole; None: absent or damaged. May read all of it."""
        size = self.store.blobs.known(digest)
        if size is not None:
            return size
        return await in_thread(self.hashing, lambda: self.store.blobs.verify(digest))

    def check_space(self, wanted: int) -> None:
        """Refuse an upload that the disk can't take, before its bytes come.

        Raises:
            Unavailable: less than ``min_free`` would be left.
        """
        here = self.settings.root
        status = os.statvfs(here)
        if status.f_bavail * status.f_frsize - wanted < self.settings.min_free:
            raise no_space()

    def close(self) -> None:
        """Let the threads end."""
        for pool in (self.disk, self.bulk, self.hashing, self.sealing):
            pool.shutdown(wait=False, cancel_futures=True)


def no_space() -> Unavailable:
    """Return what an upload is answered with while the disk is full."""
    return Unavailable("the registry's disk is full", headers={"Retry-After": "60"})


async def in_thread(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """Call in a thread; when cancelled, still wait for it: it may use what the caller is about to close."""
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def parse_digest(text: str) -> Digest:
    """Read a digest from a request.

    Raises:
        DigestInvalid: not a digest that this registry knows.
    """
    try:
        return Digest.parse(text)
    except BadReference as error:
        raise DigestInvalid(error.message, detail={"digest": text}) from None
