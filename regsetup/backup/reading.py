"""Reads a backup and believes nothing of it: every path is checked before, every byte when it has passed.

Nothing of what is yielded may be used before the last of it has been: the list of digests comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.backup.format import (
    END,
    HEADER,
    OBJECTS,
    ZSTD_MAGIC,
    BackupCutOff,
    BackupDamaged,
    BackupUnreadable,
    BackupUnsafe,
    Digests,
    Header,
    Listed,
    NotABackup,
    is_digests,
    named_digest,
    object_path,
    why_unsafe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO, BinaryIO

_PIECE = 1 << 17  # bytes; what is larger malloc takes from the system each time, and gives back
_FEED = 1 << 14  # bytes given to zstd at once: what they become stays in memory
_WINDOW = 1 << 27  # bytes; zstd's own limit for what it opens unasked
_CHECKSUM = 4  # bytes; RFC 8878 section 3.1.1.1.2, Content_Checksum
_UNUSED = 0x10  # bit of the frame's descriptor that says nothing; RFC 8878 section 3.1.1.1.1.3
_HEADER_LIMIT = 1 << 20  # bytes; nothing of ours comes near
_SMALL_LIMIT = 16 << 20  # bytes of a file of settings
_LIST_LIMIT = 4 << 30  # bytes; a list of ten million files


@dataclass(slots=True)
class Entry:
    """A file of the backup; ``pieces`` are read once, before the next entry."""

    path: str
    mode: int
    size: int
    pieces: Iterator[bytes]


@dataclass(slots=True)
class Reader:
    """An opened backup.

    Attributes:
        seen: digest and size of what was read, by path.
        digests: the list, once everything was read.
    """

    path: Path
    header: Header
    tar: tarfile.TarFile
    body: Body
    seen: dict[str, Listed] = field(default_factory=dict)
    digests: Digests | None = None

    def each(self) -> Iterator[Entry]:
        """Yield every file, those beside the archive too, having compared all before with the list.

        Raises:
            BackupDamaged, BackupUnsafe: names the file.
        """
        yield from self._inside()
        if self.digests is None:
            raise AssertionError("the list was read, or an error raised")
        yield from self._beside(self.digests)

    def listed_only(self) -> Digests:
        """Read the archive, but not what lies beside it; return its list.

        Raises:
            BackupDamaged, BackupUnsafe: names the file.
        """
        for _ in self._inside():
            pass
        if self.digests is None:
            raise AssertionError("the list was read, or an error raised")
        return self.digests

    def _inside(self) -> Iterator[Entry]:
        last = HEADER
        listed: Digests | None = None
        while (found := self._next(last)) is not None:
            if listed is not None:
                raise BackupUnsafe(self.path, found.name, "it stands after the end")
            last = found.name
            if is_digests(found.name):
                listed = Digests.parse(found.name, self._whole(found, _LIST_LIMIT), self.path)
                continue
            self._refuse(found)
            yield from self._entry(found.name, found.mode, found.size, self._open(found))
        if listed is None:
            raise BackupDamaged(self.path, f"after {last}", "the rest can't be read")
        self._compare(listed)
        with self._named("its checksum"):
            self.body.finish()
        self.digests = listed

    def _next(self, last: str) -> tarfile.TarInfo | None:
        with self._named(f"after {last}"):
            return self.tar.next()

    def _refuse(self, found: tarfile.TarInfo) -> None:
        if not found.isreg():
            raise BackupUnsafe(self.path, found.name, "it is a link, a directory or a device, not a file")
        if reason := why_unsafe(found.name):
            raise BackupUnsafe(self.path, found.name, reason)
        if found.name in self.seen:
            raise BackupUnsafe(self.path, found.name, "it stands there twice")

    def _entry(self, path: str, mode: int, size: int, file: IO[bytes]) -> Iterator[Entry]:
        """Yield one file, and note what passed."""
        named = named_digest(path)
        hasher = hashlib.new(named.algorithm if named else "sha256")
        entry = Entry(path, mode, size, self._hashed(path, file, hasher))
        yield entry
        for _ in entry.pieces:  # what the caller did not want
            pass
        self.seen[path] = Listed(f"{hasher.name}:{hasher.hexdigest()}", size)

    def _hashed(self, path: str, file: IO[bytes], hasher: hashlib._Hash) -> Iterator[bytes]:
        with self._named(path):
            while piece := file.read(_PIECE):
                hasher.update(piece)
                yield piece

    def _open(self, found: tarfile.TarInfo) -> IO[bytes]:
        file = self.tar.extractfile(found)
        if file is None:
            raise AssertionError("regular files were sorted out before")
        return file

    def _whole(self, found: tarfile.TarInfo, limit: int) -> bytes:
        if not found.isreg() or found.size > limit:
            raise BackupUnsafe(self.path, found.name, "it is no file, or far too long")
        with self._named(found.name):
            return self._open(found).read()

    def _compare(self, listed: Digests) -> None:
        for path, one in self.seen.items():
            if listed.files.get(path) != one:
                there = listed.files.get(path)
                cause = f"its digest is {one.digest}, and was {there.digest}" if there else "it is not listed"
                raise BackupDamaged(self.path, path, cause)
        for path in listed.files.keys() - self.seen.keys():
            raise BackupDamaged(self.path, path, "it is missing")
        for path, one in (listed.files | listed.objects).items():
            named = named_digest(path)
            if named and str(named) != one.digest and listed.damaged.get(path) != one.digest:
                raise BackupUnsafe(self.path, path, "its name and its digest differ")

    def _beside(self, listed: Digests) -> Iterator[Entry]:
        """Yield the blobs that lie in the directory of backups."""
        base = self.path.parent.parent
        for path, one in listed.objects.items():
            named = named_digest(path)
            if named is None or why_unsafe(path) or path in self.seen:
                raise BackupUnsafe(self.path, path, "it is no blob")
            place = base / object_path(str(named))
            try:
                with place.open("rb") as file:
                    yield from self._entry(path, 0o644, one.size, file)
            except FileNotFoundError as error:
                inside = f"{OBJECTS} lacks {place.name}"
                raise BackupDamaged(base, inside, "it is missing", _heal(base)) from error
            except OSError as error:
                raise BackupUnreadable(place, error) from error
            if self.seen[path] != one or place.stat().st_size != one.size:
                inside = str(place.relative_to(base))
                raise BackupDamaged(base, inside, "its content has another digest", _heal(base))

    @contextlib.contextmanager
    def _named(self, inside: str) -> Iterator[None]:
        """Turn what tar, zstd and the disk say into an error that names the file."""
        import zstandard

        try:
            yield
        except (tarfile.TarError, zstandard.ZstdError, ValueError, EOFError) as error:
            raise BackupDamaged(self.path, inside, str(error)) from error
        except OSError as error:
            raise BackupUnreadable(self.path, error) from error


def _heal(base: Path) -> str:
    return f"regsetup backup {base} --verify, where the registry still has it, or take another copy"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a backup file and read its header.

    Raises:
        NotABackup, BackupTooNew, BackupCutOff, BackupDamaged, BackupUnreadable.
    """
    import zstandard

    try:
        file = path.open("rb")
    except OSError as error:
        raise BackupUnreadable(path, error) from error
    with file:
        end, whole = _end(path, file)
        body = Body(file, end)
        try:
            tar = tarfile.open(fileobj=body, mode="r|", bufsize=_PIECE)  # noqa: SIM115  closed below
            found = tar.next()
        except (tarfile.TarError, zstandard.ZstdError, ValueError, EOFError) as error:
            raise NotABackup(path, f"it is no tar archive in zstd: {error}") from error
        with tar:
            if found is None or found.name != HEADER or not found.isreg() or found.size > _HEADER_LIMIT:
                raise NotABackup(path, f"its first entry is not {HEADER}")
            header, listed = _header(path, tar, found)
            if not whole:
                raise BackupCutOff(path)
            yield Reader(path, header, tar, body, {HEADER: listed})


