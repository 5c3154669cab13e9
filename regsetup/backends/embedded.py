"""The bundled registry as a service: under systemd where it runs, else as a detached process.

Two files hold what there is: ``service.json`` describes ``current``, ``service.previous.json`` the one that
is ``aside`` (stopped, its unit inside). ``create`` ends, and ``remove`` ends, with the first; ``set_aside``
and ``put_back`` turn on one rename. What a kill leaves besides is a unit with our root in it, which counts as
``current`` so that the next run removes or replaces it.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends import logfile, serve_command, unit
from regsetup.backends.container import Sources
from regsetup.backends.description import Description, ManagedBy
from regsetup.backends.detached import NOTE, Detached
from regsetup.backends.manager import STOP_SECONDS, Life, ServiceError
from regsetup.backends.systemd import Scope, Systemd
from regsetup.deployment import RestartPolicy
from regsetup.host import ports
from regsetup.host.files import remove_unfinished
from regsetup.observed import Seen, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regsetup.backends.manager import Manager
    from regsetup.deployment import Deployment, Paths

_BOOTS = (RestartPolicy.UNLESS_STOPPED, RestartPolicy.ALWAYS)  # Docker starts no other with the machine
_HALF = "no description"  # id of a service of which there is a unit only


class EmbeddedRuntime:
    """One registry's service.

    The flags of ``serve`` are added to ``command``; ``machine`` is where the root of the file system lies.
    """

    backend = "embedded"
    kind = "service"

    def __init__(
        self,
        paths: Paths,
        *,
        command: Sequence[str] = serve_command.COMMAND,
        machine: Path = Path("/"),
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.paths = paths
        self._command = tuple(command)
        self._stop_seconds = stop_seconds
        self._description = paths.root / "service.json"
        self._previous = paths.root / "service.previous.json"
        user = os.geteuid() != 0
        self._linger_note = paths.home / ".lingering"
        self._scope = Scope(f"regsetup-{paths.name}.service", user, machine)
        ours = ManagedBy.USER if user else ManagedBy.SYSTEM
        self._managed_by = ours if self._scope.runs() else ManagedBy.NOBODY

    def _manager(self, service: Description) -> Manager:
        if service.managed_by is ManagedBy.NOBODY:
            return Detached(service, self.paths.root, self.paths.log, self._stop_seconds)
        user = service.managed_by is ManagedBy.USER
        return Systemd(service, replace(self._scope, user=user), self.paths.log)

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``Runtime.notes``."""
        return (NOTE,) if self._managed_by is ManagedBy.NOBODY else self._scope.notes()

    def spec(self, wanted: Deployment) -> Spec:
        """See ``Runtime.spec``.

        Raises:
            EmbeddedNeedsDirectory: images are to be stored in a named volume.
        """
        return serve_command.spec(wanted, self.paths, self._command, str(self._managed_by))

    def current(self) -> Seen | None:
        """See ``Runtime.current``.

        Raises:
            DescriptionDamaged: ``service.json`` can't be read.
        """
        service = self._current()
        if service is None:
            return None
        manager = self._manager(service)
        drift = manager.drift() if service.id != _HALF else "made by halves"
        spec = service.spec
        if spec is not None and drift is not None:
            spec = Spec({**spec.settings, "unit": drift})
        return self._seen(replace(service, spec=spec), self.paths.name, manager.life())

    def aside(self) -> Seen | None:
        """See ``Runtime.aside``.

        Raises:
            DescriptionDamaged: ``service.previous.json`` can't be read.
        """
        service = self._aside()
        return (
            None
            if service is None
            else self._seen(service, f"{self.paths.name} (previous)", Life(running=False))
        )

    def create(self, wanted: Deployment, spec: Spec) -> None:
        """See ``Runtime.create``.

        Raises:
            ServiceError: a unit of this name is somebody else's.
            EmbeddedNeedsDirectory: images are to be stored in a named volume.
            PortNeedsRoot, AddressNotHere: this user can't open the port there.
            CannotWrite: no rights, no space.
        """
        log = None if self._managed_by is ManagedBy.SYSTEM else self.paths.log
        argv = serve_command.argv(wanted, Sources.of(self.paths), self._command, log)
        ports.check(wanted.bind, wanted.port)
        if self._ours():
            self.stop()
        identity = secrets.token_hex(6)
        service = Description(
            id=identity,
            managed_by=self._managed_by,
            spec=spec,
            argv=argv,
            env=wanted.env,
            boots=wanted.restart_policy in _BOOTS,
            unit=self._unit(wanted, identity, spec, argv),
        )
        self._manager(service).install()
        service.write(self._description)

    def start(self) -> None:
        """See ``Runtime.start``.

        Raises:
            ServiceError: there is none, or it can't be started.
        """
        service = self._current()
        if service is None:
            raise ServiceError(f"service {self.paths.name} is gone", cause="it was removed meanwhile")
        if service.managed_by is ManagedBy.USER:
            self._scope.linger(self._linger_note)
        self._manager(service).start()

    def stop(self) -> None:
        """See ``Runtime.stop``.

        Raises:
            ServiceError: it can't be stopped.
        """
        if service := self._current():
            self._manager(service).stop()

    def failure(self) -> str | None:
        """See ``Runtime.failure``."""
        service = self._current()
        if service is None:
            return "the service is gone"
        return self._manager(service).life().trouble

    def set_aside(self) -> None:
        """See ``Runtime.set_aside``; with one aside already, that one stays: it was healthy once."""
        service = self._current()
        if service is None:
            return
        self.stop()
        if self._aside() is None:
            if service.id != _HALF:
                self._description.replace(self._previous)
            else:
                service.write(self._previous)
        self._manager(service).uninstall()
        self._description.unlink(missing_ok=True)

    def put_back(self) -> None:
        """See ``Runtime.put_back``; what stands in its place is removed."""
        previous = self._aside()
        if previous is not None:
            if current := self._current():
                self.stop()
                self._manager(current).uninstall()
            self._manager(previous).install()
            if previous.id != _HALF:
                self._previous.replace(self._description)
            else:
                self._description.unlink(missing_ok=True)
                self._previous.unlink()
        self.start()

    def remove(self) -> None:
        """See ``Runtime.remove``; its log goes with the last of the two.

        Raises:
            ServiceError: the unit is somebody else's, or can't be stopped.
        """
        if service := self._ours():
            self.stop()
            self._manager(service).uninstall()
        self._description.unlink(missing_ok=True)
        if self._aside() is None:
            self._forget()

    def discard_aside(self) -> None:
        """See ``Runtime.discard_aside``."""
        self._previous.unlink(missing_ok=True)
        if self._current() is None:
            self._forget()

    def carry_users(self) -> None:
        """See ``Runtime.carry_users``: it reads the file itself."""

    def logs(self, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """See ``Runtime.logs``."""
        if service := self._current():
            yield from self._manager(service).logs(tail=tail, follow=follow)

    def _current(self) -> Description | None:
        """Read ``service.json``; without it a unit of our name counts, ours by halves or somebody else's."""
        if service := Description.read(self._description):
            return service
        if self._managed_by is ManagedBy.NOBODY or (text := self._scope.text()) is None:
            return None
        marks = unit.marks(text)
        spec = marks[1] if marks and marks[0] == self.paths.root else None
        return Description(
            id=_HALF,
            managed_by=self._managed_by,
            spec=spec,
            argv=(),
            env=(),
            boots=True,
            unit=text,
        )

    def _ours(self) -> Description | None:
        service = self._current()
        if service is not None and service.spec is None:
            raise ServiceError(
                f"{self._scope.path} is somebody else's", cause="regsetup did not write it for this home"
            )
        return service

    def _aside(self) -> Description | None:
        """Read ``service.previous.json``; a copy of a unit that still stands in its place is not aside."""
        service = Description.read(self._previous)
        if service is None or service.id != _HALF or self._description.exists():
            return service
        return None if self._manager(service).drift() is None else service

    def _forget(self) -> None:
        """Remove what the current and the previous service share."""
        for log in logfile.files(self.paths.log):
            log.unlink()
        self._scope.unlinger(self._linger_note)
        units = () if self._managed_by is ManagedBy.NOBODY else (self._scope.path,)
        for written in (self._description, self._previous, self._linger_note, *units):
            remove_unfinished(written)

    def _unit(self, wanted: Deployment, identity: str, spec: Spec, argv: tuple[str, ...]) -> str:
        if self._managed_by is ManagedBy.NOBODY:
            return ""
        return unit.text(
            name=wanted.name,
            identity=identity,
            root=self.paths.root,
            log=self.paths.log,
            data=serve_command.data_directory(wanted),
            spec=spec,
            argv=argv,
            env=wanted.env,
            restart=wanted.restart_policy,
            system=self._managed_by is ManagedBy.SYSTEM,
        )

    def _seen(self, service: Description, name: str, life: Life) -> Seen:
        """Put it in the words of a container; its id is what one types to find it: unit or pid."""
        settings = service.spec.settings if service.spec else {}
        process = f"pid {life.pid}" if life.pid else service.id
        return Seen(
            id=process if service.managed_by is ManagedBy.NOBODY else self._scope.unit,
            name=name,
            spec=service.spec,
            running=life.running,
            started_at=life.started_at,
            storage=settings.get("data"),
            published=(settings["bind"], int(settings["port"])) if "port" in settings else None,
            exit_code=life.exit_code,
            pid=life.pid,
        )
