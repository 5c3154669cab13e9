"""Gathers what the doctor's rules look at; changes nothing, and takes a few seconds at most.

What can't be looked at for want of rights is left out: a rule without its fact says nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from regsetup import trust_here
from regsetup.backends.context import BadContext
from regsetup.backends.engine import find_address, of_this_machine
from regsetup.called import regsetup
from regsetup.certify import look as look_at_certificates
from regsetup.deployment import Directory
from regsetup.doctor.facts import Facts
from regsetup.errors import RegsetupError
from regsetup.host import ports
from regsetup.host.docker_info import host_of
from regsetup.host.process import run
from regsetup.probe import answers, endpoint
from regsetup.state import read as read_state
from regsetup.status import remembered
from regsetup.trust.base import read
from regsetup.trust.clients import every
from regsetup.trust.install import Status, status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regsetup.deployment import Deployment, Paths
    from regsetup.host.certificate_files import Found
    from regsetup.host.reload import Control
    from regsetup.trust.base import Client

_PROXY = re.compile(r"(https?|no)_proxy", re.IGNORECASE)
_UFW = Path("/etc/ufw/ufw.conf")
_SELINUX = Path("/sys/fs/selinux/enforce")


def look(paths: Paths, environ: Mapping[str, str]) -> Facts:
    """Return the facts of a registry, or without one those of the machine that ``up`` would find.

    Raises:
        StateDamaged, StateTooNew: what is known of the registry can't be read.
    """
    state, wanted = read_state(paths.state), remembered(paths)
    trouble, shell = None, None
    try:
        shell = find_address(environ)[0]
    except BadContext as error:
        trouble = error
    own = state.engine if state else None
    control = trust_here.control(of_this_machine(own, environ), wanted, trust_here.no_restart)
    clients = every(control, Path.home())
    backend = state.backend if state else ""
    facts = examine(wanted, paths, backend, None if wanted.machine else control, clients)
    return replace(
        facts,
        there=state is not None,
        command=regsetup(),
        engine_address=own,
        engine_closed=closed_socket(own or shell),
        shell_engine=shell,
        shell_trouble=trouble,
    )


def closed_socket(address: str | None) -> str | None:
    """Return the engine's address if it is a socket that is there, and that this user may not write to."""
    scheme, _, path = (address or "").partition("://")
    closed = scheme == "unix" and os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.W_OK)
    return address if closed else None


def examine(
    wanted: Deployment, paths: Paths, backend: str, control: Control | None, clients: Iterable[Client]
) -> Facts:
    """Return the facts of one registry; ``control`` is of the engine on this machine, if it has one.

    Of a registry on another machine only what can be seen from here is looked at.
    """
    where = wanted.storage.path if isinstance(wanted.storage, Directory) else None
    here = wanted.machine is None
    ufw = (_bytes(_UFW) or b"").decode(errors="replace")
    found = _certificates(wanted, paths)
    return Facts(
        wanted=wanted,
        now=datetime.now(UTC),
        backend=backend,
        info=control.probe.info() if control else None,
        engine=control.engine if control else None,
        daemon_json=_bytes(control.engine.config) if control else None,
        answers=answers(endpoint(wanted, paths)),
        listens=_owner(wanted.bind, wanted.port) if here else None,
        shadow=_owner("::1", wanted.port) if wanted.bind == "127.0.0.1" else None,
        clients=tuple(_statuses(wanted, paths, clients)),
        resolved=_resolved(host_of(wanted.address)),
        own=_own_addresses() if here else frozenset(_resolved(wanted.machine or "")),
        ca=found.ca if found else None,
        leaf=found.leaf if found else None,
        htpasswd=_bytes(paths.htpasswd),
        htpasswd_mode=_mode(paths.htpasswd),
        htpasswd_path=paths.htpasswd,
        storage_writable=os.access(_existing(where), os.W_OK) if where else None,
        storage_free=shutil.disk_usage(_existing(where)).free if where else None,
        selinux=here and _bytes(_SELINUX) == b"1",
        proxies={
            name.lower(): value for name, value in os.environ.items() if name.lower().endswith("_proxy")
        },
        firewall="ufw" if here and "\nENABLED=yes" in ufw else None,
        synchronized=_synchronized(),
        engine_installed=shutil.which("dockerd") is not None,
        engine_uid=_uid_of(control.engine.pid) if control else None,
        storage_owner=where.stat().st_uid if where and where.is_dir() else None,
    )


def _uid_of(pid: int | None) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return None if pid is None else int(psutil.Process(pid).uids().real)
    return None


def _certificates(wanted: Deployment, paths: Paths) -> Found | None:
    if wanted.scheme == "http":
        return None
    with suppress(RegsetupError):
        return look_at_certificates(wanted, paths)
    return None


def _owner(bind: str, port: int) -> str | None:
    with suppress(RegsetupError):
        return ports.owner(bind, port)
    return None


def _statuses(wanted: Deployment, paths: Paths, clients: Iterable[Client]) -> Iterable[Status]:
    """Ask those who have been told, or should be; on loopback nobody needs to be."""
    if wanted.address not in trust_here.told(wanted):
        return
    with suppress(RegsetupError, OSError):
        told = {entry.client for entry in trust_here.TrustFile(paths.home).entries()}
        registry = trust_here.registry(wanted, paths, wanted.address)
        for client in clients:
            if client.concerned(registry) and client.name in told | set(trust_here.BY_UP):
                yield status(client, registry)


def _resolved(host: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _own_addresses() -> frozenset[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in families
    )


def _synchronized() -> bool | None:
    try:
        done = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout=5.0)
    except RegsetupError:
        return None
    return {"yes": True, "no": False}.get(done.out.strip())


def _bytes(path: Path) -> bytes | None:
    with suppress(RegsetupError):
        return read(path)
    return None


def _mode(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_mode
    return None


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())