def _header(path: Path, tar: tarfile.TarFile, found: tarfile.TarInfo) -> tuple[Header, Listed]:
    import zstandard

    file = tar.extractfile(found)
    try:
        content = file.read() if file else b""
    except (tarfile.TarError, zstandard.ZstdError) as error:
        raise BackupDamaged(path, HEADER, str(error)) from error
    listed = Listed(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    return Header.parse(content, path), listed


def _end(path: Path, file: BinaryIO) -> tuple[int, bool]:
    """Return where the frame ends, and whether the mark behind it is there."""
    try:
        head = file.read(len(ZSTD_MAGIC) + 1)
        if head[:-1] != ZSTD_MAGIC or head[-1] & _UNUSED:
            raise NotABackup(path, "it is not compressed with zstd")
        size = file.seek(0, 2)
        file.seek(max(0, size - len(END)))
        whole = file.read() == END
        file.seek(0)
    except OSError as error:
        raise BackupUnreadable(path, error) from error
    return (size - len(END) if whole else size), whole


class Body(io.RawIOBase):
    """The archive inside of the zstd frame; the frame's checksum comes last, when files have been named."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        import zstandard

        self._file = file
        self._left = max(end - _CHECKSUM, 0)
        self._frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self._ready = bytearray()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, fewer at the end.

        Raises:
            zstandard.ZstdError: no zstd, or damaged.
        """
        while len(self._ready) < size and self._left:
            piece = self._file.read(min(_FEED, self._left))
            if not piece:
                break
            self._left -= len(piece)
            self._ready += self._frame.decompress(piece)
        found = bytes(self._ready[:size])
        del self._ready[:size]
        return found

    def finish(self) -> None:
        """Read what is left, and verify the checksum.

        Raises:
            ValueError, zstandard.ZstdError: something else stands there, or it is another checksum.
        """
        while piece := self.read(_PIECE):
            if piece.strip(b"\0"):
                raise ValueError("there is more behind the archive")
        rest = self._frame.decompress(self._file.read(_CHECKSUM))
        if rest or not self._frame.eof:
            raise ValueError("it does not end where it should")
