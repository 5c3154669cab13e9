"""Tar archives as files by name: nothing is unpacked, a member is read where it lies.

POSIX.1-2001 ustar and pax, GNU. Compressed ones (gzip, bzip2, xz, zstd) go into a nameless file first.
Refused: names and links that lead outside, two members of one name (tools read different ones),
devices, sparse members.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Self, cast

from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite
from regsetup.image.compression import UNREADABLE, decompressed
from regsetup.image.files import CannotRead, DamagedImage, NoImage, Slice

if TYPE_CHECKING:
    from types import TracebackType

CHUNK = 1 << 20  # bytes read at once
_HEADER = 1 << 20  # bytes; no header of an image's archive is longer
_MEMBERS = 100_000


class UnsafeArchive(RegsetupError):
    """An archive that no honest tool makes: names that lead outside, two files of one name, devices."""

    code = "unsafe-archive"

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"{label} is refused: {reason}",
            cause="no tool that saves images writes such an archive",
            fix="ask where it comes from; make it again with docker save, podman save or regsetup pull",
        )


class Archive:
    """A tar archive's regular files by name; a context manager."""

    def __init__(self, label: str, file: IO[bytes]) -> None:
        """Read the names of all members; ``file`` is a plain tar, and is closed with this.

        Raises:
            NoImage: no tar.
            UnsafeArchive: see the module.
        """
        self._label = label
        self._file = file
        try:
            self._places, self._links = _index(label, file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open the archive at ``path``, compressed or not.

        Raises:
            CannotRead: it is not there, or may not be read.
            CannotWrite: no space to decompress it.
        """
        try:
            file = path.open("rb")
        except OSError as error:
            raise CannotRead(path, error) from error
        if file.seekable():
            return cls(str(path), _plain(str(path), file))
        with file:  # a pipe with a name
            return cls.stream(str(path), file)

    @classmethod
    def stream(cls, label: str, stream: IO[bytes]) -> Self:
        """Read an archive that comes on a pipe, compressed or not.

        Raises:
            CannotWrite: no space to keep it meanwhile.
        """
        return cls(label, _plain(label, _spooled(label, stream)))

    @property
    def label(self) -> str:
        """Its path."""
        return self._label

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def size(self, name: str) -> int | None:
        """Return a member's length in bytes, None where there is no such file."""
        place = self._find(name)
        return place[1] if place else None

    def open(self, name: str) -> Slice:
        """Open a member."""
        place = self._find(name)
        if place is None:
            raise NoImage(self._label, f"it has no {name}")
        return Slice(f"{self._label}: {name}", self._file.fileno(), *place)

    def _find(self, name: str) -> tuple[int, int] | None:
        """Return offset and length; one link is followed, as ``docker save`` makes them."""
        name = posixpath.normpath(name)
        return self._places.get(self._links.get(name, name))


class _Frugal:
    """What tarfile reads headers from: a header that wants megabytes is refused before they are read."""

    def __init__(self, label: str, file: IO[bytes]) -> None:
        self._label = label
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise UnsafeArchive(self._label, f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _index(label: str, file: IO[bytes]) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Return offset and length by name, and links by name."""
    places: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=cast("BinaryIO", _Frugal(label, file)), mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= _MEMBERS:
                    raise UnsafeArchive(label, f"it has more than {_MEMBERS} members")
                name = _inside(label, member.name)
                if member.isdir():
                    continue
                if name in places or name in links:
                    raise UnsafeArchive(label, f"it has two files named {name!r}")
                if member.issym() or member.islnk():
                    links[name] = _link(label, name, member)
                elif member.isreg() and not member.issparse():
                    if member.offset_data + member.size > end:
                        raise DamagedImage(label, f"it ends in the middle of {name}")
                    places[name] = (member.offset_data, member.size)
                else:
                    raise UnsafeArchive(label, f"{name!r} is neither file, directory nor link")
                tar.members.clear()  # type: ignore[attr-defined]  # what was read needs not be kept
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise NoImage(label, f"it is no tar archive: {error}") from error
    except OSError as error:
        raise CannotRead(label, error) from error
    return places, links


def _inside(label: str, name: str) -> str:
    """Return the name without ``./`` and the like.

    Raises:
        UnsafeArchive: it leads outside.
    """
    clean = posixpath.normpath(name)
    if name.startswith("/") or clean == ".." or clean.startswith("../") or "\0" in name:
        raise UnsafeArchive(label, f"{name!r} leads outside of it")
    return clean


def _link(label: str, name: str, member: tarfile.TarInfo) -> str:
    """Return what a link means: hard links count from the top, symbolic ones from their place."""
    if member.islnk():
        return _inside(label, member.linkname)
    if member.linkname.startswith("/"):
        raise UnsafeArchive(label, f"{name!r} links to {member.linkname!r}, which is outside of it")
    return _inside(label, posixpath.join(posixpath.dirname(name), member.linkname))


def _plain(label: str, file: IO[bytes]) -> IO[bytes]:
    """Return a file with the plain tar: itself, or decompressed into a nameless one."""
    try:
        opened = decompressed(file)
    except OSError as error:
        file.close()
        raise CannotRead(label, error) from error
    if opened is file:
        return file
    with file, opened:
        return _spooled(label, opened)


def _spooled(label: str, stream: IO[bytes]) -> IO[bytes]:
    """Copy a stream into a file without a name, so that nothing is left whatever happens."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115  closed by who gets it
    try:
        while True:
            try:
                piece = stream.read(CHUNK)
            except UNREADABLE as error:
                raise DamagedImage(label, f"it can't be decompressed or read to its end: {error}") from error
            if not piece:
                break
            try:
                kept.write(piece)
            except OSError as error:
                raise CannotWrite(Path(tempfile.gettempdir()), error) from error
        kept.seek(0)
    except BaseException:
        kept.close()
        raise
    return kept
