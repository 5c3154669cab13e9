"""What is there: the same nouns as ``deployment``, as they were found.

Nothing here decides anything; ``plan`` compares these values with what is wanted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that makes a container or service what it is, as short readable settings.

    Two specs with the same hash need no replacement. It is compared with what was written down when the
    container was made, never with its observed environment: an image adds its own.
    """

    settings: Mapping[str, str]

    @property
    def hash(self) -> str:
        """12 hex digits of SHA-256 over the sorted settings."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()[:12]

    def as_json(self) -> str:
        """One line, keys sorted."""
        return json.dumps(dict(self.settings), sort_keys=True, separators=(",", ":"))

    def changes_from(self, before: Spec) -> tuple[str, ...]:
        """Name each setting that differs, as ``port 5000 -> 5001``."""
        keys = sorted(self.settings.keys() | before.settings.keys())
        return tuple(
            f"{key} {before.settings.get(key, 'unset')} -> {self.settings.get(key, 'unset')}"
            for key in keys
            if before.settings.get(key) != self.settings.get(key)
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A container or service that was found under the wanted name.

    Attributes:
        spec: what it was made from; None if regsetup did not make it.
        health: ``healthy``, ``unhealthy``, ``starting`` or ``unknown``, as the engine itself reports it.
        started_at: RFC 3339 UTC, None when it does not run.
        storage: where its images lie, ``volume:NAME`` or a path, None if it can't be told.
        published: the host address and port it answers on, None if it publishes none.
    """

    id: str
    name: str
    spec: Spec | None
    running: bool
    health: str = "unknown"
    started_at: str | None = None
    image: str | None = None
    storage: str | None = None
    published: tuple[str, int] | None = None
    exit_code: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One registry as it was found.

    Attributes:
        current: what runs (or ran) under the wanted name.
        aside: what an interrupted replacement left, to be put back or removed.
        other: what the ledger knows on the other back end: what a move leaves, or left half-done.
        files: SHA-256 (hex) of each file of ours that exists, by name.
        users: names in htpasswd, None if there is no such file.
        image: id of the wanted image, None where the engine does not have it.
    """

    current: Seen | None = None
    aside: Seen | None = None
    other: Seen | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    users: tuple[str, ...] | None = None
    storage_exists: bool = False
    image: str | None = None
