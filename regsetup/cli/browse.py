"""``regsetup catalog``, ``tags``, ``manifest`` and ``exists``: what a registry has, by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import remote, render
from regsetup.cli.blob import NoDigest
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from regsetup.reference import Reference


class NotThere(RegsetupError):
    """The registry answers, and has no such image."""

    code = "not-there"
    exit_code = 3

    def __init__(self, reference: Reference, address: str) -> None:
        wanted = reference.digest or f"{reference.repository}:{reference.target}"
        super().__init__(f"{address} has no {wanted}")


class RepositoryWanted(UsageError):
    """A tag or digest was given where a repository is meant."""

    code = "repository-wanted"

    def __init__(self, text: str, command: str, repository: str) -> None:
        super().__init__(f"{text!r} names an image, not a repository", fix=f"regsetup {command} {repository}")


class RawIsNoJson(UsageError):
    """``--raw`` and ``--json`` exclude each other."""

    code = "raw-is-no-json"

    def __init__(self) -> None:
        super().__init__("--raw gives exact bytes and --json an envelope: they exclude each other")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "catalog")(catalog)
    render.command(app, "tags")(tags)
    render.command(app, "manifest")(manifest)
    render.command(app, "exists")(exists)


@remote.reaching
def catalog(
    way: remote.Way,
    with_tags: Annotated[bool, typer.Option("--tags", help="List NAME:TAG of every repository.")] = False,
) -> render.Outcome:
    """List the repositories of a registry, one a line."""
    from regsetup.contents import listing

    with way.to() as reached:
        names = list((listing.askable if with_tags else listing.repositories)(reached.client))
        data = {"registry": reached.place.address, "repositories": names}
        if not with_tags:
            return render.Outcome(data, tuple(map(render.clean, names)))
        found = dict(listing.tags(reached.client, names))
    lines = tuple(render.clean(f"{name}:{tag}") for name, tags in found.items() for tag in tags)
    return render.Outcome(data | {"tags": {name: list(tags) for name, tags in found.items()}}, lines)


@remote.reaching
def tags(way: remote.Way, repository: remote.Repository) -> render.Outcome:
    """List the tags of a repository, one a line."""
    from regsetup.contents import inspection
    from regsetup.reference import Reference

    reference = Reference.parse(repository)
    if reference.tag or reference.digest:
        raise RepositoryWanted(
            repository, "tags", repository.partition("@")[0].removesuffix(f":{reference.tag}")
        )
    with way.to(reference) as reached:
        name = reached.repository(reference)
        found = inspection.tags(reached.client, name)
        data = {"registry": reached.place.address, "repository": name, "tags": list(found)}
    return render.Outcome(data, tuple(map(render.clean, found)))


@remote.reaching
def manifest(
    way: remote.Way,
    ref: remote.Ref,
    raw: Annotated[bool, typer.Option("--raw", help="Print its exact bytes, and nothing else.")] = False,
    platform: remote.Platform = None,
) -> render.Outcome:
    """Show the manifest of an image, its digest verified."""
    from regsetup.contents import inspection
    from regsetup.image.document import json_object

    if raw and render.style.json:
        raise RawIsNoJson
    with way.to_image(ref, platform) as found:
        content = found.manifest.content
    if raw:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return render.Outcome()
    shown = inspection.pretty(content)
    data: dict[str, Any] = {
        "ref": ref,
        "digest": str(found.manifest.digest),
        "media_type": found.manifest.media_type,
        "size": len(content),
    }
    if render.style.json:
        data["manifest"] = json_object(content, ref)
    return render.Outcome(data, (render.clean(shown),))


@remote.reaching
def exists(
    way: remote.Way,
    ref: remote.Ref,
    blob: Annotated[
        bool, typer.Option("--blob", help="NAME@DIGEST is a blob: a layer or a configuration.")
    ] = False,
) -> render.Outcome:
    """Tell whether an image is there, without fetching it; prints its digest.

    Exits with 3 if it is not there, with 1 if the registry can't be asked.
    """
    from regsetup.reference import Reference

    reference = Reference.parse(ref)
    if blob:
        return _blob_exists(way, ref, reference)
    with way.to(reference) as reached:
        target = reference.digest or reference.target
        found = reached.client.head_manifest(reached.repository(reference), target)
        address = reached.place.address
    if found is None:
        missing = NotThere(reference, address)
        return render.Outcome({"ref": ref, "exists": False}, code=missing.exit_code, errors=(missing,))
    data = {"digest": str(found.digest), "media_type": found.media_type, "size": found.size}
    return render.Outcome({"ref": ref, "exists": True, **data}, (str(found.digest),))


def _blob_exists(way: remote.Way, ref: str, reference: Reference) -> render.Outcome:
    if reference.digest is None:
        raise NoDigest(ref)
    with way.to(reference) as reached:
        size = reached.client.head_blob(reached.repository(reference), reference.digest)
        address = reached.place.address
    if size is None:
        missing = NotThere(reference, address)
        return render.Outcome({"ref": ref, "exists": False}, code=missing.exit_code, errors=(missing,))
    data = {"ref": ref, "exists": True, "digest": str(reference.digest), "size": size}
    return render.Outcome(data, (str(reference.digest),))
