"""``regsetup restore``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path  # noqa: TC003  Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.cli.gc import count
from regsetup.cli.progress import read_bytes
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from regsetup.backup.restore import Restored


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "restore")(restore)


def restore(
    where: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A backup, or a directory of backups.")],
    identity: Annotated[
        str | None,
        typer.Option("--backup", metavar="ID", help="Which one of a directory (default: the newest)."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Restore under this name (default: the backup's).",
            autocompletion=options.known_names,
        ),
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
        str | None,
        typer.Option(
            "--backend",
            metavar="docker|embedded",
            help="Another back end.",
            autocompletion=options.one_of("docker", "embedded"),
        ),
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

    Example: regsetup restore registry.tar.zst --name second --port 5001
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
        with read_bytes("verifying") as told:
            return _verified(work.check(path, told))
    flags = {key: value for key, value in given.items() if key in FIELDS}
    home = find_home(os.environ)
    _confirm(path, home, name, yes=yes)
    with contextlib.ExitStack() as bar, Steps(before=bar.close) as reporter:
        told = bar.enter_context(read_bytes("verifying"))
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
