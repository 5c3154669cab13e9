"""Layers of a docker-archive on their way to a registry: compressed with gzip, or as they are."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from regsetup.host.files import CannotWrite
from regsetup.image.docker_archive import is_plain
from regsetup.image.document import DOCKER_LAYER, DOCKER_LAYER_GZIP, Part
from regsetup.image.files import DamagedImage
from regsetup.image.layout import CHUNK, digest_of
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.image.docker_archive import ArchiveLayer
    from regsetup.image.files import Files, Slice

LEVEL = 1  # of gzip: the fastest; a registry in the house is nearer than a smaller layer is worth
_GZIP = 31  # zlib.h, windowBits: the largest window, with a gzip header that has no time in it


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
        DamagedImage: the layer is not the one of the configuration.
        CannotWrite: no space for the compressed layer.
    """
    plain = is_plain(files, layer)
    with files.open(layer.name) as content:
        if plain and compress:
            with tempfile.TemporaryFile() as file:
                yield Packed(_compress(files.label, layer, content, file, told), file)
            return
        digest = digest_of(content, layer.diff_id.algorithm if plain else "sha256")
        if plain and digest != layer.diff_id:
            raise DamagedImage(files.label, f"{layer.name} is not the layer {layer.diff_id}")
        told(layer.size)
        yield Packed(Part(digest, layer.size, DOCKER_LAYER if plain else DOCKER_LAYER_GZIP), content)


def _compress(
    label: str, layer: ArchiveLayer, content: Slice, file: IO[bytes], told: Callable[[int], None]
) -> Part:
    """Fill a nameless file: the digest must be known before a registry is asked whether it has the layer."""
    plain, zipped = hashlib.new(layer.diff_id.algorithm), hashlib.sha256()
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    size = 0
    try:
        while piece := content.read(CHUNK):
            plain.update(piece)
            made = packer.compress(piece)
            zipped.update(made)
            size += file.write(made)
            told(len(piece))
        made = packer.flush()
        zipped.update(made)
        size += file.write(made)
        file.flush()
    except OSError as error:
        raise CannotWrite(Path(tempfile.gettempdir()), error) from error
    if plain.hexdigest() != layer.diff_id.hex:
        raise DamagedImage(label, f"{layer.name} is not the layer {layer.diff_id}")
    return Part(Digest("sha256", zipped.hexdigest()), size, DOCKER_LAYER_GZIP)
