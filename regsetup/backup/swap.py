"""Puts a restored tree in the place of the old one by renames, and the old one back.

What is about to be renamed is written down first (``restore.json``), so that ``recover`` takes back what a
killed restore did, from whatever point. The old files stay until ``Swap.keep``.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.backends.choice import reopen
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite, sync_directory, write_atomic

if TYPE_CHECKING:
    from regsetup.deployment import Paths

STAGED = ".regsetup-restore"  # where a restored tree is built; registries pass dot files over
BEFORE = ".regsetup-before"  # where the old one waits
_JOURNAL = "restore.json"
SETTINGS = ("auth", "certs", "ca", "acme", "http.secret", "deployment.yaml", "own.crt", "own.key")
CONTENT = ("docker", "scheduler-state.json")


class JournalDamaged(RegsetupError):
    """``restore.json`` can't be read, so a killed restore can't be taken back."""

    code = "restore-journal-damaged"

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=f"{type(error).__name__}: {error}",
            fix=f"the files before lie in {BEFORE} beside it and in the data directory: move them back",
        )


@dataclass(frozen=True, slots=True)
class Move:
    """One name that is replaced; ``had`` says whether something stood there."""

    directory: Path
    name: str
    had: bool

    def do(self) -> None:
        """Move the old one away and the new one in, as far as there are any."""
        if self.had:
            (self.directory / self.name).rename(self.directory / BEFORE / self.name)
        with suppress(FileNotFoundError):
            (self.directory / STAGED / self.name).rename(self.directory / self.name)

    def undo(self) -> None:
        """Do the reverse, however far it came; safe to repeat."""
        here, before = self.directory / self.name, self.directory / BEFORE / self.name
        if self.had and not before.exists():
            return
        _remove(here)
        if self.had:
            before.rename(here)


@dataclass(frozen=True, slots=True)
class Swap:
    """All that is replaced, in one directory of settings and one of data."""

    paths: Paths
    moves: tuple[Move, ...]

    @classmethod
    def plan(cls, paths: Paths, data: Path | None) -> Swap:
        """Look what stands there; ``data`` is None where the images lie in a volume that is exchanged."""
        names = [(paths.root, name) for name in SETTINGS]
        names += [(data, name) for name in CONTENT] if data else []
        return cls(paths, tuple(Move(place, name, (place / name).exists()) for place, name in names))

    def do(self) -> None:
        """Replace.

        Raises:
            CannotWrite: the disk; ``undo`` puts everything back.
        """
        directories = {move.directory for move in self.moves}
        try:
            os.sync()  # the new files are on disk before the first of them counts
            for directory in directories:
                (directory / BEFORE).mkdir(mode=0o700, exist_ok=True)
            self._write()
            for move in self.moves:
                move.do()
            for directory in directories:
                sync_directory(directory)
        except OSError as error:
            raise CannotWrite(self.paths.root, error) from error

    def undo(self) -> None:
        """Put everything back; nothing happens where nothing was replaced."""
        if (self.paths.root / _JOURNAL).exists():
            for move in reversed(self.moves):
                move.undo()
        self.keep()

    def keep(self) -> None:
        """Let what stands there now be what counts, and delete the other."""
        (self.paths.root / _JOURNAL).unlink(missing_ok=True)
        for directory in {move.directory for move in self.moves}:
            for name in (BEFORE, STAGED):
                _remove(directory / name)

    def _write(self) -> None:
        found = [{"directory": str(one.directory), "name": one.name, "had": one.had} for one in self.moves]
        write_atomic(self.paths.root / _JOURNAL, json.dumps(found, indent=1) + "\n", mode=0o600)


def unfinished(paths: Paths) -> Swap | None:
    """Return the swap that a killed restore began, None if there is none.

    Raises:
        JournalDamaged: it can't be read.
    """
    journal = paths.root / _JOURNAL
    try:
        found = json.loads(journal.read_text(encoding="utf-8"))
        moves = [Move(Path(one["directory"]), str(one["name"]), bool(one["had"])) for one in found]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalDamaged(journal, error) from error
    return Swap(paths, tuple(moves))


def recover(paths: Paths) -> bool:
    """Take back a restore that was killed, and stop what runs on its files; tells whether there was one.

    Raises:
        JournalDamaged, EngineDown: nothing was changed.
    """
    swap = unfinished(paths)
    if swap is None:
        return False
    state = states.read(paths.state)
    if state is not None:
        reopen(paths, state).runtime.stop()
    swap.undo()
    return True


def discard(paths: Paths, data: Path | None) -> None:
    """Delete what a killed restore had unpacked."""
    for directory in (paths.root, data):
        for name in (STAGED, BEFORE):
            if directory is not None:
                _remove(directory / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
