"""Which image of a layout or archive is meant, and how it is to be pushed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.image import docker_archive, layout, skopeo_directory
from regsetup.image.archive import Archive
from regsetup.image.docker_archive import ArchiveImage
from regsetup.image.document import MAX_DOCUMENT, OCI_LAYER
from regsetup.image.files import Directory, NoImage, read_small
from regsetup.image.tree import Tree, check_platform, grow
from regsetup.reference import BadReference, Digest, Reference
from regsetup.transfer.push import push_archive, push_layout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from regsetup.image.files import Files
    from regsetup.image.platform import Platform
    from regsetup.transfer.push import Goal
    from regsetup.transfer.watch import Watch


class OtherDigest(RegsetupError):
    """The image has another digest than the reference asks for."""

    code = "other-digest"

    def __init__(self, wanted: Digest, got: Digest) -> None:
        super().__init__(
            f"the image has the digest {got}, not {wanted}",
            cause="a digest follows from the content; it can't be chosen",
            fix="leave the digest out of the reference",
        )


@dataclass(frozen=True, slots=True)
class Source:
    """One image of a layout or archive.

    Attributes:
        image: with manifests, or one of a docker-archive, which has none.
        names: all names of all images there.
    """

    files: Files
    image: Tree | ArchiveImage
    names: tuple[str, ...]

    def repositories(self, address: str) -> tuple[str, ...]:
        """Return the repositories of the registry ``address`` that the names speak of."""
        found = (_parsed(name) for name in self.names)
        return tuple(dict.fromkeys(one.repository for one in found if one and one.registry == address))

    def push(self, goal: Goal, reference: Reference, watch: Watch, *, compress: bool) -> tuple[Digest, bool]:
        """Push it; return its digest, and whether the tag leads elsewhere than before.

        Raises:
            OtherDigest: the reference has a digest, and the image another one.
        """
        target = reference.tag or (None if reference.digest else "latest")
        if isinstance(self.image, ArchiveImage):
            if reference.digest:
                raise NoImage(self.files.label, "its images have no digest before they are pushed")
            return push_archive(self.files, self.image, goal, target, watch, compress=compress)
        digest = self.image.root.part.digest
        if reference.digest not in {None, digest}:
            raise OtherDigest(reference.digest, digest)
        return digest, push_layout(self.files, self.image, goal, target, watch)


def opened(path: Path) -> Directory | Archive:
    """Open a directory or an archive; close it.

    Raises:
        CannotRead, NoImage, UnsafeArchive: see ``regsetup.image``.
    """
    return Directory(path) if path.is_dir() else Archive.at(path)


def choose(files: Files, wanted: str | None, platform: Platform | None, *, compress: bool) -> Source:
    """Find the image that is meant.

    What docker 25 and later save is a layout and a docker-archive at once. Its layers are plain tars: with
    ``compress`` it is taken as a docker-archive, so that they are; as a layout it keeps its digest. What
    ``regsetup pull`` writes is both, too, but its manifest came from a registry, and is kept.

    Args:
        wanted: its name or digest; None where there is one only.
        platform: what it is to run on; None for all that are there.

    Raises:
        NoImage: no layout and no docker-archive.
        NoSuchImage, NoSuchPlatform: it is not there.
        DamagedImage, BadManifest, OldSchema: it can't be read.
    """
    if skopeo_directory.is_directory(files):
        return _in_directory(skopeo_directory.SkopeoDirectory(files), wanted, platform)
    docker = docker_archive.entries(files) if files.size(docker_archive.MANIFEST) is not None else []
    if layout.is_layout(files):
        found = layout.images(files)
        names = [one.names for one in found]
        part = found[layout.pick(files.label, names, [str(one.part.digest) for one in found], wanted)].part
        tree = grow(part, lambda one: layout.read_document(files, one), files.label, platform)
        entry = _twin(docker, tree) if compress and layout.ORIGINAL not in part.annotations else None
        if entry is None or not _has_plain_layers(files, entry):
            _insist(files, tree, platform)
            return Source(files, tree, _all(names))
    elif not docker:
        raise NoImage(files.label, f"it has neither {layout.INDEX} nor {docker_archive.MANIFEST}")
    else:
        names = [docker_archive.names(one) for one in docker]
        entry = docker[layout.pick(files.label, names, [*map(docker_archive.identity, docker)], wanted)]
    image = docker_archive.read(files, entry)
    if platform:
        check_platform(image.config, platform, files.label)
    return Source(files, image, _all(names))


def _in_directory(
    files: skopeo_directory.SkopeoDirectory, wanted: str | None, platform: Platform | None
) -> Source:
    """Return the image of a directory that skopeo made; it has one, without a name."""
    layout.pick(files.label, [()], [str(files.root.digest)], wanted)
    tree = grow(files.root, lambda one: layout.read_document(files, one), files.label, platform)
    _insist(files, tree, platform)
    return Source(files, tree, ())


def _all(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(name for some in names for name in some)


def _twin(entries: list[dict[str, object]], tree: Tree) -> dict[str, object] | None:
    """Return the entry of ``manifest.json`` that is the same image: it has the same configuration."""
    blobs = tree.root.document.blobs
    config = layout.blob_name(blobs[0].digest) if blobs else ""
    return next((one for one in entries if one.get("Config") == config), None)


def _has_plain_layers(files: Files, entry: dict[str, object]) -> bool:
    image = docker_archive.read(files, entry)
    return any(docker_archive.layer_type(files, layer) == OCI_LAYER for layer in image.layers)


def _insist(files: Files, tree: Tree, platform: Platform | None) -> None:
    """Hold a single image to the platform."""
    if platform and tree.root.document.blobs:
        name = layout.blob_name(tree.root.document.blobs[0].digest)
        check_platform(read_small(files, name, MAX_DOCUMENT), platform, files.label)


def _parsed(name: str) -> Reference | None:
    try:
        return Reference.parse(name)
    except BadReference:
        return None
