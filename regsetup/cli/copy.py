"""``regsetup copy``: an image from one registry, or repository, to another."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import moving, remote, render
from regsetup.cli.gc import count
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.credentials import Found
    from regsetup.image.tree import Tree
    from regsetup.reference import Reference
    from regsetup.remote import Place
    from regsetup.transfer.watch import Watch


class WhoseUser(UsageError):
    """``--user`` with two registries: a password must not reach the wrong one."""

    code = "whose-user"

    def __init__(self, source: str, destination: str) -> None:
        super().__init__(
            f"--user is for one registry, and these are two: {source} and {destination}",
            fix=f"log in first: regsetup login {source}; regsetup login {destination}",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "copy")(copy)


@remote.reaching
def copy(
    way: remote.Way,
    source: Annotated[str, typer.Argument(metavar="SRC", help="An image, as for pull.", show_default=False)],
    destination: Annotated[
        str,
        typer.Argument(metavar="DST", help="Where to; without a tag, that of SRC.", show_default=False),
    ],
    platform: moving.PlatformOption = None,
    referrers: Annotated[
        bool,
        typer.Option("--referrers/--no-referrers", help="Also what is attached to it: signatures, SBOMs."),
    ] = True,
) -> render.Outcome:
    """Copy an image between registries, or within one, without a disk; its digest stays.

    Blobs that the destination has are not sent, and within one registry none is.

    Example: regsetup copy docker.io/library/alpine:3 localhost:5000/alpine:3
    """
    from regsetup.reference import Reference
    from regsetup.transfer.copy import copy as work
    from regsetup.transfer.copy import gather
    from regsetup.transfer.push import Goal
    from regsetup.transfer.remote_image import insist
    from regsetup.transfer.watch import Watch

    old, new = Reference.parse(source), Reference.parse(destination)
    only = moving.wanted_platform(platform)
    with _both(way, old, new) as (here, there), moving.bars() as audience:
        watch, repository = Watch(audience), here.repository(old)
        cargo = gather(here.client, repository, old.digest or old.tag or "latest", only, referrers=referrers)
        if only:
            insist(here.client, repository, cargo.image, only)
        mounted = (repository,) if here.client.endpoint.url == there.client.endpoint.url else ()
        goal = Goal(there.client, there.repository(new), mounted)
        tag = new.tag or (None if new.digest else old.tag or (None if old.digest else "latest"))
        changed = work(here.client, repository, cargo, goal, new.digest, tag, watch)
        where = f"{there.place.address}/{goal.repository}{f':{tag}' if tag else ''}"
    root = cargo.image.root.part
    data = {
        "source": source,
        "destination": where,
        "digest": str(root.digest),
        "media_type": root.media_type,
        "platforms": [str(one) for one in cargo.image.platforms],
        "referrers": [str(one.root.part.digest) for one in cargo.referrers],
        **moving.facts(watch),
    }
    return render.Outcome(data, _lines(cargo.image, len(cargo.referrers), watch, where), changed=changed)


def _lines(image: Tree, referrers: int, watch: Watch, where: str) -> tuple[str, ...]:
    also = f", {count(referrers, 'referrer')}" if referrers else ""
    return (f"{image.root.part.digest}", f"{moving.told(watch, 'copied')}{also}: {where}")


@contextlib.contextmanager
def _both(way: remote.Way, old: Reference, new: Reference) -> Iterator[tuple[remote.Reached, remote.Reached]]:
    """Give both registries; ``--registry`` is for references that name none."""
    source, destination = (
        replace(way, registry=None if one.registry else way.registry) for one in (old, new)
    )
    first, second = source.place(old), destination.place(new)
    with contextlib.ExitStack() as stack:
        if first.endpoint.url == second.endpoint.url and (
            way.user or _kept(first, old) == _kept(second, new)
        ):
            one = stack.enter_context(source.to(old, moving.TIMEOUT))
            yield one, replace(one, place=second)
            return
        if way.user is not None:
            raise WhoseUser(first.address, second.address)
        yield (
            stack.enter_context(source.to(old, moving.TIMEOUT)),
            stack.enter_context(destination.to(new, moving.TIMEOUT)),
        )


def _kept(place: Place, reference: Reference) -> Found | None:
    """Return who is kept for the repository: podman may keep another for each part of a registry."""
    from regsetup import credentials

    return credentials.find(place.address, place.repository(reference.repository))
