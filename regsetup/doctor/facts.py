"""What the doctor knows and what it finds: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from regsetup.auth.certificates import Certificate
    from regsetup.deployment import Deployment
    from regsetup.errors import RegsetupError
    from regsetup.host.docker_info import Info
    from regsetup.host.engine import Dockerd
    from regsetup.trust.install import Status


class Severity(StrEnum):
    """Whether something fails now, or may."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``code`` is API."""

    code: str
    severity: Severity
    message: str
    cause: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Return it as the JSON envelope shows it."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "cause": self.cause,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found; None for what could not be looked at, or is not there.

    Attributes:
        there: whether a registry of this name is set up; else the machine is looked at, for the first ``up``.
        engine_address: the engine that the registry is a container of.
        shell_engine: where docker commands of this shell go; ``shell_trouble``: why they can't.
        engine_closed: the engine's address, where its socket is there and this user may not use it.
        engine_installed: whether this machine has a dockerd, running or not.
        command: how regsetup is called for this registry, by root or by the person whose it is.
        engine_uid, storage_owner: user ids, as this machine sees them.
        answers: whether the registry answers on this machine.
        listens: who holds its port; ``shadow``: who holds it on ``::1``, where the registry does not listen.
        daemon_json: the bytes of the engine's file.
        resolved: the addresses of the first host name, in the resolver's order; empty if it has none.
        own: every address of this machine.
        clients: those that ``up`` tells of a registry by itself, or that somebody had told of this one.
        htpasswd_mode, htpasswd_path, storage_writable, storage_free: of files and directories of ours.
        proxies: the variables of this environment.
        firewall: the name of an active host firewall that published ports go around.
        synchronized: whether the clock follows a time server.
    """

    wanted: Deployment
    now: datetime
    info: Info | None = None
    engine: Dockerd | None = None
    daemon_json: bytes | None = None
    answers: bool | None = None
    listens: str | None = None
    shadow: str | None = None
    clients: tuple[Status, ...] = ()
    resolved: tuple[str, ...] | None = None
    own: frozenset[str] = frozenset()
    ca: Certificate | None = None
    leaf: Certificate | None = None
    htpasswd: bytes | None = None
    htpasswd_mode: int | None = None
    htpasswd_path: Path | None = None
    storage_writable: bool | None = None
    storage_free: int | None = None
    selinux: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict)
    firewall: str | None = None
    synchronized: bool | None = None
    backend: str = "docker"
    there: bool = True
    engine_address: str | None = None
    shell_engine: str | None = None
    shell_trouble: RegsetupError | None = None
    engine_closed: str | None = None
    engine_installed: bool = False
    engine_uid: int | None = None
    storage_owner: int | None = None
    command: str = "sudo regsetup"
