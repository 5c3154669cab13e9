"""Images going into an OCI layout: other images in it stay, what is there is not written again.

OCI image-spec 1.1, "Image Layout". A blob is written beside its final name and renamed when it is whole;
what an interrupted run leaves is ``.<digest>.partial``, which the next one completes. The index comes last.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from regsetup.errors import UsageError
from regsetup.host.files import CannotWrite, locked, remove_unfinished, sync_directory, write_atomic
from regsetup.image.document import MAX_DOCUMENT, OCI_INDEX, json_object
from regsetup.image.files import DamagedImage, Directory, read_small
from regsetup.image.layout import (
    CHUNK,
    FULL_NAME,
    INDEX,
    MARK,
    REF_NAME,
    VERSION,
    blob_name,
    images,
    is_layout,
    verify,
)
from regsetup.image.writing import check_space
from regsetup.writeout import STEP, WriteOut, forget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from regsetup.image.document import Part
    from regsetup.image.tree import Stored

_LOCK = ".regsetup.lock"
_OURS = re.compile(
    rf"blobs|{MARK}|{re.escape(_LOCK)}|\.({MARK}|{re.escape(INDEX)})\.[0-9a-f]+\.tmp"
)  # an unfinished pull


class NotALayout(UsageError):
    """A directory that holds something else."""

    code = "not-a-layout"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is a directory with other things in it, and no OCI layout",
            fix="name a new directory, an empty one or a layout; or a file: NAME.tar",
        )


@dataclass(frozen=True, slots=True)
class Label:
    """What an image is called in a layout: ``name`` with registry and tag, and the tag alone."""

    name: str
    tag: str

    @property
    def annotations(self) -> dict[str, str]:
        """As they stand in the index."""
        return {FULL_NAME: self.name, REF_NAME: self.tag}


class LayoutWriter:
    """An OCI layout that takes an image; use ``opened``."""

    def __init__(self, path: Path, label: Label | None) -> None:
        self._path = path
        self._label = label
        self._files = Directory(path)

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, label: Label | None, blobs: Iterable[Part] = (), *, timeout: float = 10.0
    ) -> Iterator[LayoutWriter]:
        """Make the directory if it is not there, and keep others from writing it meanwhile.

        Args:
            label: what the image is to be called; None for one that has no tag.
            blobs: what is to come, as far as it is known.
            timeout: seconds to wait for another one who writes there.

        Raises:
            NotALayout: there is something else.
            NoSpace: the disk has less room than what is missing of these blobs; nothing was made.
            CannotWrite: the directory can't be made or written.
            Locked: another one is writing.
        """
        check_space(path, _missing(Directory(path), blobs))
        try:
            path.mkdir(parents=True, exist_ok=True)
            ours = all(_OURS.fullmatch(one.name) for one in path.iterdir())
        except OSError as error:
            raise CannotWrite(path, error) from error
        writer = cls(path, label)
        if not ours and not is_layout(writer._files):
            raise NotALayout(path)
        with locked(path / _LOCK, timeout=timeout):
            for name in (MARK, INDEX):
                remove_unfinished(path / name)
            if writer._files.size(INDEX) is not None:
                images(writer._files)  # an index that can't be read is said before anything is fetched
            yield writer

    def has(self, part: Part) -> bool:
        """Tell whether the blob is there, whole and right."""
        if self._files.size(blob_name(part.digest)) != part.size:
            return False
        try:
            verify(self._files, part)
        except DamagedImage:
            return False
        return True

    @contextmanager
    def incoming(self, part: Part) -> Iterator[Growing]:
        """Open what is there of the blob; it stays where it is if the block fails."""
        final = self._path / blob_name(part.digest)
        partial = self._path / partial_name(blob_name(part.digest))
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CannotWrite(partial, error) from error
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            yield Growing(partial, final, file, part.size)

    def finish(self, documents: tuple[Stored, ...]) -> bool:
        """Write the manifests, then the index with the name: from then on the image is there.

        Returns:
            Whether the index is another one now.
        """
        for one in documents:
            path = self._path / blob_name(one.part.digest)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CannotWrite(path, error) from error
            remove_unfinished(path)
            write_atomic(path, one.content)
        try:
            for directory in {(self._path / blob_name(one.part.digest)).parent for one in documents}:
                sync_directory(directory)
        except OSError as error:
            raise CannotWrite(self._path, error) from error
        before = self._read_index()
        index = _with(before, documents[-1].part, self._label)
        if index != before:
            write_atomic(self._path / MARK, json.dumps({"imageLayoutVersion": VERSION}))
            write_atomic(self._path / INDEX, json.dumps(index, indent=2))
        return index != before

    def _read_index(self) -> dict[str, Any]:
        if self._files.size(INDEX) is None:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        return json_object(read_small(self._files, INDEX, MAX_DOCUMENT), f"{self._path}: {INDEX}")


def _missing(files: Directory, blobs: Iterable[Part]) -> int:
    """Return how many bytes are still to be written; an earlier run may have begun."""
    wanted = 0
    for blob in blobs:
        name = blob_name(blob.digest)
        there = files.size(name) or files.size(partial_name(name)) or 0
        wanted += max(blob.size - there, 0)
    return wanted


def partial_name(name: str) -> str:
    """Return where a blob stands until it is whole: ``blobs/sha256/.HEX.partial``."""
    directory, _, last = name.rpartition("/")
    return f"{directory}/.{last}.partial"


def _with(index: dict[str, Any], root: Part, label: Label | None) -> dict[str, Any]:
    """Return the index with the image in it; an older one of that name makes way, others stay."""
    wanted = index_entry(root) | ({"annotations": label.annotations} if label else {})
    if any(wanted.items() <= one.items() for one in index["manifests"]):
        return index
    return index | {"manifests": [*(one for one in index["manifests"] if not _makes_way(one, label)), wanted]}


def _makes_way(entry: dict[str, Any], label: Label | None) -> bool:
    known = entry.get("annotations") or {}
    if label is None:
        return False
    if known.get(FULL_NAME):
        return bool(known[FULL_NAME] == label.name)
    return bool(known.get(REF_NAME) == label.tag)


def index_entry(root: Part) -> dict[str, Any]:
    """Return a descriptor without annotations."""
    return {"mediaType": root.media_type, "digest": str(root.digest), "size": root.size}


class Growing:
    """A blob beside its final name."""

    def __init__(self, partial: Path, final: Path, file: BinaryIO, size: int) -> None:
        self._partial = partial
        self._final = final
        self._file = file
        self._size = size
        self._writeout = WriteOut(file.fileno(), 0, forget=True)

    def beginning(self) -> Iterator[bytes]:
        """Yield what an interrupted run left; what is longer than the blob is nothing of it."""
        try:
            if os.fstat(self._file.fileno()).st_size > self._size:
                self._file.truncate(0)
            while piece := self._file.read(CHUNK):
                yield piece
        except OSError as error:
            raise CannotWrite(self._partial, error) from error

    def write(self, piece: bytes) -> None:
        """Append."""
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
            self._writeout.reached(self._file.tell())
        except OSError as error:
            raise CannotWrite(self._partial, error) from error

    def restart(self) -> None:
        """Forget what was written."""
        try:
            self._file.seek(0)
            self._file.truncate(0)
        except OSError as error:
            raise CannotWrite(self._partial, error) from error

    def discard(self) -> None:
        """Remove it: it is not what it should be."""
        with suppress(FileNotFoundError):
            self._partial.unlink()

    def commit(self) -> None:
        """Put it under its final name, on the disk before that."""
        try:
            os.fsync(self._file.fileno())
            if self._size >= STEP:
                forget(self._file.fileno(), 0, 0)
            self._partial.replace(self._final)
        except OSError as error:
            raise CannotWrite(self._final, error) from error
