"""Moves blobs between sockets and files, in pool threads, off the event loop.

The connection's socket is taken over for it (``Channel.seize``). Sending: sendfile(2), or under TLS pieces
that are read, encrypted and sent, by two threads while cores are free. Receiving: a mebibyte at a time is
read, written and hashed, while another thread hashes the one before. A thread serves one client for a turn: a
slice of bytes, less where the client keeps it waiting and others want it. So many share few threads, and
clients that are slower than we are, silent or not, are waited for on the event loop.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from regsetup.registry.context import BULK, Buffers, Context, in_thread
from regsetup.registry.wire.intake import Intake
from regsetup.registry.wire.line import Patience

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from regsetup.registry.store import Upload
    from regsetup.registry.wire.line import Line
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

T = TypeVar("T")
PIECE = 512 << 10  # bytes a sendfile(2)
SLICE = 64 << 20  # bytes that one client may give or take before another gets the thread
PATIENCE = 30  # milliseconds a thread waits for a socket before it leaves that to the loop
TLS_PIECE = 256 << 10  # bytes that are encrypted at once
AHEAD = 3  # pieces that are encrypted before they can be sent
READ = 64 << 10  # bytes of a small body that are read at once
SEND_BUFFER = 256 << 10  # bytes of SO_SNDBUF where the round trip is short: it fits the cache
NEAR = 1000  # microseconds; a longer round trip needs the kernel's autotuning
_TCP_INFO_RTT = 68  # offset of tcpi_rtt in struct tcp_info (linux/tcp.h)


async def send(
    context: Context, request: Request, response: Response, descriptor: int, first: int, count: int
) -> None:
    """Send headers, then ``count`` bytes of a blob from its byte ``first``.

    Raises:
        ConnectionError: the client went away, or took nothing for ``idle_timeout``.
    """
    await request.channel.begin(response)
    line = request.channel.seize()
    if line.tls is None:
        _tune(line.socket)
    offset, end = first, first + count
    context.sending += 1
    try:
        while offset < end or line.holds:
            begin = offset
            helper = context.sealing if context.cores_are_free else None
            offset = await _turn(context, partial(_send, line, descriptor, begin, end, helper))
            if line.holds or offset - begin < min(SLICE, end - begin):
                await line.until(select.POLLOUT, context.settings.idle_timeout)
    finally:
        context.sending -= 1


async def _turn(context: Context, work: Callable[[Patience], T]) -> T:
    """Do something in a thread as soon as one is free, with less patience the more wait for one."""
    context.turns += 1
    try:
        patience = Patience(PATIENCE, lambda: BULK / context.turns)
        return await in_thread(context.bulk, partial(work, patience))
    finally:
        context.turns -= 1


def _send(
    line: Line,
    descriptor: int,
    offset: int,
    end: int,
    helper: ThreadPoolExecutor | None,
    patience: Patience,
) -> int:
    """Send until the end, the end of the slice, or until the client takes nothing; return the offset."""
    stop = min(end, offset + SLICE)
    if line.tls is None:
        return _send_file(line, descriptor, offset, stop, patience)
    if helper is None or stop - offset <= TLS_PIECE:
        return _send_sealed(line, descriptor, offset, stop, patience)
    return _send_ahead(line, descriptor, offset, stop, helper, patience)


def _send_file(line: Line, descriptor: int, offset: int, stop: int, patience: Patience) -> int:
    connection = line.socket.fileno()
    while offset < stop:
        try:
            sent = os.sendfile(connection, descriptor, offset, min(PIECE, stop - offset))
        except BlockingIOError:
            if not line.wait(select.POLLOUT, patience):
                break
            continue
        if sent == 0:
            raise _shorter()
        offset += sent
    return offset


def _send_sealed(line: Line, descriptor: int, offset: int, stop: int, patience: Patience) -> int:
    """The same under TLS; what is encrypted and not sent yet stays with the line."""
    buffer = memoryview(bytearray(TLS_PIECE))
    while _flush(line, patience) and offset < stop:
        offset += _seal(line, descriptor, buffer[: stop - offset], offset)
    return offset


def _send_ahead(
    line: Line, descriptor: int, offset: int, stop: int, helper: ThreadPoolExecutor, patience: Patience
) -> int:
    """The same, while another thread encrypts what comes next."""
    room, sealed = threading.Semaphore(AHEAD), queue.SimpleQueue[bool]()
    goes_on = True

    def seal() -> int:
        position = offset
        buffer = memoryview(bytearray(TLS_PIECE))
        try:
            while position < stop and room.acquire() and goes_on:
                position += _seal(line, descriptor, buffer[: stop - position], position)
                sealed.put(True)
        finally:
            sealed.put(False)
        return position

    work = helper.submit(seal)
    try:
        while sealed.get() and _flush(line, patience):
            room.release()
    finally:
        goes_on = False
        room.release()
        offset = work.result()
    return offset


def _flush(line: Line, patience: Patience) -> bool:
    """Send what is encrypted; False if the client takes nothing for a moment."""
    while not line.flush():
        if not line.wait(select.POLLOUT, patience):
            return False
    return True


def _seal(line: Line, descriptor: int, buffer: memoryview, offset: int) -> int:
    count = os.preadv(descriptor, [buffer], offset)
    if count == 0:
        raise _shorter()
    line.seal(buffer[:count])
    return count


def _shorter() -> ConnectionAbortedError:
    return ConnectionAbortedError("the blob became shorter while it was sent")


def _tune(connection: socket.socket) -> None:
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    if len(info) >= _TCP_INFO_RTT + 4 and struct.unpack_from("I", info, _TCP_INFO_RTT)[0] < NEAR:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def receive(context: Context, request: Request, upload: Upload) -> None:
    """Append a request's body to an upload.

    What came before a connection broke is on disk afterwards, so that the upload can go on from there.

    Raises:
        ConnectionError: the client went away, or sent nothing for ``idle_timeout``.
        BodyInvalid: what came is no body.
        OSError: the disk is full.
    """
    if request.channel.framing.done:
        return
    begin = upload.size
    request.channel.say_continue()
    context.receiving += 1
    intake = Intake(request.channel.seize(), request.channel.framing)
    try:
        while not intake.framing.done:
            fill = partial(_fill, intake, context.buffers, upload, parallel=context.cores_are_free)
            if not await _turn(context, fill):
                await intake.until_more(context.settings.idle_timeout)
    finally:
        context.receiving -= 1
        context.received += upload.size - begin


def _fill(intake: Intake, memory: Buffers, upload: Upload, patience: Patience, *, parallel: bool) -> bool:
    """Take in a slice, or what there is; False if the client gives nothing more for now.

    One buffer is read into while the other is still hashed.
    """
    stop = upload.size + SLICE
    goes_on = True
    with memory.two() as buffers:
        try:
            while goes_on and upload.size < stop and not intake.framing.done:
                try:
                    goes_on = intake.collect(buffers[0], patience)
                finally:
                    if intake.count:
                        upload.append([buffers[0][: intake.count]], parallel=parallel)
                        buffers.reverse()
        finally:
            upload.settle()
    return goes_on


async def read(context: Context, request: Request, limit: int) -> bytes | None:
    """Return a small body; None if it has more than ``limit`` bytes.

    Raises:
        ConnectionError: the client went away, or sent nothing for ``idle_timeout``.
        BodyInvalid: what came is no body.
    """
    if request.length is not None and request.length > limit:
        return None
    if request.channel.framing.done:
        return b""
    request.channel.say_continue()
    intake = Intake(request.channel.seize(), request.channel.framing)
    buffer = memoryview(bytearray(READ))
    body = bytearray()
    while not intake.framing.done:
        goes_on = intake.collect(buffer, Patience(0))
        body += buffer[: intake.count]
        if not goes_on:
            await intake.until_more(context.settings.idle_timeout)
        if len(body) > limit:
            return None
    return bytes(body)
