"""Reads a whole directory of backups, older ones too, and names what can't be restored from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.backup.format import object_path
from regsetup.backup.repository import list_of
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.backup.repository import Repository
    from regsetup.backup.verified import Verified


@dataclass(frozen=True, slots=True)
class Unsound:
    """A file that is damaged or missing.

    Attributes:
        path: in the directory.
        backups: that can't be restored without it.
    """

    path: str
    cause: str
    backups: tuple[str, ...]


def unsound(repository: Repository, verified: Verified) -> Iterator[Unsound]:
    """Yield the backups whose own archive is damaged, then the blobs that others lack."""
    needed: dict[str, list[str]] = {}
    for stored in repository.all():
        try:
            listed = list_of(stored.path)
        except RegsetupError as error:
            yield Unsound(str(stored.path.relative_to(repository.root)), error.message, (stored.id,))
            continue
        for one in listed.objects.values():
            needed.setdefault(object_path(one.digest), []).append(stored.id)
    for path, backups in sorted(needed.items()):
        try:
            cause = None if verified.confirms(repository.root / path) else "its content has another digest"
        except OSError as error:
            cause = error.strerror or str(error)
        if cause:
            yield Unsound(path, cause, tuple(backups))
