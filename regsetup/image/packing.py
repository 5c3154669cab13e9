"""Layers of a docker-archive on their way to a registry: compressed with gzip, or as they are."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from regsetup.host.files import CannotWrite
from regsetup.image.compression import UNREADABLE, decompressed
from regsetup.image.docker_archive import layer_type
from regsetup.image.document import OCI_LAYER, OCI_LAYER_GZIP, Part
from regsetup.image.files import DamagedImage
from regsetup.image.layout import CHUNK, digest_of
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.image.docker_archive import ArchiveLayer
    from regsetup.image.files import Files, Slice

LEVEL = 1  # the fastest that is worth it; a registry in the house is nearer than a smaller layer is worth
_GZIP = 31  # zlib.h, windowBits: the largest window, with a gzip header that has no time in it
_SAMPLE = 16 << 10  # bytes, of each piece
_DENSE = 0.97  # of its length: what a sample that no compression makes smaller has at least


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer as it goes to a registry: its descriptor and its bytes, which are there while a block lasts."""

    part: Part
    content: Slice | IO[bytes]


@contextmanager
def packed(
    files: Files, layer: ArchiveLayer, told: Callable[[int], None], *, compress: bool
) -> Iterator[Packed]:
    """Give a layer as it goes to a registry.

    Args:
        files: the archive that it is in.
        layer: the layer.
        told: is called with numbers of bytes read.
        compress: with gzip, if it is a plain tar; one that is compressed stays as it is.

    Raises:
        DamagedImage: the layer is not the one of the configuration, or can't be unpacked.
        CannotWrite: no space for the compressed layer.
    """
    kind = layer_type(files, layer)
    plain = kind == OCI_LAYER
    with files.open(layer.name) as content:
        if plain and compress:
            with tempfile.TemporaryFile() as file:
                yield Packed(_compress(files.label, layer, content, file, told), file)
            return
        digest = digest_of(content, layer.diff_id.algorithm if plain else "sha256")
        if (digest if plain else _unpacked(files.label, layer, content)) != layer.diff_id:
            raise DamagedImage(files.label, f"{layer.name} is not the layer {layer.diff_id}")
        told(layer.size)
        yield Packed(Part(digest, layer.size, kind), content)


def _unpacked(label: str, layer: ArchiveLayer, content: Slice) -> Digest:
    """Return the digest of what a compressed layer unpacks to, and go back to its beginning."""
    hasher = hashlib.new(layer.diff_id.algorithm)
    with decompressed(content) as plain:
        try:
            while piece := plain.read(CHUNK):
                hasher.update(piece)
        except UNREADABLE as error:
            raise DamagedImage(label, f"{layer.name} can't be decompressed to its end: {error}") from error
    content.seek(0)
    return Digest(layer.diff_id.algorithm, hasher.hexdigest())


def _compress(
    label: str, layer: ArchiveLayer, content: Slice, file: IO[bytes], told: Callable[[int], None]
) -> Part:
    """Fill a nameless file: the digest must be known before a registry is asked whether it has the layer."""
    plain, zipped = hashlib.new(layer.diff_id.algorithm), hashlib.sha256()
    size = 0
    try:
        for piece in iter(lambda: content.read(CHUNK), b""):
            plain.update(piece)
            made = _member(piece)
            zipped.update(made)
            size += file.write(made)
            told(len(piece))
        if not size:
            made = _member(b"")
            zipped.update(made)
            size = file.write(made)
        file.flush()
    except OSError as error:
        raise CannotWrite(Path(tempfile.gettempdir()), error) from error
    if plain.hexdigest() != layer.diff_id.hex:
        raise DamagedImage(label, f"{layer.name} is not the layer {layer.diff_id}")
    return Part(Digest("sha256", zipped.hexdigest()), size, OCI_LAYER_GZIP)


def _member(piece: bytes) -> bytes:
    """Return a whole gzip stream: several of them, one after the other, are one file (RFC 1952, 2.2)."""
    return _compressor()(piece)


@cache
def _compressor() -> Callable[[bytes], bytes]:
    """Return Intel's compressor, six times as fast as zlib's level 1 and as good, where there is one."""
    try:
        from isal import isal_zlib
    except ImportError:  # another processor than x86_64 and arm64, or installed without it
        return with_zlib
    return lambda piece: isal_zlib.compress(piece, LEVEL, wbits=_GZIP)


def with_zlib(piece: bytes) -> bytes:
    """Compress with what Python brings.

    What does not get smaller is stored as it is: trying takes ten times as long as not trying.
    """
    middle = len(piece) // 2
    sample = piece[middle : middle + _SAMPLE]
    dense = len(zlib.compress(sample, LEVEL)) > len(sample) * _DENSE
    return zlib.compress(piece, 0 if dense else LEVEL, wbits=_GZIP)
