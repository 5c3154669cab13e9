"""TCP ports of this machine: whether one can be bound, who holds it, and the next free one.

The answer comes from binding, as a server would (``SO_REUSEADDR``, IPv6 without IPv4), never from a list
alone: the list of sockets only names the owner afterwards. Opens nothing to the network: it never listens.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from regsetup.deployment import Listen
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_PORT = 65535  # TCP, RFC 9293 section 3.1: 16 bits
ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, never bound by itself
ANOTHER_USER = "a process of another user"
UNKNOWN = "another process"


class PortInUse(RegsetupError):
    """The port is taken by another process or container."""

    code = "port-in-use"

    def __init__(self, host: str, port: int, owner: str, free: int) -> None:
        super().__init__(
            f"{Listen(host, port)} is already used by {owner}",
            fix=f"regsetup up --port {free}, or stop {owner}",
        )


class NoFreePort(RegsetupError):
    """Every port from a given one up to 65535 is taken."""

    code = "no-free-port"

    def __init__(self, host: str, after: int) -> None:
        super().__init__(
            f"no free port above {after} on {host}",
            cause=f"every port from {after + 1} to {LAST_PORT} is taken or needs root",
            fix="regsetup up --port PORT, with a port that you know to be free",
        )


class AddressNotHere(UsageError):
    """The address to bind is not one of this machine's."""

    code = "address-not-here"

    def __init__(self, host: str, cause: str) -> None:
        super().__init__(
            f"{host} is not an address of this machine",
            cause=cause,
            fix="regsetup up --bind ADDRESS, with one of `ip -brief address`, or 127.0.0.1",
        )


class PortNeedsRoot(RegsetupError):
    """A port below ``net.ipv4.ip_unprivileged_port_start`` can't be opened by this user."""

    code = "port-needs-root"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"{Listen(host, port)} can't be opened by this user",
            cause=f"ports below {first_unprivileged()} are root's",
            fix=f"sudo regsetup up --port {port}, or regsetup up --port 5000",
        )


def owner(bind: str, port: int) -> str | None:
    """Name who holds ``port`` on the address ``bind``; None when a server could open it.

    The name is ``nginx (pid 812)``; without the rights to look, ``a process of another user``. A port that
    is free but root's counts as free: an engine opens it for us. ``check`` is for whoever opens it himself.

    Raises:
        AddressNotHere: ``bind`` is no address of this machine.
    """
    refusal = _try(bind, port)
    if refusal is None or (refusal == errno.EACCES and not list(_listeners(bind, port))):
        return None
    return _name(bind, port)


def check(bind: str, port: int) -> None:
    """Hold if this process may open ``port`` on ``bind``; does not tell whether it is taken.

    Raises:
        AddressNotHere: ``bind`` is no address of this machine.
        PortNeedsRoot: the port is privileged, and this process is not.
    """
    if _try(bind, port) == errno.EACCES:
        raise PortNeedsRoot(bind, port)


def free_port(bind: str, after: int) -> int:
    """Return the first port above ``after`` that this process can open on ``bind``.

    Raises:
        AddressNotHere: ``bind`` is no address of this machine.
        NoFreePort: there is none.
    """
    for port in range(after + 1, LAST_PORT + 1):
        if _try(bind, port) is None:
            return port
    raise NoFreePort(bind, after)


def first_unprivileged() -> int:
    """Return the first port that needs no rights: Linux's ``ip_unprivileged_port_start``, 1024 by default."""
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_bytes())


def _try(bind: str, port: int) -> int | None:
    """Bind and let go; return the errno of a refusal that concerns the port."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((bind, port))
    except OSError as refused:
        if refused.errno in (errno.EADDRINUSE, errno.EACCES):
            return refused.errno
        raise AddressNotHere(bind, refused.strerror or str(refused)) from refused
    return None


def _listeners(bind: str, port: int) -> Iterator[int | None]:
    """Yield the process id, None where it is hidden, of each listener that stands in the way."""
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port and _stands_in_the_way(connection.laddr.ip, bind):
            yield connection.pid


def _stands_in_the_way(taken: str, bind: str) -> bool:
    """Tell whether a listener on ``taken`` keeps ``bind`` from being opened; ``::`` may take IPv4 too."""
    if taken == "::":
        return True
    if (":" in taken) != (":" in bind):
        return False
    return taken == bind or taken in ANY or bind in ANY


def _name(bind: str, port: int) -> str:
    for pid in _listeners(bind, port):
        # Between the list and the look it may have gone; the caller's next try will tell.
        with suppress(psutil.Error):
            if pid is not None:
                return f"{psutil.Process(pid).name()} (pid {pid})"
    return UNKNOWN if os.geteuid() == 0 else ANOTHER_USER
