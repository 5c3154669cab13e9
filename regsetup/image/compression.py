"""Compressed files read as what they hold: gzip, bzip2, xz and zstd, told apart by their first bytes.

RFC 1952 and RFC 8878. Nothing is kept: who reads gets the next piece.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO, Any, cast

UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading ends with where a file is damaged or cut."""
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_ZSTD_PIECE = 2 << 10  # bytes read at once: zstd makes up to 32,768 of one, all at once


def decompressed(file: IO[bytes] | io.RawIOBase) -> IO[bytes]:
    """Return what ``file`` holds, from its beginning; the file itself where it is not compressed.

    Raises:
        OSError: its first bytes can't be read.
    """
    file.seek(0)
    head = file.read(6) or b""
    file.seek(0)
    source = cast("IO[bytes]", file)
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=source))
    if head.startswith(b"BZh"):
        return bz2.BZ2File(source)
    if head == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(source)
    if head.startswith(_ZSTD):
        return cast("IO[bytes]", _Zstd(source))
    return source


class _Zstd(io.RawIOBase):
    """What a file in zstd holds; frames may follow each other (RFC 8878, 3.1)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame: Any = None
        self._left = b""

    def read(self, _size: int = -1, /) -> bytes:
        """Read some bytes, none at the end.

        Raises:
            EOFError: it ends in the middle of a frame.
            OSError: it is damaged.
        """
        import zstandard

        while piece := self._left or self._file.read(_ZSTD_PIECE):
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                made: bytes = self._frame.decompress(piece)
            except zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            self._left = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
            if made:
                return made
        if self._frame is not None:
            raise EOFError("it ends in the middle of a zstd frame")
        return b""
