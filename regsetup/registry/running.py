"""The event loop of a running registry: connections, signals, certificates, old uploads, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

from regsetup.memory import keep_blocks
from regsetup.registry.app import App
from regsetup.registry.auth import Authenticator
from regsetup.registry.context import Context
from regsetup.registry.disk.store import open_store
from regsetup.registry.settings import BACKLOG
from regsetup.registry.tls import CertificateUnusable, load, tls_context
from regsetup.registry.wire.connection import Connection

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from regsetup.registry.settings import Settings

log = logging.getLogger("regsetup.registry")

SWEEP = 3600.0  # seconds between two looks for expired uploads, at most
SWEEP_LEAST = 1.0  # and at least
ABANDONED = 60.0  # seconds after which a session that no request of a pull-through cache holds is removed
CERTIFICATE_LOOK = 10.0  # seconds between two looks for a new certificate
_LAST_WRITE = 1.0  # seconds that a request has to end when it was told to
_LOOK_AT_IDLE = 5.0  # seconds between two looks for connections that nobody uses


async def run(settings: Settings, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Serve on a listening socket until a signal says to stop."""
    keep_blocks()
    _many_files()
    authenticator = Authenticator(settings.htpasswd, settings.realm) if settings.htpasswd else None
    context = Context(settings, open_store(settings.root))
    app = await _mirroring(context, authenticator) if settings.mirror_of else App(context, authenticator)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[Connection] = set()
    listening = await loop.create_server(
        lambda: Connection(app, connections, tls, settings.idle_timeout), sock=listener, backlog=BACKLOG
    )
    hangup = asyncio.Event()  # without TLS it has no effect, and does not end the process either
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    background = [
        asyncio.create_task(_sweep(app.context)),
        asyncio.create_task(_drop_idle(connections, settings.keep_alive)),
    ]
    if tls is not None:
        background.append(asyncio.create_task(_watch_certificate(settings, tls, hangup)))
    _announce(settings, listener)
    try:
        await stop.wait()
        listening.close()
        await _finish(app, connections)
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if context.mirror is not None:
            await context.mirror.close()
        app.close()


async def _mirroring(context: Context, authenticator: Authenticator | None) -> App:
    """Return the application of a pull-through cache; others don't load an HTTP client."""
    from regsetup.registry import mirror, mirrored

    context.mirror = mirror.connect(context)
    return App(context, authenticator, mirrored.ENDPOINTS)


async def _finish(app: App, connections: set[Connection]) -> None:
    """Close what is idle at once, give what runs its time, then end it."""
    app.stopping = True
    for connection in list(connections):
        if connection.is_idle:
            connection.close()
    await _until_none(connections, app.context.settings.stop_grace)
    for connection in list(connections):
        connection.abort()
    await _until_none(connections, _LAST_WRITE)


async def _until_none(connections: set[Connection], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while connections and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


async def _drop_idle(connections: set[Connection], keep_alive: float) -> None:
    """End connections that wait too long for a request, or for the rest of its head."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(_LOOK_AT_IDLE, keep_alive))
        for connection in list(connections):
            if connection.is_idle and loop.time() - connection.since > keep_alive:
                connection.abort()


def _announce(settings: Settings, listener: socket.socket) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_cert else "http"
    port = listener.getsockname()[1]
    sys.stderr.write(f"registry listens on {scheme}://{host}:{port}, data in {settings.root}\n")
    sys.stderr.flush()


async def _sweep(context: Context) -> None:
    """Remove expired uploads now and then."""
    while True:
        with _noted("old upload sessions can't be looked for"):
            removed = await context.run(_expire, context)
            if removed:
                log.info("removed %d upload sessions that got nothing for long", removed)
        await asyncio.sleep(max(SWEEP_LEAST, min(SWEEP, context.settings.upload_ttl)))


def _expire(context: Context) -> int:
    settings = context.settings
    if settings.read_only:
        return 0
    # What a killed pull-through cache was fetching is fetched again from its beginning.
    before = time.time() - (settings.upload_ttl if settings.mirror_of is None else ABANDONED)
    removed = 0
    for repository in context.store.repositories.each():
        with _noted(f"old upload sessions of {repository} can't be removed"):
            removed += context.store.uploads.expire(repository, before)
    return removed


@contextlib.contextmanager
def _noted(what: str) -> Iterator[None]:
    """Log what the disk refuses, and go on: the next look may be luckier."""
    try:
        yield
    except OSError as error:
        log.warning("%s: %s", what, error)


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
            if settings.tls_cert is not None and settings.tls_key is not None:
                load(tls, settings.tls_cert, settings.tls_key)
            log.info("certificate loaded again: %s", settings.tls_cert)
        except CertificateUnusable as error:
            log.warning("certificate not loaded, the old one stays: %s: %s", settings.tls_cert, error.cause)


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
