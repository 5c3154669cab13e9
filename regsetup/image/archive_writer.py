"""Images going into one tar file: an OCI layout, and for ``docker load`` a ``manifest.json`` beside it.

OCI image-spec 1.1, "Image Layout"; Docker, "Image Specification v1.2" (``manifest.json``), as docker
25 and later save both in one. Every length is known before the first byte, so all blobs are written at once,
each to its place; layers stay compressed as they are. The file gets its name when it is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tarfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from regsetup.host.files import CannotWrite, replaceable, sync_directory
from regsetup.image.docker_archive import MANIFEST
from regsetup.image.document import OCI_INDEX
from regsetup.image.layout import INDEX, MARK, ORIGINAL, VERSION, blob_name
from regsetup.image.layout_writer import index_entry
from regsetup.image.writing import check_space
from regsetup.writeout import STEP, WriteOut, forget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.image.document import Part
    from regsetup.image.layout_writer import Label
    from regsetup.image.tree import Stored, Tree

_BLOCK = tarfile.BLOCKSIZE


class ArchiveWriter:
    """A tar file that takes one image; use ``opened``."""

    def __init__(self, path: Path, descriptor: int, places: dict[str, tuple[int, int]]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._places = places

    @classmethod
    @contextmanager
    def opened(cls, path: Path, label: Label | None, tree: Tree, *, docker: bool) -> Iterator[ArchiveWriter]:
        """Begin the file; it takes its name when the block ends well, and nothing is left of it otherwise.

        Args:
            label: what the image is to be called.
            docker: add what ``docker load`` reads; ``tree`` is one image then.

        Raises:
            CannotWrite: the directory is missing or not writable, the disk is full, a device stands there.
            NoSpace: so it would be.
        """
        small = _small(label, tree, docker=docker)
        sizes = {name: len(content) for name, content in small.items()}
        sizes |= {blob_name(blob.digest): blob.size for blob in tree.blobs}
        try:
            target = replaceable(path)
            with _unfinished(target) as (temporary, descriptor):
                places = _headers(descriptor, sizes, target)
                writer = cls(path, descriptor, places)
                for name, content in small.items():
                    writer.write_at(places[name][0], content)
                yield writer
                os.fsync(descriptor)
                if tree.size >= STEP:
                    forget(descriptor, 0, 0)
                temporary.replace(target)
                sync_directory(target.parent)
        except OSError as error:
            raise CannotWrite(path, error) from error

    def has(self, part: Part) -> bool:  # noqa: ARG002  a file is written whole
        """Say no."""
        return False

    @contextmanager
    def incoming(self, part: Part) -> Iterator[Region]:
        """Give a blob's place."""
        yield Region(self, self._places[blob_name(part.digest)][0])

    def finish(self, documents: tuple[Stored, ...]) -> bool:  # noqa: ARG002  all but blobs was written first
        """Do nothing more; a file is always new."""
        return True

    def writeout(self, start: int) -> WriteOut:
        """Return what begins to put on disk what is written from there on."""
        return WriteOut(self._descriptor, start, forget=True)

    def write_at(self, offset: int, content: bytes) -> None:
        """Write there."""
        view = memoryview(content)
        try:
            while view:
                count = os.pwrite(self._descriptor, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise CannotWrite(self._path, error) from error


class Region:
    """The place of one blob."""

    def __init__(self, writer: ArchiveWriter, start: int) -> None:
        self._writer = writer
        self._start = self._at = start
        self._writeout = writer.writeout(start)

    def beginning(self) -> Iterator[bytes]:
        """Yield nothing: no earlier run left anything."""
        yield from ()

    def write(self, piece: bytes) -> None:
        """Append."""
        self._writer.write_at(self._at, piece)
        self._at += len(piece)
        self._writeout.reached(self._at)

    def restart(self) -> None:
        """Go back; what was written is written over."""
        self._at = self._start

    def discard(self) -> None:
        """Do nothing: the whole file goes."""

    def commit(self) -> None:
        """Do nothing: the whole file gets its name at once."""


def _small(label: Label | None, tree: Tree, *, docker: bool) -> dict[str, bytes]:
    """Return all members but the blobs."""
    annotations = (label.annotations if label else {}) | {ORIGINAL: "true"}
    entry = index_entry(tree.root.part) | {"annotations": annotations}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    members = {MARK: _json({"imageLayoutVersion": VERSION}), INDEX: _json(index)}
    if docker:
        config, *layers = (blob_name(blob.digest) for blob in tree.root.document.blobs)
        tags = [label.name] if label else None
        members[MANIFEST] = _json([{"Config": config, "RepoTags": tags, "Layers": layers}])
    return members | {blob_name(one.part.digest): one.content for one in tree.documents}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _headers(descriptor: int, sizes: dict[str, int], path: Path) -> dict[str, tuple[int, int]]:
    """Write every member's header where it belongs; return offset and length of what goes between."""
    places = {}
    headers = []
    at = 0
    for name, size in sizes.items():
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        header = info.tobuf(tarfile.GNU_FORMAT)  # which has room for lengths beyond 8 GiB
        headers.append((at, header))
        places[name] = (at + len(header), size)
        at += len(header) + -(-size // _BLOCK) * _BLOCK
    check_space(path.parent, at)
    for offset, header in headers:
        os.pwrite(descriptor, header, offset)
    os.ftruncate(descriptor, at + 2 * _BLOCK)  # what is not written is zero: padding, and the end of a tar
    return places


@contextmanager
def _unfinished(path: Path) -> Iterator[tuple[Path, int]]:
    """Make a file beside ``path`` under another name, gone when the block ends; remove those of the dead."""
    for old in path.parent.glob(f".{path.name}.*.unfinished"):
        _remove_if_dead(old)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.unfinished"
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary, descriptor
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
        os.close(descriptor)


def _remove_if_dead(path: Path) -> None:
    """Remove what a killed run left: nobody holds its lock."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
