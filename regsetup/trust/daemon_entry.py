"""One entry in a list of daemon.json, told to the engine that reads it, verified, and taken back.

What a reload took away from the rest of the file is seen too: engine 23.0 dropped insecure registries when it
read mirrors again (moby#45552).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from regsetup.host.daemon_json import (
    INSECURE,
    MIRRORS,
    DaemonJsonUnreadable,
    Entry,
    add,
    decode,
    entries,
    has,
)
from regsetup.host.daemon_json import withdraw as withdraw_text
from regsetup.host.docker_info import follows, is_covered, names
from regsetup.host.engine import Manager
from regsetup.trust.base import CannotTakeBack, Client, Edit, Plan, become, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.host.daemon_json import Withdrawal
    from regsetup.host.docker_info import Info
    from regsetup.host.reload import Applied, Control
    from regsetup.trust.base import Touched


class DaemonEntry(Client):
    """The engine that ``control`` found, and its list ``key``."""

    key: ClassVar[str]

    def __init__(self, control: Control) -> None:
        self._control = control

    def detect(self) -> bool:
        """Tell whether an engine answers, or its settings directory is there."""
        engine = self._control.engine
        return engine.manager is not Manager.STOPPED or engine.config.parent.exists()

    def plan_entry(self, value: str, enough: str) -> Plan:
        """Plan an entry in daemon.json unless the engine does without; ``enough`` says why it does.

        Raises:
            DaemonJsonUnreadable: dockerd could not read it either.
            FlagConflict: the list is set by dockerd's flags.
        """
        engine, entry = self._control.engine, Entry(self.key, value)
        info = self._control.probe.info()
        before = read(engine.config)
        try:
            text = None if before is None else decode(before)
            after = add(text, entry)
        except DaemonJsonUnreadable as error:
            raise error.of(engine.config) from None
        does = info is not None and follows(info, entry)
        if info is not None and does and after != text and not self._only_remembers(info, entry, text):
            return Plan((), enough)
        if after != text:
            engine.check_flags(self.key)
        unread = info is not None and not does
        return Plan((Edit(engine.config, before, after.encode(), (value,), unread=unread),))

    def apply(self, edit: Edit) -> str | None:
        """Write daemon.json and make the engine take it, without losing what it had."""
        (value,) = edit.added
        entry, text = Entry(self.key, value), edit.after.decode()
        keeps = self._keeps(text)
        return _left(self._control.change(text, lambda info: follows(info, entry) and keeps(info)))

    def take_back(self, touched: Touched) -> str | None:
        """Undo; a running engine lets go of an entry only if it reads the list without it, if only ``[]``.

        Others may have taken the entry out of the file, and the engine has it still.

        Raises:
            CannotTakeBack: daemon.json can't be read any more.
        """
        current = read(touched.path)
        final, note = self.without_us(current, touched), None
        if touched.path == self._control.engine.config and self._must_read_again(current, touched):
            (value,) = touched.added
            entry, text = Entry(self.key, value), self._withdrawal(current or b"", touched).reload
            keeps = self._keeps(text)
            note = _left(self._control.change(text, lambda info: not names(info, entry) and keeps(info)))
        become(touched.path, final)
        return note

    def without_us(self, current: bytes | None, touched: Touched) -> bytes | None:
        """Return daemon.json without our entry.

        Raises:
            CannotTakeBack: it can't be read any more.
        """
        if current in (None, touched.before):
            return super().without_us(current, touched)
        final = self._withdrawal(current or b"", touched).final
        return None if final is None else final.encode()

    def _only_remembers(self, info: Info, entry: Entry, text: str | None) -> bool:
        """Tell whether the engine has an entry that its next start will not give it, by file or flag.

        Others have taken it out, and did not make the engine read the file. Where its flags can't be seen,
        they may well be what gives it the entry.
        """
        covered = self.key == INSECURE and is_covered(info, entry.value)
        if covered or has(text, entry) or not names(info, entry):
            return False
        engine = self._control.engine
        return bool(engine.args) and not engine.flag_places(self.key)

    def _must_read_again(self, current: bytes | None, touched: Touched) -> bool:
        if current not in (None, touched.before):
            return True
        (value,) = touched.added
        info, entry = self._control.probe.info(), Entry(self.key, value)
        there = None if current is None else decode(current)
        return info is not None and self._only_remembers(info, entry, there)

    def _withdrawal(self, current: bytes, touched: Touched) -> Withdrawal:
        (value,) = touched.added
        before = None if touched.before is None else decode(touched.before)
        try:
            return withdraw_text(decode(current), before, Entry(self.key, value))
        except DaemonJsonUnreadable as error:
            raise CannotTakeBack(touched.path, f'"{value}" in "{self.key}"') from error

    def _keeps(self, text: str) -> Callable[[Info], bool]:
        """Return what tells whether the engine still follows all of ``text`` that it follows now."""
        info = self._control.probe.info() or {}
        listed = [Entry(key, value) for key in (INSECURE, MIRRORS) for value in entries(text, key)]
        held = [entry for entry in listed if follows(info, entry)]
        return lambda now: all(follows(now, entry) for entry in held)


def _left(applied: Applied) -> str | None:
    """Say what a person must do so that the engine follows."""
    if applied.by_hand is None:
        return None
    stops = f" (stops {', '.join(applied.stops)})" if applied.stops else ""
    return f"{applied.reason}; to make the engine follow: {applied.by_hand}{stops}"
