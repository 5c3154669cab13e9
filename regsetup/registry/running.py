"""The event loop of a running registry: connections, signals, certificates, old uploads, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

from aiohttp import web

from regsetup.registry.app import App
from regsetup.registry.auth import Authenticator
from regsetup.registry.context import Context
from regsetup.registry.disk.store import open_store
from regsetup.registry.errors import ApiError, Unknown, Unsupported
from regsetup.registry.reply import reply_error
from regsetup.registry.server import CertificateUnusable, tls_context

if TYPE_CHECKING:
    import socket
    import ssl

    from regsetup.registry.settings import Settings

log = logging.getLogger("regsetup.registry")

READ_BUFFER = 1 << 20  # bytes of a body that wait in memory before the socket is no longer read
KEEP_ALIVE = 75.0  # seconds an idle connection stays, and that a header may take; nginx's keepalive_timeout
MAX_HEADER = 16 << 10  # bytes of the request line, and of one header
LINGER = 2.0  # seconds that the rest of a refused body is read, so that the client reads the refusal
SWEEP = 3600.0  # seconds between two looks for expired uploads
CERTIFICATE_LOOK = 10.0  # seconds between two looks for a new certificate
_LAST_WRITE = 1.0  # seconds for the rest of an answer after its request was handled
_SILENT = logging.Logger("silent", logging.CRITICAL)  # we log requests ourselves
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h


class _Connection(web.RequestHandler):
    """A connection whose errors are answered as the specification has them."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the request, maybe its credentials
    ) -> web.StreamResponse:
        """Answer what could not be parsed, or what the registry failed at; the connection ends."""
        error: ApiError
        if status >= 500:
            log.error("%s %s failed", request.method, request.path, exc_info=exc)
            error = Unknown("the registry failed", status=status)
        else:
            error = Unsupported("not a request that HTTP/1.1 allows", status=status)
        response = reply_error(error)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes the connections of this registry."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(
            self,
            loop=self._loop,
            access_log=_SILENT,
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            read_bufsize=READ_BUFFER,
        )


async def run(settings: Settings, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Serve on a listening socket until a signal says to stop."""
    _keep_memory()
    _many_files()
    authenticator = Authenticator(settings.htpasswd, settings.realm) if settings.htpasswd else None
    context = Context(settings, open_store(settings.root))
    app = await _mirroring(context, authenticator) if settings.mirror_of else App(context, authenticator)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _Server(app.handle)
    listening = await loop.create_server(server, sock=listener, ssl=tls, backlog=1024)
    hangup = asyncio.Event()  # without TLS it has no effect, and does not end the process either
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    background = [asyncio.create_task(_sweep(app.context))]
    if tls is not None:
        background.append(asyncio.create_task(_watch_certificate(settings, tls, hangup)))
    _announce(settings, listener)
    try:
        await stop.wait()
        listening.close()
        await _finish(app, server)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if context.mirror is not None:
            await context.mirror.close()
        app.close()


async def _mirroring(context: Context, authenticator: Authenticator | None) -> App:
    """Return the application of a pull-through cache; others don't load an HTTP client."""
    from regsetup.registry import mirror

    context.mirror = mirror.connect(context)
    return App(context, authenticator, mirror.ENDPOINTS)


async def _finish(app: App, server: web.Server) -> None:
    """Close what is idle at once, give what runs its time, then end it."""
    app.stopping = True
    for connection in server.connections:
        if connection not in app.active:
            connection.close()
    deadline = time.monotonic() + app.context.settings.stop_grace
    while app.active and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    await server.shutdown(_LAST_WRITE)


def _announce(settings: Settings, listener: socket.socket) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_cert else "http"
    port = listener.getsockname()[1]
    sys.stderr.write(f"registry listens on {scheme}://{host}:{port}, data in {settings.root}\n")
    sys.stderr.flush()


async def _sweep(context: Context) -> None:
    """Remove expired uploads now and then."""
    while True:
        removed = await context.run(_expire, context)
        if removed:
            log.info("removed %d upload sessions that got nothing for long", removed)
        await asyncio.sleep(SWEEP)


def _expire(context: Context) -> int:
    if context.settings.read_only:
        return 0
    before = time.time() - context.settings.upload_ttl
    return sum(
        context.store.uploads.expire(repository, before) for repository in context.store.repositories.each()
    )


async def _watch_certificate(settings: Settings, tls: ssl.SSLContext, hangup: asyncio.Event) -> None:
    """Load certificate and key again when they change, or at SIGHUP; a broken pair leaves the old one."""
    loaded = _certificate_times(settings)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CERTIFICATE_LOOK):
                await hangup.wait()
        times = _certificate_times(settings)
        if times == loaded and not hangup.is_set():
            continue
        hangup.clear()
        loaded = times
        try:
            tls_context(settings)  # a pair that does not fit would spoil the context it is loaded into
            if settings.tls_cert is not None:
                tls.load_cert_chain(settings.tls_cert, settings.tls_key)
            log.info("certificate loaded again: %s", settings.tls_cert)
        except (CertificateUnusable, OSError) as error:
            log.warning("certificate not loaded, the old one stays: %s: %s", settings.tls_cert, error)


def _certificate_times(settings: Settings) -> tuple[int, ...]:
    times = []
    for path in (settings.tls_cert, settings.tls_key):
        with contextlib.suppress(OSError):
            if path is not None:
                times.append(path.stat().st_mtime_ns)
    return tuple(times)


def _many_files() -> None:
    """Allow as many open files as this user may have: two for every client that pulls."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _keep_memory() -> None:
    """Let malloc keep the pieces of uploads instead of mapping them anew each: 12 % of a push's CPU time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        mallopt(_M_TRIM_THRESHOLD, 8 << 20)
