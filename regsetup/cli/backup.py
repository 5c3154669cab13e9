"""``regsetup backup``, ``backups`` and ``restore``."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.gc import count
from regsetup.cli.status import NoRegistry
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.backup.make import Made
    from regsetup.backup.repository import Stored
    from regsetup.backup.restore import Restored
    from regsetup.backup.unsound import Unsound

    Told = Callable[[int, int | None], None]


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
    render.command(app, "restore")(restore)


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
    """
    from regsetup import history
    from regsetup.backends.choice import reopen
    from regsetup.backup import make
    from regsetup.backup.sources import source
    from regsetup.state import read
    from regsetup.status import remembered

    if keep is not None and not make.is_directory(target):
        raise KeepNeedsDirectory(target)
    if verify and not make.is_directory(target):
        raise VerifyNeedsDirectory(target)
    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    wanted, choice = remembered(paths), reopen(paths, state)
    with _bar("backing up") as told:
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


def restore(
    where: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A backup, or a directory of backups.")],
    identity: Annotated[
        str | None,
        typer.Option("--backup", metavar="ID", help="Which one of a directory (default: the newest)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Restore under this name.", show_default="the backup's"),
    ] = None,
    port: Annotated[str | None, typer.Option("--port", metavar="PORT", help="Another port.")] = None,
    bind: Annotated[str | None, typer.Option("--bind", metavar="ADDRESS", help="Another address.")] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME", help="Other names for clients. Repeatable.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DIR|volume:NAME", help="Another place for the images.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="docker|embedded", help="Another back end.")
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="IMAGE", help="Another image.")] = None,
    image_archive: Annotated[
        str | None, typer.Option("--image-archive", metavar="TAR", help="Load the image from here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only verify the backup; change nothing.")
    ] = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Verify a backup, put it in the place of what is here, and prove that it works.

    Flags win over the backup's settings. What is here is kept until the restored registry has
    passed its check, and is back if it does not.
    """
    given = dict(locals())
    from regsetup.backup import restore as work
    from regsetup.cli.check import tell
    from regsetup.cli.passwords import Source
    from regsetup.cli.progress import Steps
    from regsetup.load import find_home
    from regsetup.settings import FIELDS

    if name is not None:
        options.find_paths(name)  # says so if it is no name
    path = _chosen(where, identity, name)
    if dry_run:
        with _bar("verifying") as told:
            return _verified(work.check(path, told))
    flags = {key: value for key, value in given.items() if key in FIELDS}
    home = find_home(os.environ)
    _confirm(path, home, name, yes=yes)
    with _bar("verifying") as told, Steps() as reporter:
        ask = Source(stdin=False, file=None, generate=True).take
        done = work.restore(path, flags, home, work.Voice(reporter, told, tell, ask))
    return _restored(done)


def _chosen(where: Path, identity: str | None, name: str | None) -> Path:
    from regsetup.backup.repository import NoSuchBackup, Repository

    if not where.is_dir():
        if identity is not None:
            raise UsageError(f"--backup is for a directory of backups, and {where} is none")
        return where.absolute()
    place = Repository(where.absolute())
    if not place.check():
        raise NoSuchBackup(where, "at all", ())
    if identity:
        return place.find(identity)
    known = {one.header.name for one in place.all() if one.header}
    return place.newest(name if name in known else None)


class NeedsYes(UsageError):
    """A registry that is here would be replaced, and nobody can be asked."""

    code = "needs-yes"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"this replaces the images, users and settings of {name}, and there is no terminal to ask on",
            fix="regsetup restore ... -y, or --name OTHER to have both",
        )


def _confirm(path: Path, home: Path, name: str | None, *, yes: bool) -> None:
    """Ask before the content of a registry that is here goes."""
    import sys

    from regsetup.backup.reading import opened
    from regsetup.deployment import Paths

    with opened(path) as reader:
        paths = Paths(home, name or reader.header.name)
    if yes or not paths.state.exists():
        return
    if not sys.stdin.isatty():
        raise NeedsYes(paths.name)
    typer.confirm(f"Replace the images, users and settings of {paths.name}?", abort=True, err=True)


def _verified(done: Restored) -> render.Outcome:
    from rich.filesize import decimal

    head, found = done.header, done.unpacked
    return render.Outcome(
        {
            "name": head.name,
            "id": head.id,
            "created": head.created,
            "tags": head.tags,
            "blobs": found.blobs,
            "size": found.size,
        },
        (
            f"{head.id} is whole, made on {head.machine} at {head.created[:19]}Z",
            f"  {count(head.tags, 'tag')}, {count(found.blobs, 'blob')}, {decimal(found.size)}, all verified",
        ),
    )


def _restored(done: Restored) -> render.Outcome:
    deployed = done.deployed
    if deployed is None:
        raise AssertionError("a restore that returns has deployed")
    wanted, runtime = deployed.survey.wanted, deployed.survey.choice.runtime
    users = {name: one.secret.reveal() for name, one in deployed.passwords.items()}
    return render.Outcome(
        {
            "name": wanted.name,
            "id": done.header.id,
            "created": done.header.created,
            "backend": runtime.backend,
            "url": f"{wanted.scheme}://{wanted.address}",
            "storage": str(wanted.storage),
            "tags": done.header.tags,
            "blobs": done.unpacked.blobs,
            "checks": [one.as_dict() for one in done.checks],
            "passwords": users,
            "notes": done.notes,
        },
        (
            f"{wanted.name} is back at {wanted.scheme}://{wanted.address}, as of {done.header.created[:19]}Z",
            f"  runs as   {runtime.kind} {wanted.name}",
            f"  images    {wanted.storage}",
            f"  verified  {count(done.header.tags, 'tag')}, {count(done.unpacked.blobs, 'blob')}",
            f"  proven    {sum(one.ok for one in done.checks)} checks hold",
            *(f"  user      {one}, password {text} (shown once)" for one, text in users.items()),
            *(f"  note      {note}" for note in done.notes),
        ),
        changed=True,
    )


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Told]:
    """Show how far it is, on a terminal."""
    console = render.err()
    if render.style.json or render.style.quiet or not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(what, *columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
