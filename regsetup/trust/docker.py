"""Docker Engine: a CA below certs.d, which needs no reload, or an entry in daemon.json, which does.

https://docs.docker.com/engine/security/certificates/ and the engine's ``insecure-registries``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.host.daemon_json import INSECURE, DaemonJsonUnreadable, Entry, add, decode, withdraw
from regsetup.host.docker_info import is_insecure, is_listed
from regsetup.host.engine import Manager
from regsetup.trust.base import CannotTakeBack, Client, Edit, Plan, read

if TYPE_CHECKING:
    from regsetup.host.daemon_json import Withdrawal
    from regsetup.host.reload import Applied, Control
    from regsetup.trust.base import Registry, Touched

_CA = "ca.crt"
_ELSEWHERE = "this engine does not read this machine's files: regsetup trust export, and run it over there"
_DESKTOP = "Docker Desktop reads it when it starts: Docker Desktop > Restart"


class Docker(Client):
    """The engine that ``control`` found."""

    name = "docker"

    def __init__(self, control: Control) -> None:
        self._control = control

    def detect(self) -> bool:
        """Tell whether an engine answers, or its settings directory is there."""
        engine = self._control.engine
        return engine.manager is not Manager.STOPPED or engine.config.parent.exists()

    def plan(self, registry: Registry) -> Plan:
        """Plan a CA file, or an entry in daemon.json unless the engine does without.

        Raises:
            DaemonJsonUnreadable: dockerd could not read it either.
            FlagConflict: the list is set by dockerd's flags.
        """
        if registry.ca is None:
            return self._plan_insecure(registry.address)
        path = self._control.engine.certs_d / registry.address / _CA
        notes = {Manager.DESKTOP: (_DESKTOP,), Manager.ELSEWHERE: (_ELSEWHERE,)}
        return Plan((Edit(path, read(path), registry.ca),), notes=notes.get(self._control.engine.manager, ()))

    def _plan_insecure(self, address: str) -> Plan:
        engine = self._control.engine
        info = self._control.probe.info()
        before = read(engine.config)
        text = None if before is None else decode(before)
        after = add(text, Entry(INSECURE, address))
        follows = info is not None and is_insecure(info, address)
        if follows and after != text:
            return Plan((), f"the engine takes {address} without TLS: it is loopback, or set elsewhere")
        if after != text:
            engine.check_flags(INSECURE)
        unread = info is not None and not follows
        return Plan((Edit(engine.config, before, after.encode(), (address,), unread=unread),))

    def apply(self, edit: Edit) -> str | None:
        """Write the CA, or make the engine take the new daemon.json."""
        if edit.path.name == _CA:
            return super().apply(edit)
        (address,) = edit.added
        return _left(self._control.change(edit.after.decode(), lambda info: is_insecure(info, address)))

    def take_back(self, touched: Touched) -> str | None:
        """Undo; a running engine lets go of an entry only if it reads the list without it, if only ``[]``.

        Raises:
            CannotTakeBack: daemon.json can't be read any more.
        """
        current = read(touched.path)
        note = None
        if touched.path == self._control.engine.config and current not in (None, touched.before):
            (address,) = touched.added
            emptied = _withdrawal(current or b"", touched).reload
            note = _left(self._control.change(emptied, lambda info: not is_listed(info, address)))
        super().take_back(touched)
        return note

    def without_us(self, current: bytes | None, touched: Touched) -> bytes | None:
        """Return daemon.json without our entry.

        Raises:
            CannotTakeBack: it can't be read any more.
        """
        if touched.path.name == _CA or current in (None, touched.before):
            return super().without_us(current, touched)
        final = _withdrawal(current or b"", touched).final
        return None if final is None else final.encode()


def _withdrawal(current: bytes, touched: Touched) -> Withdrawal:
    (address,) = touched.added
    before = None if touched.before is None else decode(touched.before)
    try:
        return withdraw(decode(current), before, Entry(INSECURE, address))
    except DaemonJsonUnreadable as error:
        raise CannotTakeBack(touched.path, f'"{address}" in "{INSECURE}"') from error


def _left(applied: Applied) -> str | None:
    """Say what a person must do so that the engine follows."""
    if applied.by_hand is None:
        return None
    stops = f" (stops {', '.join(applied.stops)})" if applied.stops else ""
    return f"{applied.reason}; to make the engine follow: {applied.by_hand}{stops}"
