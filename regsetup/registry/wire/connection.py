"""One client's connection: requests come in, go to the application one after another, answers go out.

An answer that needs no waiting is given within the call that brought the request: no task, no future. A body
is never read here: while its request is at work the event loop looks away, and ``transfer`` reads the socket
(``seize``). What a refused request still sends is read for a moment and thrown away, so that the client
reads the refusal (RFC 9112 9.6).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, Protocol, cast

from regsetup.registry.errors import ApiError
from regsetup.registry.reply import reply_error
from regsetup.registry.wire.framing import ByLength, Framing, framing
from regsetup.registry.wire.line import Line, Tls, gone
from regsetup.registry.wire.request import MAX_HEAD, NotARequest, Request, cut, parse
from regsetup.registry.wire.response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable

LINGER = 2.0  # seconds that the rest of a refused body is read


class Application(Protocol):
    """What answers requests."""

    stopping: bool

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer at once, or later; only a connection that broke raises."""


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(
        self, application: Application, every: set[Connection], tls: ssl.SSLContext | None, patience: float
    ) -> None:
        self.remote = "-"
        self.framing: Framing = ByLength(0)
        self.since = 0.0  # when the connection began to wait for a request
        self._application = application
        self._every = every
        self._tls = Tls(tls) if tls is not None else None
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._line: Line | None = None
        self._is_ending = False
        self._flushed: asyncio.Future[None] | None = None  # there is one while bytes wait to be sent

    @property
    def is_idle(self) -> bool:
        """Whether no request is at work."""
        return self._task is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; see ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)
        peer = self._transport.get_extra_info("peername")
        self.remote = peer[0] if peer else "-"
        self.since = self._loop.time()
        self._every.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """End what is at work; see ``asyncio.Protocol``."""
        self._is_ending = True
        self._every.discard(self)
        if self._line is None:  # else who has the socket reads what has come, and then meets the end
            self._cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Note that the client takes no more; see ``asyncio.Protocol``."""
        self._flushed = self._loop.create_future()

    def resume_writing(self) -> None:
        """Go on; see ``asyncio.Protocol``."""
        flushed, self._flushed = self._flushed, None
        if flushed is not None and not flushed.done():
            flushed.set_result(None)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take in what came; see ``asyncio.Protocol``."""
        if self._is_ending:
            return
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        self._received = self._received + data if self._received else data
        if self._task is None:
            self._advance()
        elif len(self._received) > MAX_HEAD:
            self._transport.pause_reading()

    def close(self) -> None:
        """End the connection; what was written is still sent."""
        self._is_ending = True
        if self._tls is not None:
            self._transport.write(self._tls.farewell())
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once, and what is at work."""
        self._is_ending = True
        self._cancel()
        self._transport.abort()

    async def begin(self, response: Response) -> None:
        """Send the head of an answer; see ``request.Channel``."""
        response.close = response.close or self._closes()
        response.begun = True
        await self.write(response.head())

    async def write(self, piece: bytes) -> None:
        """Send a part of the body; see ``request.Channel``."""
        if self._is_ending:
            raise gone()
        self._send(piece)
        if self._flushed is not None:
            try:
                async with asyncio.timeout(self._patience):
                    await self._flushed
            except TimeoutError:
                raise ConnectionAbortedError("the client takes nothing") from None
            if self._is_ending:
                raise gone()

    def seize(self) -> Line:
        """Take the socket over; see ``request.Channel``."""
        if self._line is None:
            if self._is_ending:
                raise gone()
            self._transport.pause_reading()
            duplicate = socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno()))
            duplicate.setblocking(False)
            self._line = Line(duplicate, self._tls, self._received)
            self._received = b""
        return self._line

    def say_continue(self) -> None:
        """Ask for the body; see ``request.Channel``."""
        if self._request is not None and self._request.headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")  # RFC 9110 10.1.1

    def _advance(self) -> None:
        """Take up the next request, if one is there and the last one's answer is on its way."""
        if not self._received or self._is_ending or self._task is not None or self._flushed is not None:
            return
        try:
            found = cut(self._received)
            if found is None:
                return
            head, self._received = found
            request = parse(head)
        except NotARequest as error:
            self._refuse(error)
            return
        self._request = request
        request.channel = self
        self.framing = framing(request.length)
        if not self.framing.done:
            self.seize()
        answer = self._application.handle(request)
        if isinstance(answer, Response):
            self._release()
            self._answer(request, answer)
        else:
            self._task = self._loop.create_task(self._wait(request, answer))

    async def _wait(self, request: Request, answer: Awaitable[Response]) -> None:
        """Give an answer that takes time."""
        try:
            response = await answer
        except ConnectionError:
            self._transport.abort()
            return
        finally:
            self._task = None
            self._release()
        self._answer(request, response)

    def _cancel(self) -> None:
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)  # a task that never began could not note its end

    def _release(self) -> None:
        """Take the socket back."""
        line, self._line = self._line, None
        if line is not None:
            try:
                self._received = line.close()
            except ssl.SSLError:
                self.abort()

    def _answer(self, request: Request, response: Response) -> None:
        """Send an answer, and go on to the next request, or end."""
        if self._is_ending:
            return
        whole = self._pass_over_body()
        if not response.begun:
            response.close = response.close or not whole or self._closes()
            head = response.head()
            self._send(head if request.method == "HEAD" else head + response.body)
        self.since = self._loop.time()
        if response.close:
            self._end(linger=not whole)
            return
        self._transport.resume_reading()
        if self._received:
            self._loop.call_soon(self._advance)

    def _pass_over_body(self) -> bool:
        """Drop what has come of a body that nobody wanted; False if more of it comes."""
        if self.framing.done:
            return True
        try:
            _, count = self.framing.take(memoryview(self._received))
        except ApiError:
            return False
        self._received = self._received[count:]
        return self.framing.done

    def _closes(self) -> bool:
        return self._application.stopping or self._request is None or not self._request.keep_alive

    def _refuse(self, error: NotARequest) -> None:
        response = reply_error(error)
        response.close = True
        self._send(response.head() + response.body)
        self._end(linger=True)

    def _end(self, *, linger: bool) -> None:
        if not linger:
            self.close()
            return
        self._is_ending = True
        self._received = b""
        if self._tls is not None:
            self._transport.write(self._tls.farewell())
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER, self._transport.abort)

    def _send(self, content: bytes) -> None:
        self._transport.write(content if self._tls is None else self._tls.seal(content))

    def _decrypt(self, tls: Tls, data: bytes) -> bytes:
        tls.feed(data)
        try:
            content = tls.content()
        except ssl.SSLError:
            content = b""
            self._is_ending = True
        self._transport.write(tls.pending())
        if self._is_ending or (tls.ended and self._task is None and not content):
            self._transport.close()
        return content
