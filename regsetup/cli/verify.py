"""``regsetup verify``: read everything again and compare it with its digest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.cli.gc import count
from regsetup.cli.status import NoRegistry
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.deployment import Deployment, Paths
    from regsetup.reference import Reference

    Told = Callable[[int, int], None]


class Corrupt(RegsetupError):
    """Content that is damaged or missing."""

    code = "corrupt"
    exit_code = 3

    def __init__(self, repository: str, what: str, reason: str | None = None) -> None:
        super().__init__(
            f"{repository}: {what}" if repository else what,
            cause=reason,
            fix="push the image again, which replaces what is damaged",
        )


class Unreadable(RegsetupError):
    """The data directory can't be read."""

    code = "data-directory-unreadable"

    def __init__(self, root: Path, error: OSError) -> None:
        super().__init__(
            f"{root} can't be read",
            cause=f"{error.filename}: {error.strerror}",
            fix="run it as the user that the registry runs as, or with --api",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "verify")(verify)


def verify(
    image: Annotated[
        str | None,
        typer.Argument(metavar="[NAME[:TAG]]", help="A repository, tag or digest (default: all)."),
    ] = None,
    api: Annotated[
        bool, typer.Option("--api", help="Fetch everything as clients do, instead of reading the disk.")
    ] = False,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Read what is stored again, and compare it with its digests.

    On disk where this user can read it, over the API otherwise. Exits with 3 if something is
    damaged or missing.
    """
    from regsetup.backends.choice import reopen
    from regsetup.reference import Reference
    from regsetup.state import read
    from regsetup.status import remembered

    only = Reference.parse(image) if image else None
    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    wanted, choice = remembered(paths), reopen(paths, state)
    root = None if api else _data(wanted, choice)
    with _bar() as told:
        blobs, size, wrong = (
            _on_disk(root, only, told, sparse=wanted.mirror_of is not None)
            if root
            else _over_api(wanted, paths, only, told)
        )
    from rich.filesize import decimal

    how = "on disk" if root else "over the API"
    return render.Outcome(
        {"name": name, "how": "disk" if root else "api", "blobs": blobs, "size": size, "damaged": len(wrong)},
        (f"{count(blobs, 'blob')}, {decimal(size)}, verified {how}: {len(wrong) or 'nothing'} damaged",),
        code=3 if wrong else 0,
        errors=wrong,
    )


def _data(wanted: Deployment, choice: Choice) -> Path | None:
    """Return the data directory if this process can read it."""
    from regsetup import storage
    from regsetup.deployment import Directory

    if isinstance(wanted.storage, Directory):
        place: Path | None = wanted.storage.path
    else:
        from regsetup.backends import volumes

        place = volumes.mountpoint(choice.docker(), wanted.storage.name)
    return place if place and storage.look(place).size is not None else None


def _on_disk(
    root: Path, only: Reference | None, told: Told, *, sparse: bool
) -> tuple[int, int, tuple[Corrupt, ...]]:
    from regsetup.registry.scrub import scrub

    try:
        done = scrub(root, told, only, sparse=sparse)
    except OSError as error:
        raise Unreadable(root, error) from error
    return done.blobs, done.size, tuple(Corrupt(one.repository, one.what) for one in done.damaged)


def _over_api(
    wanted: Deployment, paths: Paths, only: Reference | None, told: Told
) -> tuple[int, int, tuple[Corrupt, ...]]:
    from regsetup.client import RegistryClient
    from regsetup.contents.verify import verify as work
    from regsetup.prove import entered

    with entered(wanted, paths) as where, RegistryClient(where) as client:
        found = work(client, told, only)
    size = sum({digest: size for (_, digest), size in found.blobs.items()}.values())
    wrong = tuple(Corrupt(one.repository, one.what, one.reason) for one in found.troubles)
    return len({digest for _, digest in found.blobs}), size, wrong


@contextlib.contextmanager
def _bar() -> Iterator[Told]:
    """Show how far it is, on a terminal."""
    console = render.err()
    if render.style.json or render.style.quiet or not console.is_terminal:
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("verifying", *columns, console=console, transient=True) as progress:
        task = progress.add_task("verifying", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
