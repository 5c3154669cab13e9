"""``regsetup verify``: read everything again and compare it with its digest."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import completion, remote, render
from regsetup.cli.gc import count
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.reference import Reference
    from regsetup.remote import Local

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


@remote.reaching
def verify(
    way: remote.Way,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[:TAG]]",
            help="A repository, tag or digest, with HOST:PORT/ in front for another registry (default: all).",
            autocompletion=completion.reference,
        ),
    ] = None,
    api: Annotated[
        bool, typer.Option("--api", help="Fetch everything as clients do, instead of reading the disk.")
    ] = False,
) -> render.Outcome:
    """Read what is stored again, and compare it with its digests.

    On disk where this user can read it, over the API otherwise. Exits with 3 if something is
    damaged or missing.
    """
    from regsetup.reference import Reference

    asked = Reference.parse(image) if image else None
    place = way.place(asked)
    only = replace(asked, repository=place.repository(asked.repository)) if asked else None
    local = place.local
    root = _data(local) if local and not api else None
    with _bar() as told:
        if local and root:
            sparse = local.wanted.mirror_of is not None
            blobs, size, wrong = _on_disk(root, only, told, sparse=sparse)
        else:
            blobs, size, wrong = _over_api(way, asked, only, told)
    from rich.filesize import decimal

    how = "on disk" if root else "over the API"
    return render.Outcome(
        {
            "name": local.paths.name if local else None,
            "registry": place.address,
            "how": "disk" if root else "api",
            "blobs": blobs,
            "size": size,
            "damaged": len(wrong),
        },
        (f"{count(blobs, 'blob')}, {decimal(size)}, verified {how}: {len(wrong) or 'nothing'} damaged",),
        code=3 if wrong else 0,
        errors=wrong,
    )


def _data(local: Local) -> Path | None:
    """Return the data directory if this process can read it."""
    from regsetup import storage
    from regsetup.deployment import Directory

    if isinstance(local.wanted.storage, Directory):
        place: Path | None = local.wanted.storage.path
    else:
        place = _mountpoint(local, local.wanted.storage.name)
    return place if place and storage.look(place).size is not None else None


def _mountpoint(local: Local, volume: str) -> Path | None:
    from regsetup.backends import volumes
    from regsetup.backends.choice import reopen
    from regsetup.state import read

    state = read(local.paths.state)
    return volumes.mountpoint(reopen(local.paths, state).docker(), volume) if state else None


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
    way: remote.Way, asked: Reference | None, only: Reference | None, told: Told
) -> tuple[int, int, tuple[Corrupt, ...]]:
    from regsetup.contents.verify import verify as work

    with way.to(asked) as reached:
        found = work(reached.client, told, only)
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
