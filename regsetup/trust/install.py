"""Makes a client trust a registry, takes it back, and tells how it stands: the same for every client."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from regsetup.host.files import make_directory, remove_empty, remove_unfinished
from regsetup.trust.base import CannotTakeBack, Touched, read, sha256, unchanged
from regsetup.trust.rights import closed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from regsetup.trust.base import Client, Edit, Ledger, Registry


class State(Enum):
    """How a client stands to the registry."""

    TRUSTS = "trusts"
    DIFFERS = "differs"
    ABSENT = "not installed"


@dataclass(frozen=True, slots=True)
class Status:
    """How a client stands to the registry, and why; ``closed``: what only root may change there."""

    client: str
    state: State
    detail: str
    closed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What ``install`` or ``remove`` did to one client.

    Attributes:
        paths: the files changed; none means that nothing was to do.
        notes: what is left for a person to do.
    """

    client: str
    paths: tuple[Path, ...]
    reason: str
    notes: tuple[str, ...] = ()


def install(client: Client, registry: Registry, ledger: Ledger) -> Done:
    """Make ``client`` trust ``registry``; each file is in the ledger before it is written.

    What an earlier install did for this address another way (plain HTTP, then TLS) is taken back first.

    Raises:
        RegsetupError: see ``Client.plan``, ``apply`` and ``settle``.
    """
    for entry in _own(client, registry.address, ledger):
        remove_unfinished(entry.path)
    outdated = [entry for entry in _own(client, registry.address, ledger) if client.outdated(entry, registry)]
    _take_back(client, outdated, ledger)
    plan = client.plan(registry)
    known = {entry.path: entry for entry in _own(client, registry.address, ledger)}
    notes = list(plan.notes)
    for edit in plan.needed:
        ledger.note(_touched(client, registry, edit, known.get(edit.path)))
        make_directory(edit.path.parent)
        notes += _said(client.apply(edit))
    if plan.needed:
        notes += _said(client.settle())
    reason = "installed" if plan.needed else plan.reason or "it trusts the registry already"
    return Done(client.name, tuple(edit.path for edit in plan.needed), reason, tuple(notes))


def remove(client: Client, address: str, ledger: Ledger) -> Done:
    """Take back what the ledger says of ``client`` and ``address``, the last first.

    Raises:
        CannotTakeBack: others have changed a file; it and those before it stay in the ledger.
    """
    entries = _own(client, address, ledger)
    for entry in entries:
        remove_unfinished(entry.path)
    notes = _take_back(client, entries, ledger)
    if entries:
        notes += _said(client.settle())
    reason = "removed" if entries else "nothing of ours was there"
    return Done(client.name, tuple(entry.path for entry in reversed(entries)), reason, tuple(notes))


def _own(client: Client, address: str, ledger: Ledger) -> list[Touched]:
    return [entry for entry in ledger.entries() if (entry.client, entry.address) == (client.name, address)]


def _take_back(client: Client, entries: Sequence[Touched], ledger: Ledger) -> list[str]:
    notes: list[str] = []
    for entry in reversed(entries):
        with_us = read(entry.path)
        notes += _said(client.take_back(entry))
        _rebase(client, entry, with_us, ledger)
        remove_empty(entry.directories)  # while the ledger knows them still: a kill leaves none behind
        _bequeath([path for path in entry.directories if path.exists()], ledger)
        ledger.forget(entry)
    return notes


def _bequeath(directories: Sequence[Path], ledger: Ledger) -> None:
    """Let who still uses a directory that we made remove it in the end."""
    for entry in ledger.entries():
        new = [one for one in directories if one in entry.path.parents and one not in entry.directories]
        if new:
            ledger.note(replace(entry, directories=(*entry.directories, *new)))


def _rebase(client: Client, gone: Touched, with_us: bytes | None, ledger: Ledger) -> None:
    """Bring the other entries for the same file to what it is without ``gone``.

    Else the last one to go would bring back what it found: a file with an entry that went before.
    """
    for entry in ledger.entries():
        if entry.path != gone.path or (entry.client, entry.address) == (gone.client, gone.address):
            continue
        rebased, now = entry, read(entry.path)
        if with_us is not None and now is not None and sha256(with_us) in {entry.after, entry.earlier}:
            rebased = replace(rebased, after=sha256(now), earlier="")
        with suppress(CannotTakeBack):
            rebased = replace(rebased, before=client.without_us(entry.before, gone))
        rebased = replace(rebased, added=client.inherited(rebased, gone))
        ledger.note(rebased)


def status(client: Client, registry: Registry) -> Status:
    """Tell how ``client`` stands to ``registry`` by its files; only a push and a pull prove it."""
    if not client.detect():
        return Status(client.name, State.ABSENT, "")
    plan = client.plan(registry)
    needed = plan.needed
    if not needed:
        return Status(client.name, State.TRUSTS, "")
    what = ", ".join(f"{edit.path} {'differs' if edit.before else 'is missing'}" for edit in needed)
    return Status(client.name, State.DIFFERS, what, closed(plan))


def _touched(client: Client, registry: Registry, edit: Edit, known: Touched | None) -> Touched:
    """Return the ledger entry of an edit.

    At a second install ``before`` is what the file would be without the first: what we wrote ourselves is
    no original, and what others changed meanwhile is theirs.
    """
    entry = Touched(
        client=client.name,
        address=registry.address,
        path=edit.path,
        before=edit.before,
        after=sha256(edit.after),
        tls=registry.tls,
        added=edit.added,
        directories=tuple(_missing_parents(edit.path)),
    )
    if known is None:
        return entry
    try:
        before = client.without_us(edit.before, known)
    except CannotTakeBack:
        before = edit.before
    ours = edit.before if unchanged(edit.before, known) else None
    return replace(
        entry,
        before=before,
        directories=known.directories or entry.directories,
        earlier="" if ours is None else sha256(ours),
    )


def _missing_parents(path: Path) -> Iterator[Path]:
    for parent in path.parents:
        if parent.exists():
            return
        yield parent


def _said(note: str | None) -> list[str]:
    return [note] if note else []
