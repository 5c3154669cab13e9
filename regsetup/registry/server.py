"""Runs the bundled registry: sockets, TLS, signals, the sweep of old uploads. ``serve`` blocks until SIGTERM.

Nothing heavy is imported before ``serve`` is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.registry.logfile import LogFile
from regsetup.registry.settings import BACKLOG
from regsetup.registry.tls import tls_context

if TYPE_CHECKING:
    from regsetup.registry.settings import Settings

log = logging.getLogger("regsetup.registry")


class PortTaken(RegsetupError):
    """The address can't be listened on because somebody else does."""

    code = "port-in-use"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is in use",
            cause="another process listens there",
            fix="stop it, or choose another --port",
        )


class CannotListen(RegsetupError):
    """The address can't be listened on."""

    code = "cannot-listen"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"can't listen on {address}", cause=reason, fix="choose another --bind or --port")


class RootUnusable(RegsetupError):
    """The data directory can't be made, read or written."""

    code = "data-directory-unusable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"the data directory can't be used: {path}",
            cause=reason,
            fix="choose another --data, or give this user the right to write there",
        )


class HtpasswdUnreadable(RegsetupError):
    """The htpasswd file is missing or may not be read."""

    code = "htpasswd-unreadable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"the htpasswd file can't be read: {path}",
            cause=reason,
            fix="add a user with `regsetup adduser`, or serve everybody with --no-auth",
        )


class LogUnusable(RegsetupError):
    """The log can't be written."""

    code = "log-unusable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"the log can't be written: {path}",
            cause=reason,
            fix="choose another --log-file, or leave it out: the log goes to standard error then",
        )


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, 0.

    Raises:
        PortTaken, CannotListen, RootUnusable, HtpasswdUnreadable, LogUnusable, CertificateUnusable: nothing
            was started.
    """
    _check_root(settings)
    _check_htpasswd(settings)
    _open_log(settings)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    tls = tls_context(settings)
    with contextlib.closing(_listen(settings)) as listener:
        from regsetup.registry.running import run

        asyncio.run(run(settings, listener, tls))
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{address}:{settings.port}") from error
        raise CannotListen(f"{address}:{settings.port}", error.strerror or str(error)) from error
    listener.setblocking(False)
    return listener


def _open_log(settings: Settings) -> None:
    if settings.log_file is None:
        return
    try:
        LogFile(settings.log_file).open()
    except OSError as error:
        raise LogUnusable(str(settings.log_file), error.strerror or str(error)) from error


def _check_root(settings: Settings) -> None:
    root = settings.root
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RootUnusable(str(root), error.strerror or str(error)) from error
    wanted = os.R_OK | os.X_OK | (0 if settings.read_only else os.W_OK)
    if not os.access(root, wanted):
        raise RootUnusable(str(root), "this user may not read or write it")


def _check_htpasswd(settings: Settings) -> None:
    if settings.htpasswd is None:
        return
    try:
        with settings.htpasswd.open("rb"):
            pass
    except OSError as error:
        raise HtpasswdUnreadable(str(settings.htpasswd), error.strerror or str(error)) from error
