"""``regsetup backup`` and ``backups``."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.gc import count
from regsetup.cli.progress import read_bytes
from regsetup.cli.status import NoRegistry
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from regsetup.backup.make import Made
    from regsetup.backup.repository import Stored
    from regsetup.backup.unsound import Unsound


class DamagedBefore(RegsetupError):
    """The registry itself had something damaged or missing; the rest was backed up."""

    code = "damaged-before-backup"
    exit_code = 3

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: damaged in the registry, so the backup lacks it",
            fix="regsetup verify shows which images need it; push them again, then regsetup backup again",
        )


class DamagedInBackups(RegsetupError):
    """Something in a directory of backups is damaged or missing, and the registry has no copy of it."""

    code = "damaged-in-backups"
    exit_code = 3

    def __init__(self, directory: Path, one: Unsound) -> None:
        archives = " ".join(f"{directory}/snapshots/{backup}.tar.zst" for backup in one.backups)
        super().__init__(
            f"{directory}/{one.path} is lost: {', '.join(one.backups)} can't be restored",
            cause=f"{one.cause}, and the registry has no whole copy of it",
            fix=f"put back the file from a copy of the directory, or: rm {archives}",
        )


class VerifyNeedsDirectory(UsageError):
    """``--verify`` reads a directory of backups."""

    code = "verify-needs-directory"

    def __init__(self, target: str) -> None:
        super().__init__(
            f"--verify is for a directory of backups, and {target} is a file",
            fix=f"regsetup restore --dry-run {target} verifies it",
        )


class KeepNeedsDirectory(UsageError):
    """``--keep`` counts backups in a directory."""

    code = "keep-needs-directory"

    def __init__(self, target: str) -> None:
        super().__init__(
            f"--keep is for a directory of backups, and {target} is a file",
            fix=f"regsetup backup {target}/ --keep N makes one",
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "backup")(backup)
    render.command(app, "backups")(backups)


def backup(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR", help="A file, or a directory (it exists, or ends with /) for many backups."
        ),
    ],
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=1, help="In a directory: keep this registry's newest N."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="In a directory: read again all that lies there.")
    ] = False,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Back up images, users, certificates and settings, while the registry serves.

    Into a directory only what is new is written, and what is seen to be damaged there. The CA's
    key is in it: keep it as safe as the registry. Exits with 3 if something was damaged in the
    registry already, or is lost in the directory.

    Example: regsetup backup /srv/backups/ --keep 7
    """
    from regsetup import history
    from regsetup.backends.choice import reopen
    from regsetup.backup import make
    from regsetup.backup.sources import source
    from regsetup.backup.target import is_directory
    from regsetup.state import read
    from regsetup.status import remembered

    if keep is not None and not is_directory(target):
        raise KeepNeedsDirectory(target)
    if verify and not is_directory(target):
        raise VerifyNeedsDirectory(target)
    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    wanted, choice = remembered(paths), reopen(paths, state)
    with read_bytes("backing up") as told:
        read_from = source(wanted, choice)
        made = make.backup(
            wanted, paths, state.backend, read_from, target, keep=keep, verify=verify, told=told
        )
    history.note_backup(paths, made.header.created, str(made.path), made.size)
    lost = (DamagedInBackups(made.path.parent.parent, one) for one in made.unsound)
    errors = (*(DamagedBefore(one) for one in made.damaged), *lost)
    return render.Outcome(_made(made), _made_lines(made), True, 3 if errors else 0, errors)


def _made(made: Made) -> dict[str, Any]:
    return {
        "name": made.header.name,
        "id": made.header.id,
        "path": str(made.path),
        "created": made.header.created,
        "tags": made.header.tags,
        "blobs": made.blobs,
        "size": made.size,
        "kept": made.kept,
        "damaged": list(made.damaged),
        "removed": list(made.removed),
        "healed": list(made.healed),
        "lost": [asdict(one) for one in made.unsound],
    }


def _made_lines(made: Made) -> tuple[str, ...]:
    from rich.filesize import decimal

    there = f", {decimal(made.kept)} were there already" if made.header.apart else ""
    return (
        f"{made.path}: {decimal(made.size)} written{there}",
        f"  {count(made.header.tags, 'tag')}, {count(made.blobs, 'blob')}, users, certificates and settings",
        *(f"  healed  {one} was damaged, and is written anew" for one in made.healed),
        *(f"  removed {one}" for one in made.removed),
    )


def backups(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A directory of backups (default: the last one).")
    ] = None,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """List the backups in a directory."""
    from regsetup.backup.format import BackupUnreadable
    from regsetup.backup.repository import Repository

    if directory and directory.is_file():
        raise OneBackup(directory)
    place = Repository((directory or _last(name)).absolute())
    if not place.root.exists():
        raise BackupUnreadable(place.root, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    place.check()
    found = place.all()
    return render.Outcome(
        {"directory": str(place.root), "backups": [_listed(one) for one in found]}, (_table(found),)
    )


class OneBackup(UsageError):
    """A backup is named where a directory of them is meant."""

    code = "one-backup"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is a file, and no directory of backups",
            fix=f"regsetup restore --dry-run {path} verifies it, and says what is in it",
        )


class NoBackupYet(UsageError):
    """Nothing says where backups are."""

    code = "no-backup-yet"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no backup of {name} into a directory is known",
            fix="regsetup backups DIR, or regsetup backup DIR/",
        )


def _last(name: str) -> Path:
    from regsetup import history

    last = history.read(options.find_paths(name)).backup
    if last is None or Path(last.where).parent.name != "snapshots":
        raise NoBackupYet(name)
    return Path(last.where).parent.parent


def _listed(one: Stored) -> dict[str, Any]:
    head = one.header
    return {
        "id": one.id,
        "name": head.name if head else None,
        "created": head.created if head else None,
        "machine": head.machine if head else None,
        "tags": head.tags if head else None,
        "size": head.size if head else None,
        "problem": one.problem,
    }


def _table(found: tuple[Stored, ...]) -> Any:
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("backup", "registry", "made", "tags", "images", box=None, pad_edge=False)
    for one in found:
        if one.header is None:
            table.add_row(one.id, f"can't be read: {one.problem}")
            continue
        head = one.header
        size = "" if head.size is None else decimal(head.size)
        table.add_row(one.id, head.name, head.created[:19] + "Z", str(head.tags), size)
    return table
