"""A ledger in memory, that goes through JSON as the real one does."""

from __future__ import annotations

import json

from regsetup.trust.base import Touched


class MemoryLedger:
    """Keeps entries as JSON text."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], str] = {}

    def entries(self) -> list[Touched]:
        return [Touched.from_dict(json.loads(line)) for line in self._lines.values()]

    def note(self, entry: Touched) -> None:
        self._lines[entry.client, entry.address, str(entry.path)] = json.dumps(entry.as_dict())

    def forget(self, entry: Touched) -> None:
        del self._lines[entry.client, entry.address, str(entry.path)]
