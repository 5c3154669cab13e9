"""Where a backup's images go: a directory, a volume that can be entered, or one that only the engine may."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.backup.swap import discard
from regsetup.deployment import Directory, Volume
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite
from regsetup.state import Entry, Kind
from regsetup.status import remembered

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.deployment import Paths
    from regsetup.load import Loaded
    from regsetup.state import State


_RESTORED = ".restored-"  # in the name of a volume that took the place of another


class DataTaken(RegsetupError):
    """The directory that the images would go into holds something else."""

    code = "data-taken"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not empty, and its content is not this registry's",
            cause="the backup's registry had its images there",
            fix="regsetup restore ... --data DIR",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the images go.

    Attributes:
        directory: if this process may enter it; else the volume ``fresh`` is filled through the engine.
        fresh: a volume that was made for this.
        instead_of: the registry's volume before, which ``fresh`` takes the place of.
        made: directories that were made, innermost first.
    """

    directory: Path | None
    fresh: str | None = None
    instead_of: str | None = None
    made: tuple[Path, ...] = ()

    def clear(self, choice: Choice, paths: Paths) -> None:
        """Remove what was unpacked, and the directories and volumes made for it.

        Raises:
            EngineError: the volume stays.
        """
        discard(paths, self.directory)
        for one in (*self.made, paths.root):
            with contextlib.suppress(OSError):  # not empty: it was there before
                one.rmdir()
        if self.fresh:
            from regsetup.backends import volumes

            volumes.remove(choice.docker(), self.fresh)
            self._forget(paths, self.fresh)

    def forget_old_volume(self, choice: Choice, paths: Paths) -> None:
        """Remove the volume that ``fresh`` took the place of; if that fails the ledger still has it.

        Raises:
            EngineError: the engine refused, or is gone.
        """
        if self.instead_of:
            from regsetup.backends import volumes

            volumes.remove(choice.docker(), self.instead_of)
            self._forget(paths, self.instead_of)

    def _forget(self, paths: Paths, volume: str) -> None:
        state = states.read(paths.state) if self.instead_of else None
        if state:
            states.write(paths.state, state.without_entry(Entry(Kind.VOLUME, volume)))


def find(loaded: Loaded, choice: Choice, paths: Paths) -> tuple[Place, Loaded]:
    """Find or make the directory or volume; settings come back with the volume that it became.

    Raises:
        DataTaken, CannotWrite, EngineError: nothing was made.
    """
    wanted = loaded.deployment
    state = states.read(paths.state)
    mine = remembered(paths).storage if state else None
    if isinstance(wanted.storage, Directory):
        return _directory(wanted.storage.path, ours=mine == wanted.storage), loaded
    from regsetup.backends import volumes

    engine, name = choice.docker(), wanted.storage.name
    if volumes.exists(engine, name):
        place = volumes.mountpoint(engine, name)
        if place is not None:
            if mine != wanted.storage and _holds_something(place):
                raise DataTaken(place)
            return Place(place), loaded
        name = f"{_plain(name)}{_RESTORED}{secrets.token_hex(4)}"
        loaded = _with_volume(loaded, name)
    old = mine.name if isinstance(mine, Volume) and _plain(mine.name) == _plain(name) else None
    if state and old:
        _prepare(state, choice, paths, old, name)
    volumes.create(engine, name, {"io.regsetup.name": wanted.name})
    return Place(volumes.mountpoint(engine, name), name, old), loaded


def _with_volume(loaded: Loaded, name: str) -> Loaded:
    return replace(
        loaded,
        deployment=replace(loaded.deployment, storage=Volume(name)),
        wished={**loaded.wished, "data": f"volume:{name}"},
    )


def _plain(name: str) -> str:
    return name.partition(_RESTORED)[0]


def _prepare(state: State, choice: Choice, paths: Paths, old: str, fresh: str) -> None:
    """Write the volume into the ledger before it is made, and remove what earlier restores left."""
    from regsetup.backends import volumes

    for left in state.of(Kind.VOLUME):
        if _RESTORED in left and left != old:
            volumes.remove(choice.docker(), left)
            state = state.without_entry(Entry(Kind.VOLUME, left))
    states.write(paths.state, state.with_entry(Kind.VOLUME, fresh))


def _directory(directory: Path, *, ours: bool) -> Place:
    if not ours and directory.is_dir() and _holds_something(directory):
        raise DataTaken(directory)
    above = [one for one in (directory, *directory.parents) if not one.exists()]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(directory, error) from error
    return Place(directory, made=tuple(above))


def _holds_something(directory: Path) -> bool:
    try:
        names = [one.name for one in directory.iterdir()]
    except OSError as error:
        raise CannotWrite(directory, error) from error
    return any(not name.startswith(".") and name != "lost+found" for name in names)
