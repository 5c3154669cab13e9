"""Docker Engine: a CA below certs.d, which needs no reload, or an entry in daemon.json, which does.

https://docs.docker.com/engine/security/certificates/, and the engine's ``insecure-registries`` and
``registry-mirrors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.host.daemon_json import INSECURE, MIRRORS
from regsetup.host.engine import Manager
from regsetup.trust.base import Client, Edit, Plan, read
from regsetup.trust.daemon_entry import DaemonEntry

if TYPE_CHECKING:
    from regsetup.trust.base import Registry, Touched

_CA = "ca.crt"
_ELSEWHERE = "this engine does not read this machine's files: regsetup trust export, and run it over there"
_DESKTOP = "Docker Desktop reads it when it starts: Docker Desktop > Restart"


class Docker(DaemonEntry):
    """Whether the engine talks to the registry: its CA, or leave to use plain HTTP."""

    name = "docker"
    key = INSECURE

    def plan(self, registry: Registry) -> Plan:
        """Plan a CA file, or an entry in daemon.json unless the engine does without.

        Raises:
            DaemonJsonUnreadable: dockerd could not read it either.
            FlagConflict: the list is set by dockerd's flags.
        """
        if registry.ca is None:
            enough = f"the engine takes {registry.address} without TLS: it is loopback, or set elsewhere"
            return self.plan_entry(registry.address, enough)
        path = self._control.engine.certs_d / registry.address / _CA
        notes = {Manager.DESKTOP: (_DESKTOP,), Manager.ELSEWHERE: (_ELSEWHERE,)}
        return Plan((Edit(path, read(path), registry.ca),), notes=notes.get(self._control.engine.manager, ()))

    def apply(self, edit: Edit) -> str | None:
        """Write the CA, or make the engine take the new daemon.json."""
        return Client.apply(self, edit) if edit.path.name == _CA else super().apply(edit)

    def take_back(self, touched: Touched) -> str | None:
        """Undo either.

        Raises:
            CannotTakeBack: the file can't be told apart from what others made of it.
        """
        return Client.take_back(self, touched) if touched.path.name == _CA else super().take_back(touched)

    def without_us(self, current: bytes | None, touched: Touched) -> bytes | None:
        """Return the file without us.

        Raises:
            CannotTakeBack: the file can't be told apart from what others made of it.
        """
        if touched.path.name == _CA:
            return Client.without_us(self, current, touched)
        return super().without_us(current, touched)


class DockerMirror(DaemonEntry):
    """Whether the engine asks the registry first for images of Docker Hub; it has no mirrors of others."""

    name = "docker-mirror"
    key = MIRRORS
    needs_ca = False

    def concerned(self, registry: Registry) -> bool:
        """Only of a cache of Docker Hub has it anything to be told."""
        return registry.mirror is not None

    def outdated(self, touched: Touched, registry: Registry) -> bool:
        """Tell whether the engine asks it at another URL, or it is no cache any more."""
        return touched.added != (registry.mirror,)

    def plan(self, registry: Registry) -> Plan:
        """Plan an entry in daemon.json.

        Raises:
            DaemonJsonUnreadable: dockerd could not read it either.
            FlagConflict: the list is set by dockerd's flags.
        """
        if registry.mirror is None:
            return Plan((), "it is no cache of Docker Hub")
        return self.plan_entry(registry.mirror, f"the engine asks {registry.mirror} first already")
