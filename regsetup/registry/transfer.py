"""Moves blobs between sockets and files, off the event loop.

Sending: sendfile(2) in pool threads on a duplicate of the socket, a slice at a time, so that many clients
share few threads; a client that takes nothing for a moment is waited for on the loop. Under TLS bytes pass
through the loop in large pieces. Receiving: pieces are collected to a mebibyte, then written and hashed in a
thread while the next are collected.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from regsetup.registry.context import CORES, Context, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from regsetup.registry.store import Upload

PIECE = 512 << 10  # bytes a sendfile(2)
SLICE = 16 << 20  # bytes that one client may take before another gets the thread
PATIENCE = 30  # milliseconds a thread waits for a socket before it leaves that to the loop
TLS_PIECE = 256 << 10  # bytes a write under TLS
BATCH = 1 << 20  # bytes of an upload that are written and hashed at once
SEND_BUFFER = 256 << 10  # bytes of SO_SNDBUF where the round trip is short: it fits the cache
NEAR = 1000  # microseconds; a longer round trip needs the kernel's autotuning
_TCP_INFO_RTT = 68  # offset of tcpi_rtt in struct tcp_info (linux/tcp.h)


async def send(
    context: Context,
    request: web.BaseRequest,
    response: web.StreamResponse,
    descriptor: int,
    first: int,
    count: int,
) -> None:
    """Send headers, then ``count`` bytes of a blob from its byte ``first``.

    Raises:
        ConnectionError: the client went away, or took nothing for ``idle_timeout``.
    """
    writer = await response.prepare(request)
    transport = request.transport
    if transport is None or writer is None:
        raise ConnectionResetError("connection lost")
    if transport.get_extra_info("sslcontext") is not None:
        await _send_by_loop(context, response, descriptor, first, first + count)
        return
    transport.set_write_buffer_limits(0)
    await writer.drain()
    transport.set_write_buffer_limits()
    duplicate = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    try:
        duplicate.setblocking(False)
        _tune(duplicate)
        await _send_by_threads(context, duplicate, descriptor, first, first + count)
    finally:
        duplicate.close()


async def _send_by_threads(
    context: Context, connection: socket.socket, descriptor: int, offset: int, end: int
) -> None:
    while offset < end:
        begin = offset
        offset = await in_thread(context.bulk, partial(_pump, connection.fileno(), descriptor, begin, end))
        if offset < end and offset - begin < SLICE:
            await _writable(connection, context.settings.idle_timeout)


def _pump(connection: int, descriptor: int, offset: int, end: int) -> int:
    """Send until the end, the end of the slice, or until the client takes nothing; return the offset."""
    stop = min(end, offset + SLICE)
    poll = None
    while offset < stop:
        try:
            sent = os.sendfile(connection, descriptor, offset, min(PIECE, stop - offset))
        except BlockingIOError:
            if poll is None:
                poll = select.poll()
                poll.register(connection, select.POLLOUT)
            if not poll.poll(PATIENCE):
                return offset
            continue
        if sent == 0:
            raise ConnectionAbortedError("the blob became shorter while it was sent")
        offset += sent
    return offset


async def _writable(connection: socket.socket, timeout: float) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection.fileno(), _wake, ready)
    try:
        async with asyncio.timeout(timeout):
            await ready
    except TimeoutError:
        raise ConnectionAbortedError("the client takes nothing") from None
    finally:
        loop.remove_writer(connection.fileno())


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _tune(connection: socket.socket) -> None:
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    if len(info) >= _TCP_INFO_RTT + 4 and struct.unpack_from("I", info, _TCP_INFO_RTT)[0] < NEAR:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def _send_by_loop(
    context: Context, response: web.StreamResponse, descriptor: int, offset: int, end: int
) -> None:
    while offset < end:
        count = min(TLS_PIECE, end - offset)
        cached = _cached(descriptor, offset, count)
        read = partial(os.pread, descriptor, count, offset)
        piece = await in_thread(context.bulk, read) if cached is None else cached
        if not piece:
            raise ConnectionAbortedError("the blob became shorter while it was sent")
        try:
            async with asyncio.timeout(context.settings.idle_timeout):
                await response.write(piece)
        except TimeoutError:
            raise ConnectionAbortedError("the client takes nothing") from None
        offset += len(piece)


def _cached(descriptor: int, offset: int, count: int) -> memoryview | None:
    """Return bytes of a file that are in memory already, without waiting for the disk; else None."""
    buffer = bytearray(count)
    try:
        found = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # EAGAIN: not in memory; EOPNOTSUPP: a file system that can't tell
        return None
    return memoryview(buffer)[:found] if found else None


async def receive(context: Context, request: web.BaseRequest, upload: Upload) -> None:
    """Append a request's body to an upload.

    What came before a connection broke is on disk afterwards, so that the upload can go on from there.

    Raises:
        ConnectionError: the client went away, or sent nothing for ``idle_timeout``.
        OSError: the disk is full.
    """
    begin = upload.size
    say_continue(request)
    context.receiving += 1
    writing: asyncio.Future[None] | None = None
    try:
        async for batch in _batches(context, request):
            if writing is not None:
                await writing
            append = partial(upload.append, batch, parallel=context.receiving < CORES)
            writing = asyncio.ensure_future(in_thread(context.disk, append))
    finally:
        context.receiving -= 1
        if writing is not None:
            await asyncio.wait([writing])
        context.received += upload.size - begin
    if writing is not None:
        await writing


def say_continue(request: web.BaseRequest) -> None:
    """Tell a client that asked (Expect: 100-continue, RFC 9110 10.1.1) to send its body."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _batches(context: Context, request: web.BaseRequest) -> AsyncIterator[list[bytes]]:
    """Yield the body in lists of about ``BATCH`` bytes; at a broken connection first what came."""
    batch: list[bytes] = []
    size = 0
    patience = _Patience(request, context.settings.idle_timeout)
    try:
        while not request.content.at_eof():
            with patience:
                chunk, _ = await request.content.readchunk()
            if chunk:
                batch.append(chunk)
                size += len(chunk)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    except (ConnectionError, web.RequestPayloadError):
        if batch:
            yield batch
        raise
    finally:
        patience.end()
    if batch:
        yield batch


class _Patience:
    """Drops a connection that gave nothing for some seconds of waiting; one timer for a whole body."""

    def __init__(self, request: web.BaseRequest, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = request.transport
        self._seconds = seconds
        self._since: float | None = None
        self._timer = self._loop.call_later(seconds, self._look)

    def __enter__(self) -> None:
        self._since = self._loop.time()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def end(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._since is not None and now - self._since >= self._seconds and self._transport is not None:
            self._transport.abort()
            return
        deadline = (self._since or now) + self._seconds
        self._timer = self._loop.call_at(deadline, self._look)
