"""Writes a backup as a stream: tar in zstd, each file hashed as it passes, the list of digests last.

Level 3 on all processors: layers are compressed already, which zstd notices in a moment.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from regsetup.backup.format import END, Digests, Listed, named_digest
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from regsetup.backup.survey import Blob

LEVEL = 3  # zstd's default
_WRITE = 1 << 20  # bytes given to the system at once
_WORTH_A_THREAD = 1 << 18  # bytes; below, handing it over costs more than it gains
_SIZE_LIMIT = 8 << 30  # bytes; what eleven octal digits can't say
_PADDING = bytes(tarfile.BLOCKSIZE)


class ChangedMeanwhile(RegsetupError):
    """A blob had another length than before: somebody writes to the registry's files."""

    code = "changed-meanwhile"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was read",
            cause="a registry never changes a blob; another program does",
            fix="find out what writes to the data directory, then regsetup backup again",
        )


class ArchiveWriter:
    """One archive on its way into ``out``; nothing is complete before ``finish``."""

    def __init__(self, out: BinaryIO, told: Callable[[int], None]) -> None:
        import zstandard

        self.digests = Digests()
        self.written = 0
        self._out = out
        self._beside = ThreadPoolExecutor(1, "regsetup-digest")
        self._told = told
        compressor = zstandard.ZstdCompressor(level=LEVEL, threads=os.cpu_count() or 1, write_checksum=True)
        self._stream = compressor.stream_writer(out, write_size=_WRITE, closefd=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.shutdown()
        self._end()  # zstd's threads, too; a file that was given up is removed by its owner

    def add(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a small file."""
        self._header(path, len(content), mode)
        self._stream.write(content)
        self._pad(len(content))
        self.digests.files[path] = Listed(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))

    def settle(self) -> None:
        """Have what was added so far in the file, so that its beginning can be told without its end."""
        import zstandard

        self._stream.flush(zstandard.FLUSH_BLOCK)

    def add_blob(self, blob: Blob) -> None:
        """Add a blob; one that is not what its name says is noted as damaged.

        Raises:
            ChangedMeanwhile: it has not the length that it had.
        """
        named = named_digest(blob.path)
        hasher = hashlib.new(named.algorithm if named else "sha256")
        self._header(blob.path, blob.size, 0o644)
        done = 0
        for piece in blob.pieces:
            done += len(piece)
            if done > blob.size:
                break
            if len(piece) < _WORTH_A_THREAD:
                hasher.update(piece)
                self._stream.write(piece)
            else:  # both let other threads run meanwhile
                hashed = self._beside.submit(hasher.update, piece)
                self._stream.write(piece)
                hashed.result()
            self._told(len(piece))
        if done != blob.size:
            raise ChangedMeanwhile(blob.path)
        self._pad(blob.size)
        found = f"{hasher.name}:{hasher.hexdigest()}"
        self.digests.files[blob.path] = Listed(found, blob.size)
        if found != str(named):
            self.digests.damaged[blob.path] = found

    def finish(self) -> None:
        """Write the list and the end."""
        name, content = self.digests.entry()
        self._header(name, len(content), 0o644)
        self._stream.write(content)
        self._pad(len(content))
        self._stream.write(_PADDING * 2)  # POSIX.1-1988, "end-of-archive"
        self._end()
        self._out.write(END)

    def _end(self) -> None:
        self._stream.close()  # type: ignore[no-untyped-call]

    def _header(self, path: str, size: int, mode: int) -> None:
        self._stream.write(header(path, size, mode))

    def _pad(self, size: int) -> None:
        self._stream.write(_PADDING[: -size % tarfile.BLOCKSIZE])


def header(path: str, size: int, mode: int) -> bytes:
    """Return a file's header: POSIX.1-1988 "ustar", a fifth of the time that ``tarfile`` takes for it.

    A name that does not fit, or a file of 8 GiB and more, gets an extended one from ``tarfile``.
    """
    at = 0 if len(path) <= 100 else path.find("/", len(path) - 101) + 1
    prefix, name = path[: max(at - 1, 0)].encode(), path[at:].encode()
    if size >= _SIZE_LIMIT or len(prefix) > 155 or not name or len(name) > 100:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = size, mode
        return entry.tobuf(tarfile.PAX_FORMAT)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0)
    first = name.ljust(100, b"\0") + numbers
    rest = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (0, 0) + prefix
    total = sum(first) + sum(rest) + 8 * 32  # the checksum counts as eight blanks
    return (first + b"%06o\0 " % total + rest).ljust(tarfile.BLOCKSIZE, b"\0")
