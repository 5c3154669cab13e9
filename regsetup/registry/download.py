"""A blob on its way from the upstream: written to disk once, and read from there by every client that waits.

Clients get the bytes as they arrive, all but the last: these come when the digest is known to hold and the
blob is stored for good. So no client takes a wrong blob for a whole one.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

from regsetup.registry.context import Context, in_thread
from regsetup.registry.errors import ApiError, BlobUnknown, DigestInvalid, Unavailable, Unknown
from regsetup.registry.reply import stream
from regsetup.registry.upstream import UpstreamDown

if TYPE_CHECKING:
    import aiohttp

    from regsetup.reference import Digest
    from regsetup.registry.store import Upload
    from regsetup.registry.upstream import Upstream
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

BATCH = 1 << 20  # bytes that are written and hashed at once
PIECE = 256 << 10  # bytes a client is sent at once
HELD_BACK = 64 << 10  # bytes at the end that wait until the digest is verified


class Download:
    """One blob that is being fetched. Its task goes on when clients leave."""

    def __init__(self, context: Context, upstream: Upstream, repository: str, digest: Digest) -> None:
        self.size: int | None = None
        self._context = context
        self._upstream = upstream
        self._repository = repository
        self._digest = digest
        self._descriptor = -1
        self._written = 0
        self._followers = 0
        self._changed = asyncio.Event()
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(_look)

    async def begun(self) -> None:
        """Wait until bytes come; ``size`` is None if the upstream does not say how many.

        Raises:
            ApiError: none will.
        """
        await asyncio.shield(self._begun)

    async def finished(self) -> None:
        """Wait until the blob is stored.

        Raises:
            ApiError: it could not be.
        """
        await asyncio.shield(self.task)

    async def follow(self, request: Request, headers: dict[str, str], size: int) -> Response:
        """Send the blob as it arrives.

        Raises:
            ConnectionError: the client or the upstream went away, or the digest does not hold.
        """
        response = stream(200, headers, size)
        self._followers += 1
        try:
            await request.channel.begin(response)
            offset = 0
            while offset < size:
                end = self._written if self._is_stored else min(self._written, size - HELD_BACK)
                if offset >= end:
                    await self._more()
                    continue
                offset += await self._send(request, offset, end)
        finally:
            self._followers -= 1
            self._close()
        return response

    @property
    def _is_stored(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None

    async def _more(self) -> None:
        """Wait until there is more to send."""
        if self.task.done():
            raise ConnectionAbortedError("the blob did not come whole from the upstream")
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _send(self, request: Request, offset: int, end: int) -> int:
        read = partial(os.pread, self._descriptor, min(PIECE, end - offset), offset)
        piece = await in_thread(self._context.bulk, read)
        await request.channel.write(piece)
        return len(piece)

    async def _run(self) -> None:
        try:
            await self._fetch()
        except ApiError as error:
            self._fail(error)
            raise
        except UpstreamDown as error:
            failure = down(error)
            self._fail(failure)
            raise failure from error
        except asyncio.CancelledError:
            self._fail(Unavailable("the registry stops"))
            raise
        except OSError as error:
            self._fail(Unavailable(f"the registry's storage failed: {error.strerror}"))
            raise
        finally:
            self._note()
            self._close()

    async def _fetch(self) -> None:
        store, digest = self._context.store, self._digest
        async with (
            self._upstream.blobs,
            self._upstream.ask("GET", self._repository, f"blobs/{digest}") as response,
        ):
            if response.status != 200:
                raise absent(digest, response.status)
            self._context.check_space(response.content_length or 0)
            identifier = await self._context.run(store.uploads.start, self._repository)
            with store.uploads.hold(self._repository, identifier, digest.algorithm) as upload:
                try:
                    self._descriptor = upload.reader()
                    self.size = response.content_length
                    self._begin()
                    await self._receive(response, upload)
                    await self._context.run(upload.commit, digest)
                except DigestInvalid as error:
                    raise Unknown("the upstream sent another blob than was asked for", status=502) from error
                except BaseException:
                    upload.cancel()
                    raise

    async def _receive(self, response: aiohttp.ClientResponse, upload: Upload) -> None:
        batch: list[bytes] = []
        size = 0
        async for piece in self._upstream.pieces(response):
            batch.append(piece)
            size += len(piece)
            if size >= BATCH:
                await self._append(upload, batch)
                batch, size = [], 0
        if batch:
            await self._append(upload, batch)

    async def _append(self, upload: Upload, batch: list[bytes]) -> None:
        self._context.check_space(0)  # an upstream need not say how much it sends
        await in_thread(self._context.disk, partial(upload.append, batch, parallel=False))
        self._written = upload.size
        self._note()

    def _begin(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)

    def _fail(self, error: ApiError) -> None:
        if not self._begun.done():
            self._begun.set_exception(error)
            self._begun.exception()  # it is looked at, even if every client has left

    def _note(self) -> None:
        """Wake those who wait for more."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _close(self) -> None:
        if self._descriptor >= 0 and not self._followers and self._ending():
            os.close(self._descriptor)
            self._descriptor = -1

    def _ending(self) -> bool:
        return self.task.done() or asyncio.current_task() is self.task


def _look(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended: every client may have left."""
    if not task.cancelled():
        task.exception()


def down(error: UpstreamDown) -> Unavailable:
    """Return what a client is answered when the upstream is needed and does not serve."""
    return Unavailable(f"not stored here, and the upstream does not serve: {error}")


def absent(digest: Digest, status: int) -> BlobUnknown:
    """Return what a client is answered when the upstream does not give a blob."""
    return BlobUnknown(
        "blob unknown to the upstream", detail={"digest": str(digest), "upstream_status": status}
    )
