"""``regsetup pull``: an image out of a registry into a directory or a file."""

from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import moving, remote, render
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.image.layout_writer import Label
    from regsetup.image.tree import Tree
    from regsetup.image.writing import Target
    from regsetup.reference import Reference

_COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")


class Format(enum.StrEnum):
    """How an image is written."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


class BadTarget(UsageError):
    """Where to pull to is no directory and no file of a kind that is written."""

    code = "bad-target"

    def __init__(self, text: str, reason: str, fix: str) -> None:
        super().__init__(f"can't pull to {text}: {reason}", fix=fix)


class PullStopped(RegsetupError):
    """Ctrl-C while an image came into a directory, which keeps what came."""

    code = "interrupted"

    def __init__(self, target: Path) -> None:
        super().__init__(
            f"interrupted; what came is kept in {target}", fix="the same command again goes on there"
        )


class NotForDocker(RegsetupError):
    """Nothing that ``docker load`` could take: a chart, a signature, or an image with layers elsewhere."""

    code = "not-for-docker"

    def __init__(self, ref: str, reason: str) -> None:
        super().__init__(
            f"{ref} is no image that an engine could load",
            cause=reason,
            fix="--format oci-archive, or name a directory",
        )


class NewEnginesOnly(RegsetupError):
    """Layers in zstd, which engines before Docker 23 can't unpack."""

    code = "new-engines-only"

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"{ref} has layers in zstd: docker load needs Docker 23 or later for them",
            cause='older engines, such as Debian 12\'s 20.10, say "invalid tar header"',
            fix="podman load and ctr image import take it; for older engines build it with gzip layers",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "pull")(pull)


@remote.reaching
def pull(
    way: remote.Way,
    ref: remote.Ref,
    target: Annotated[str, typer.Argument(metavar="DIR|FILE.tar", help="Where to.", show_default=False)],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="oci: a directory; oci-archive: the same in a file; docker-archive: a file for docker load "
            "(default for *.tar).",
            show_default=False,
        ),
    ] = None,
    platform: moving.PlatformOption = None,
) -> render.Outcome:
    """Fetch an image into an OCI layout (DIR) or an archive for docker load (FILE.tar).

    Every digest is verified. A directory keeps other images, is not given again what it has, and a
    pull that was interrupted goes on. A docker-archive has one platform: this machine's, by default.

    Example: regsetup pull localhost:5000/app:1 app.tar
    """
    from regsetup.image.platform import here
    from regsetup.reference import Reference
    from regsetup.transfer.pull import pull as work
    from regsetup.transfer.remote_image import insist, survey
    from regsetup.transfer.watch import Watch

    reference, form = Reference.parse(ref), _format(target, form)
    only = moving.wanted_platform(platform)
    with way.to(reference, moving.TIMEOUT) as reached, moving.bars() as audience:
        watch, repository = Watch(audience), reached.repository(reference)
        what = reference.digest or reference.tag or "latest"
        docker = form is Format.DOCKER_ARCHIVE
        tree = survey(reached.client, repository, what, only or (here() if docker else None))
        if only:
            insist(reached.client, repository, tree, only)
        label = _label(reached.place.address, repository, reference)
        with _opened(Path(target), form, ref, label, tree) as writer, _kept(Path(target), form):
            changed = work(reached.client, repository, tree, writer, watch)
    root = tree.root.part
    zstd = docker and any(blob.media_type.endswith("zstd") for blob in tree.blobs)
    warned = (NewEnginesOnly(ref),) if zstd else ()
    data = {
        "ref": ref,
        "image": label.name if label else None,
        "digest": str(root.digest),
        "media_type": root.media_type,
        "platforms": [str(one) for one in tree.platforms],
        "target": target,
        "format": str(form),
        "warnings": [one.as_dict() for one in warned],
        **moving.facts(watch),
    }
    lines = (f"{root.digest}", f"{moving.told(watch, 'fetched')}: {target} ({form})")
    return render.Outcome(data, lines, changed=changed, warnings=warned)


def _format(target: str, wanted: Format | None) -> Format:
    """Return how to write, by ``--format`` or by what the target looks like."""
    path = Path(target)
    if not target:
        raise BadTarget("''", "it is no name", "name a directory, or FILE.tar")
    if target == "-":
        raise BadTarget(
            target,
            "layers are written side by side, not one after the other",
            "FILE.tar, or ./- for a directory",
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadTarget(target, "it is a device, a pipe or a socket", "FILE.tar, or a directory")
    if wanted in {Format.OCI_ARCHIVE, Format.DOCKER_ARCHIVE} and (path.is_dir() or target.endswith("/")):
        raise BadTarget(target, "it is a directory", f"{target.rstrip('/')}/image.tar, or --format oci")
    if wanted is Format.OCI and path.exists() and not path.is_dir():
        raise BadTarget(target, "it is a file", "--format oci-archive")
    if wanted:
        return wanted
    if path.is_dir() or target.endswith("/"):
        return Format.OCI
    if target.lower().endswith(_COMPRESSED):
        raise BadTarget(target, "layers are compressed already", "name it FILE.tar")
    if target.lower().endswith(".tar"):
        return Format.DOCKER_ARCHIVE
    if path.exists():
        raise BadTarget(target, "it is a file", "a directory, or FILE.tar, or --format docker-archive")
    return Format.OCI


def _label(address: str, repository: str, reference: Reference) -> Label | None:
    """Return what the image is called where it goes; one that was asked for by digest has no name."""
    from regsetup.image.layout_writer import Label

    if reference.digest and not reference.tag:
        return None
    tag = reference.tag or "latest"
    return Label(f"{address}/{repository}:{tag}", tag)


@contextlib.contextmanager
def _opened(path: Path, form: Format, ref: str, label: Label | None, tree: Tree) -> Iterator[Target]:
    from regsetup.image.archive_writer import ArchiveWriter
    from regsetup.image.document import DOCKER_CONFIG, OCI_CONFIG
    from regsetup.image.layout_writer import LayoutWriter

    if form is Format.OCI:
        with LayoutWriter.opened(path, label, tree.blobs) as directory:
            yield directory
        return
    docker = form is Format.DOCKER_ARCHIVE
    if docker and (kind := _config_type(tree)) not in {DOCKER_CONFIG, OCI_CONFIG}:
        raise NotForDocker(ref, f"its configuration is {kind}")
    if docker and not set(tree.root.document.blobs) <= set(tree.blobs):
        raise NotForDocker(ref, "it has layers that the registry does not have: they lie elsewhere")
    with ArchiveWriter.opened(path, label, tree, docker=docker) as file:
        yield file


@contextlib.contextmanager
def _kept(path: Path, form: Format) -> Iterator[None]:
    """Say at Ctrl-C that a directory keeps what came; an archive is not there before it is whole."""
    try:
        yield
    except KeyboardInterrupt:
        if form is not Format.OCI:
            raise
        raise PullStopped(path) from None


def _config_type(tree: Tree) -> str:
    blobs = tree.root.document.blobs
    return blobs[0].media_type if blobs else "missing"
