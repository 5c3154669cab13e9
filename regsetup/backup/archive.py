"""Writes a backup as a stream: tar in zstd, each file hashed as it passes, the list of digests last.

One thread reads and hashes, another compresses and writes. Where layers are compressed already, as most are,
level 1 in that one thread notices it with half the work of level 3 on all processors.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from typing import TYPE_CHECKING, Self

from regsetup.backup.behind import WORTH_A_THREAD, Behind
from regsetup.backup.format import END, Digests, Listed, named_digest
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from regsetup.backup.survey import Blob

LEVEL = 3  # zstd's default
_LEVEL_PACKED = 1
_PACKED = 0.97  # of its size: what is compressed already becomes no smaller
_WRITE = 1 << 20  # bytes given to zstd and to the system at once; small files are gathered until then
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

    def __init__(self, out: BinaryIO, told: Callable[[int], None], *, packed: bool = False) -> None:
        import zstandard

        self.digests = Digests()
        self._out = out
        self._told = told
        self._behind = Behind()
        self._small = bytearray()
        level, threads = (_LEVEL_PACKED, 0) if packed else (LEVEL, os.cpu_count() or 1)
        compressor = zstandard.ZstdCompressor(level=level, threads=threads, write_checksum=True)
        self._stream = compressor.stream_writer(out, write_size=_WRITE, closefd=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._behind.__exit__()
        self._end()  # zstd's threads, too; a file that was given up is removed by its owner

    def add(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a small file."""
        self._put(header(path, len(content), mode))
        self._put(content)
        self._pad(len(content))
        self.digests.files[path] = Listed(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))

    def settle(self) -> None:
        """Have what was added so far in the file, so that its beginning can be told without its end."""
        import zstandard

        self._drain()
        self._stream.flush(zstandard.FLUSH_BLOCK)

    def add_blob(self, blob: Blob) -> None:
        """Add a blob; one that is not what its name says is noted as damaged.

        Raises:
            ChangedMeanwhile: it has not the length that it had.
        """
        named = named_digest(blob.path)
        hasher = hashlib.new(named.algorithm if named else "sha256")
        self._put(header(blob.path, blob.size, 0o644))
        done = 0
        for piece in blob.pieces:
            done += len(piece)
            if done > blob.size:
                break
            self._put(piece)
            hasher.update(piece)
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
        self._put(header(name, len(content), 0o644))
        self._put(content)
        self._pad(len(content))
        self._put(_PADDING * 2)  # POSIX.1-1988, "end-of-archive"
        self._drain()
        self._end()
        self._out.write(END)

    def _end(self) -> None:
        self._stream.close()  # type: ignore[no-untyped-call]

    def _pad(self, size: int) -> None:
        self._put(_PADDING[: -size % tarfile.BLOCKSIZE])

    def _put(self, piece: bytes | memoryview) -> None:
        """Hand over what comes next; a large piece must stay as it is until ``AHEAD`` more were put."""
        if len(piece) < WORTH_A_THREAD:
            self._small += piece
            if len(self._small) >= _WRITE:
                self._gathered()
            return
        self._gathered()
        self._behind.do(self._stream.write, piece)

    def _gathered(self) -> None:
        if self._small:
            self._behind.do(self._stream.write, bytes(self._small))
            self._small.clear()

    def _drain(self) -> None:
        self._gathered()
        self._behind.wait()


def is_packed(samples: Iterable[bytes | memoryview]) -> bool:
    """Tell whether all of the samples are compressed already; False if there are none."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL_PACKED)
    found = [len(compressor.compress(one)) > _PACKED * len(one) for one in samples]
    return bool(found) and all(found)


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
