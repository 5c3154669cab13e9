"""Where a backup may be written: not into what it is a backup of, and not over anything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backup.reading import opened
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from regsetup.deployment import Deployment, Paths


class BackupInData(UsageError):
    """A backup would lie in what it is a backup of."""

    code = "backup-in-data"

    def __init__(self, target: Path, root: Path) -> None:
        super().__init__(
            f"{target} lies in {root}, which it would be a backup of",
            fix="give a place outside, best on another disk",
        )


class TargetTaken(UsageError):
    """What is no backup of this registry stands where the backup is to be written."""

    code = "backup-target-taken"

    def __init__(self, path: Path, of: str | None = None) -> None:
        super().__init__(
            f"{path} exists, and is {f'a backup of {of}' if of else 'no backup of regsetup'}",
            fix="give another name, or remove that file first",
        )


def is_directory(target: str) -> bool:
    """Tell whether a person means a directory of backups: it is one, or ends like one."""
    return target.endswith("/") or Path(target).is_dir()


def refuse_inside(place: Path, wanted: Deployment, paths: Paths) -> None:
    """Refuse a place in the registry's own directories.

    Raises:
        BackupInData: it lies in the settings or in the images.
    """
    for root in (paths.root, Path(str(wanted.storage))):
        if root.is_absolute() and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root)):
            raise BackupInData(place, root)


def refuse_other(place: Path, name: str) -> None:
    """Refuse to write over what is no backup of the registry ``name``; what is cut off or damaged may go.

    Raises:
        TargetTaken: something else stands there.
    """
    if not place.exists():
        return
    try:
        with opened(place) as reader:
            of = reader.header.name
    except RegsetupError as error:
        if error.code in ("backup-cut-off", "backup-damaged"):
            return
        raise TargetTaken(place) from error
    if of != name:
        raise TargetTaken(place, of)
