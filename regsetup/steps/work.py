"""What all steps of one run share: the machine as it was found, the ledger, and what people told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.host.files import write_atomic
from regsetup.observe import Survey
from regsetup.state import Kind, State, storage_entry
from regsetup.step import Action, Resource, Step
from regsetup.waiting import READY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regsetup.auth.htpasswd import Password
    from regsetup.step import Reporter

Undo = Callable[[], None]
Guard = Callable[[Survey], None]


@dataclass
class Work:
    """A run of steps on the machine that ``survey`` describes.

    Attributes:
        state: the ledger as it stands now.
        passwords: of the users that the plan adds.
        guard: proves the new container or service while the old one can still come back.
    """

    survey: Survey
    state: State
    passwords: Mapping[str, Password]
    reporter: Reporter
    ready_timeout: float = READY_TIMEOUT
    guard: Guard | None = None

    def record(self, kind: Kind, target: str) -> None:
        """Enter in the ledger what is about to be made."""
        self.save(self.state.with_entry(kind, target))

    def record_storage(self) -> None:
        """Enter the directory or volume of the images."""
        kind, target = storage_entry(self.survey.wanted)
        self.record(kind, target)

    def save(self, state: State) -> None:
        """Keep the ledger, on disk as soon as there is a directory for it."""
        self.state = state
        if self.survey.paths.root.is_dir():
            states.write(self.survey.paths.state, state)

    def write(self, path: Path, text: str, mode: int) -> Undo:
        """Write a file of the registry, whole or not at all."""
        before = path.read_bytes() if path.is_file() else None
        self.record(Kind.FILE, str(path))
        write_atomic(path, text, mode=mode)

        def undo() -> None:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, before, mode=mode)

        return undo


Table = dict[tuple[Resource, Action], Callable[[Work, Step], Undo | None]]
