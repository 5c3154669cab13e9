"""Where a registry's data are read from: its directory, or its container where this user may not enter it."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from regsetup.backends.container import DATA
from regsetup.backup.format import blob_path
from regsetup.backup.survey import PIECE, Blob, DataUnreadable, DirectorySource
from regsetup.deployment import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import IO

    from regsetup.backends.choice import Choice
    from regsetup.backup.survey import Part, Source
    from regsetup.deployment import Deployment
    from regsetup.reference import Digest

    Stream = Callable[[str], Iterator[bytes]]

_TREE = "docker/registry/v2"


def source(wanted: Deployment, choice: Choice) -> Source:
    """Return the directory if this process can read it, else what the engine shows of the container.

    Raises:
        DataUnreadable: neither.
    """
    place = _place(wanted, choice)
    if place is not None and _readable(place):
        return DirectorySource(place)
    if choice.engine is None:
        raise DataUnreadable(str(place), "this user may not read it")
    if choice.runtime.current() is None:
        raise DataUnreadable(str(wanted.storage), "this user may not read it, and there is no container")
    from regsetup.backends import volumes

    engine, name = choice.engine, wanted.name
    return ContainerSource(lambda path: volumes.read(engine, name, f"{DATA}/{path}"))


def _place(wanted: Deployment, choice: Choice) -> Path | None:
    if isinstance(wanted.storage, Directory):
        return wanted.storage.path
    from regsetup.backends import volumes

    return volumes.mountpoint(choice.docker(), wanted.storage.name)


def _readable(place: Path) -> bool:
    """Tell whether the tree can be read; a registry makes all of it with one user's rights."""
    blobs = place / _TREE / "blobs"
    for one in (place, place / "docker", place / _TREE, blobs):
        if not os.access(one, os.R_OK | os.X_OK) and _exists(one):
            return False
    data = next(blobs.glob("*/*/*/data"), None)
    return data is None or os.access(data, os.R_OK)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True


@dataclass(frozen=True, slots=True)
class ContainerSource:
    """A data directory as the engine shows it; ``stream`` gives a path below it as a tar archive."""

    stream: Stream

    def links(self, part: Part) -> Iterator[tuple[str, bytes]]:
        """See ``Source.links``; the engine walks by name, so each part is asked for by itself."""
        for name, file, _ in self._files(f"{_TREE}/repositories"):
            inside = name.partition("/")[2]
            at = inside.find("/_")
            if at >= 0 and part.value.fullmatch(inside[at + 1 :]):
                yield inside, b"".join(_pieces(name, file))

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int] | None:  # noqa: ARG002  not asked one by one
        """See ``Source.sizes``."""
        return None

    def blobs(self, digests: frozenset[Digest]) -> Iterator[Blob]:
        """See ``Source.blobs``."""
        wanted = {blob_path(digest).rpartition("/v2/")[2]: blob_path(digest) for digest in digests}
        for name, file, size in self._files(f"{_TREE}/blobs"):
            if name in wanted:
                yield Blob(wanted[name], size, _pieces(name, file))

    def extra(self) -> bytes | None:
        """See ``Source.extra``."""
        for name, file, _ in self._files("scheduler-state.json"):
            return b"".join(_pieces(name, file))
        return None

    def _files(self, path: str) -> Iterator[tuple[str, IO[bytes], int]]:
        pieces = self.stream(path)
        first = next(pieces, None)
        if first is None:
            return
        try:
            with tarfile.open(
                fileobj=_Joined(first, pieces), mode="r|", bufsize=PIECE, tarinfo=_Strict
            ) as tar:
                for found in tar:
                    if found.isreg() and (file := tar.extractfile(found)):
                        yield found.name, file, found.size
        except tarfile.TarError as error:
            raise _TooEarly(path, error) from error


def _pieces(path: str, file: IO[bytes]) -> Iterator[bytes]:
    try:
        while piece := file.read(PIECE):
            yield piece
    except tarfile.TarError as error:
        raise _TooEarly(path, error) from error


class _TooEarly(DataUnreadable):
    """The engine's answer ended in the middle."""

    def __init__(self, path: str, error: tarfile.TarError) -> None:
        super().__init__(path, f"what the engine sent ended too early: {error}")


class _Strict(tarfile.TarInfo):
    """A header that must be whole; ``tarfile`` takes a damaged or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header.

        Raises:
            tarfile.ReadError: it is cut, or none.
        """
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no mark of the end")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(b"\0") == tarfile.BLOCKSIZE:
                raise  # the mark of the end
            raise tarfile.ReadError(str(error)) from error


class _Joined(io.RawIOBase):
    """Pieces as one file."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._left = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while missing > 0:
            self._left = self._left or next(self._rest, b"")
            if not self._left:
                break
            parts.append(self._left[:missing])
            missing -= len(parts[-1])
            self._left = self._left[len(parts[-1]) :]
        return b"".join(parts)
