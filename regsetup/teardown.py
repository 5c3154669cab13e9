"""Takes away what the ledger says, in the reverse order, and nothing else.

Without ``purge`` images, users, certificates and the remembered settings stay, so that ``up`` brings the
same registry back.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup import storage
from regsetup.backends import logfile
from regsetup.backends.choice import Choice, engine_of, other_side, reopen
from regsetup.backends.engine import Engine, of_this_machine
from regsetup.backup.swap import discard
from regsetup.certify import certificate_files
from regsetup.deployment import Listen
from regsetup.errors import RegsetupError
from regsetup.schedule import remove_all
from regsetup.state import Kind
from regsetup.status import remembered
from regsetup.trust_here import TrustFile, clients, forget, no_restart

if TYPE_CHECKING:
    from regsetup.backends.base import Runtime
    from regsetup.deployment import Paths
    from regsetup.observed import Seen
    from regsetup.state import State

_RUNTIME = (Kind.CONTAINER, Kind.SERVICE)


class LeftBehind(RegsetupError):
    """Files that regsetup did not make lie in its directory; they were left alone."""

    code = "left-behind"

    def __init__(self, root: Path, names: tuple[str, ...]) -> None:
        super().__init__(
            f"{root} still holds {', '.join(names)}",
            cause="regsetup did not make them",
            fix=f"look at them, then: rm -r {root}",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """Where images lie and how much they take; bytes None where it can't be told."""

    where: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Removal:
    """What a teardown will take away.

    Attributes:
        state: None where there is nothing under this name.
        other: the other back end, where an interrupted move left something on it.
        things: for people, such as ``container registry``.
        stored: the images, which only ``--purge`` deletes.
    """

    state: State | None
    choice: Choice | None
    other: Choice | None
    things: tuple[str, ...]
    stored: tuple[Stored, ...]


def look(paths: Paths) -> Removal:
    """Find what there is to remove; changes nothing.

    Raises:
        EngineDown: the registry is a container, and its engine does not answer.
    """
    state = states.read(paths.state)
    if state is None:
        return Removal(None, None, None, (), ())
    choice = reopen(paths, state)
    other = other_side(paths, state, choice)
    runtimes = [one.runtime for one in (choice, other) if one]
    things = tuple(
        f"{one.kind} {target}"
        for one in runtimes
        for target in state.of(Kind(one.kind))
        if not _is_strangers(one.current())
    )
    stored = [_directory(Path(target)) for target in state.of(Kind.STORAGE) if Path(target).is_dir()]
    stored += [_volume(choice, name) for name in state.of(Kind.VOLUME)]
    return Removal(state, choice, other, things, tuple(stored))


def _directory(path: Path) -> Stored:
    return Stored(str(path), storage.look(path).size)


def _volume(choice: Choice, name: str) -> Stored:
    from regsetup.backends import volumes

    place = volumes.mountpoint(choice.docker(), name)
    return Stored(f"volume:{name}", storage.look(place).size if place else None)


def check_purge(removal: Removal) -> None:
    """Refuse before anything is touched what ``purge`` would refuse half-way.

    Raises:
        NotARegistry: a data directory holds something that no registry wrote.
    """
    for stored in removal.stored:
        if stored.where.startswith("/"):
            facts = storage.look(Path(stored.where))
            if not facts.is_registry:
                raise storage.NotARegistry(facts.path, facts.foreign)


def remove(removal: Removal, paths: Paths) -> list[str]:
    """Stop and remove the container or service, and make clients forget it; what brings it back stays.

    Returns:
        What is left for a person to do, such as a restart of the engine.
    """
    if removal.state is None or removal.choice is None:
        return []
    remove_all(paths, removal.state)
    notes = [note for side in (removal.choice, removal.other) if side for note in _remove(side.runtime)]
    notes += _untell(removal, paths)
    for path in (paths.config, *logfile.files(paths.log)):
        path.unlink(missing_ok=True)
    states.write(paths.state, removal.state.without(*_RUNTIME, Kind.TRUST, Kind.TIMER))
    return notes


def _remove(runtime: Runtime) -> list[str]:
    """Remove what is ours on one back end, and say what is not."""
    current, aside = runtime.current(), runtime.aside()
    if not _is_strangers(current):
        runtime.remove()
    if not _is_strangers(aside):
        runtime.discard_aside()
    stay = [one.name for one in (current, aside) if one and _is_strangers(one)]
    return [f"{runtime.kind} {name} was not made by regsetup and stays" for name in stay]


def _is_strangers(seen: Seen | None) -> bool:
    """Tell whether a thing of our name is somebody's: the ledger says what we made, not what is there."""
    return seen is not None and seen.spec is None


def _untell(removal: Removal, paths: Paths) -> list[str]:
    """Make clients forget the registry."""
    told = {entry.address for entry in TrustFile(paths.home).entries()}
    if removal.state is None or not told:
        return []
    wanted = remembered(paths)
    ours = {str(Listen(host, wanted.port)) for host in wanted.hosts} | set(removal.state.of(Kind.TRUST))
    engine = of_this_machine(removal.state.engine, os.environ)
    known = clients(engine, wanted, no_restart)
    return [note for address in sorted(told & ours) for note in forget(known, address, paths.home)]


def purge(removal: Removal, paths: Paths) -> list[Path]:
    """Delete images, users, certificates and settings, after ``remove``.

    Returns:
        Directories above the registry's own that regsetup made, and that may go when they are empty.

    Raises:
        RefusedToDelete, NotARegistry, NotDeleted: from ``storage.purge``.
        LeftBehind: something that is not ours lies among our files.
    """
    if removal.state is None or removal.choice is None:
        return []
    for target in removal.state.of(Kind.STORAGE):
        storage.purge(Path(target))
    if any(removal.state.of(kind) for kind in (Kind.VOLUME, Kind.KEYS, Kind.IMAGE)):
        _purge_engine(removal.choice.engine or engine_of(removal.state), removal.state)
    _purge_files(removal.state, paths)
    directories = {Path(target) for target in removal.state.of(Kind.DIRECTORY)}
    return sorted(directories - {paths.root}, key=lambda path: len(path.parts), reverse=True)


def _purge_engine(engine: Engine, state: State) -> None:
    from regsetup.backends import images, volumes

    for name in (*state.of(Kind.VOLUME), *state.of(Kind.KEYS)):
        volumes.remove(engine, name)
    for reference in state.of(Kind.IMAGE):
        images.remove_unused(engine, reference)


def _purge_files(state: State, paths: Paths) -> None:
    ours = [Path(target) for target in state.of(Kind.FILE)]
    logs = logfile.files(paths.log)
    for path in [*ours, *logs, paths.config, paths.history, paths.content_lock]:
        path.unlink(missing_ok=True)
    certificate_files(paths).remove()
    if paths.acme.is_dir():
        shutil.rmtree(paths.acme)
    discard(paths, None)
    if paths.auth.is_dir() and not any(paths.auth.iterdir()):
        paths.auth.rmdir()
    left = tuple(sorted(path.name for path in paths.root.iterdir() if path != paths.state))
    if left:
        raise LeftBehind(paths.root, left)
    paths.state.unlink()
    paths.root.rmdir()
