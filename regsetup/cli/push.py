"""``regsetup push``: an image out of a directory or a file into a registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import moving, remote, render

if TYPE_CHECKING:
    from regsetup.image.archive import Archive
    from regsetup.image.files import Directory


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "push")(push)


@remote.reaching
def push(
    way: remote.Way,
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|FILE|-",
            help="An OCI layout, or an archive of docker save, podman save, skopeo, buildah; - reads one.",
            show_default=False,
        ),
    ],
    ref: remote.Ref,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="NAME[:TAG]|DIGEST", help="Which image, where there are several."),
    ] = None,
    platform: moving.PlatformOption = None,
    compress: Annotated[
        bool,
        typer.Option("--compress/--no-compress", help="Compress plain layers of docker save with gzip."),
    ] = True,
    mount_from: Annotated[
        list[str] | None,
        typer.Option(
            "--mount-from", metavar="NAME", help="A repository there that may have some of it; repeatable."
        ),
    ] = None,
) -> render.Outcome:
    """Upload an image from an OCI layout or an archive; what the registry has is not sent again.

    An OCI layout keeps its digest. Layers of docker save are plain: they are compressed on their way.

    Example: docker save app:1 | regsetup push - localhost:5000/app:1
    """
    from regsetup.reference import Reference
    from regsetup.transfer.push import Goal
    from regsetup.transfer.source import choose
    from regsetup.transfer.watch import Watch

    reference = Reference.parse(ref)
    with _opened(source) as files:
        found = choose(files, image, moving.wanted_platform(platform), compress=compress)
        with way.to(reference, moving.TIMEOUT) as reached, moving.bars() as audience:
            others = (*(mount_from or ()), *found.repositories(reached.place.address))
            goal = Goal(reached.client, reached.repository(reference), others)
            watch = Watch(audience)
            digest, changed = found.push(goal, reference, watch, compress=compress)
            where = f"{reached.place.address}/{goal.repository}"
    tag = reference.tag or (None if reference.digest else "latest")
    data = {"ref": ref, "repository": where, "digest": str(digest), "source": source, **moving.facts(watch)}
    return render.Outcome(
        data,
        (f"{digest}", f"{moving.told(watch, 'uploaded')}: {where}{f':{tag}' if tag else ''}"),
        changed=changed or watch.bytes > 0,
    )


def _opened(source: str) -> Directory | Archive:
    from regsetup.image.archive import Archive
    from regsetup.transfer.source import opened

    if source == "-":
        return Archive.stream("standard input", sys.stdin.buffer)
    return opened(Path(source))
