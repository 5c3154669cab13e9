"""What was applied, and every thing that was made or touched: the ledger.

An entry is written before its effect, so that a run killed in between leaves nothing that ``teardown``
does not know. The file is replaced atomically, and the caller holds the registry's lock.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from regsetup.deployment import Directory
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite, locked, remove_empty, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.deployment import Deployment, Paths

VERSION = 1


class StateDamaged(RegsetupError):
    """``state.json`` can't be read."""

    code = "state-damaged"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=cause,
            fix=f"move it away (mv {path} {path}.bad), then regsetup up finds out again what is there",
        )


class StateTooNew(RegsetupError):
    """``state.json`` was written by a later regsetup."""

    code = "state-too-new"

    def __init__(self, path: Path, version: object) -> None:
        super().__init__(
            f"{path} was written by a newer regsetup",
            cause=f"its version is {version}, this program knows {VERSION}",
            fix="pipx upgrade regsetup",
        )


class Kind(StrEnum):
    """What an entry of the ledger is; ``KEYS`` is a volume with an account and certificates."""

    CONTAINER = "container"
    SERVICE = "service"
    VOLUME = "volume"
    KEYS = "keys"
    IMAGE = "image"
    DIRECTORY = "directory"
    FILE = "file"
    STORAGE = "storage"
    TRUST = "trust"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that regsetup made: its kind, and its name, reference or path."""

    kind: Kind
    target: str


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one registry between two commands.

    Attributes:
        backend: ``docker`` or ``embedded``.
        engine: the engine's address, as in DOCKER_HOST; None where the registry never was on one.
        engine_tls: the directory of TLS files that the engine is reached with.
        since: when it was first brought up, RFC 3339 UTC.
    """

    name: str
    backend: str
    engine: str | None
    since: str
    ledger: tuple[Entry, ...] = ()
    engine_tls: str | None = None

    @classmethod
    def new(cls, name: str, backend: str, engine: str | None, engine_tls: str | None = None) -> Self:
        """Return the state of a registry that has nothing yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(name, backend, engine, now, engine_tls=engine_tls)

    def knows(self, kind: Kind, target: str) -> bool:
        """Tell whether the ledger has this entry."""
        return Entry(kind, target) in self.ledger

    def of(self, kind: Kind) -> tuple[str, ...]:
        """Return the targets of one kind, oldest first."""
        return tuple(entry.target for entry in self.ledger if entry.kind is kind)

    def with_entry(self, kind: Kind, target: str) -> Self:
        """Return the state with one entry more, unless it is there already."""
        if self.knows(kind, target):
            return self
        return replace(self, ledger=(*self.ledger, Entry(kind, target)))

    def without_entry(self, entry: Entry) -> Self:
        """Return the state without one entry."""
        return replace(self, ledger=tuple(one for one in self.ledger if one != entry))

    def without(self, *kinds: Kind) -> Self:
        """Return the state without the entries of these kinds."""
        return replace(self, ledger=tuple(entry for entry in self.ledger if entry.kind not in kinds))


def read(path: Path) -> State | None:
    """Return the saved state, None where there is none.

    Raises:
        StateDamaged: not what ``write`` writes.
        StateTooNew: written by a later version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["version"]
        if version != VERSION:
            raise StateTooNew(path, version)
        ledger = tuple(Entry(Kind(one["kind"]), one["target"]) for one in raw["ledger"])
        known = (raw["name"], raw["backend"], raw["engine"], raw["since"])
        return State(*known, ledger, raw.get("engine_tls"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateDamaged(path, f"{type(error).__name__}: {error}") from error


def write(path: Path, state: State) -> None:
    """Save ``state`` atomically, readable by its owner."""
    write_atomic(path, json.dumps({"version": VERSION, **asdict(state)}, indent=2) + "\n", mode=0o600)


@contextlib.contextmanager
def exclusive(paths: Paths) -> Iterator[list[Path]]:
    """Be the only command that changes this registry.

    Yields the directories that were made for it, innermost first, also by a run that was killed. The caller
    may add to them; whichever of them is empty afterwards is removed.

    Raises:
        Locked: another command is still at work.
        CannotWrite: this user may not write below the home directory.
    """
    made = [path for path in (paths.home, *paths.home.parents) if not path.exists()]
    try:
        if not made and [path.name for path in paths.home.iterdir()] == [paths.lock.name]:
            made = [paths.home]  # by a run that was killed: nobody else leaves a lock alone in it
        paths.home.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(paths.home, error) from error
    try:
        with locked(paths.lock):
            yield made
    finally:
        remove_empty(made)


def storage_entry(wanted: Deployment) -> tuple[Kind, str]:
    """Return what the ledger says of where the images lie."""
    if isinstance(wanted.storage, Directory):
        return Kind.STORAGE, str(wanted.storage.path)
    return Kind.VOLUME, wanted.storage.name
