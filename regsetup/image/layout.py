"""OCI image layouts: what images they hold, and their parts.

OCI image-spec 1.1, "Image Layout" and "Pre-Defined Annotation Keys"; in a directory or in an archive.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.errors import UsageError
from regsetup.image.document import MAX_DOCUMENT, BadManifest, Part, json_object, part
from regsetup.image.files import DamagedImage, NoImage, read_small
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regsetup.image.files import Files, Slice

MARK = "oci-layout"
INDEX = "index.json"
VERSION = "1.0.0"  # of the layout; image-spec, "oci-layout file"
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"  # what containerd, BuildKit and docker 25 write beside it
ORIGINAL = "io.regsetup.manifest.original"  # ours: the manifest came from a registry, and was not made here
CHUNK = 1 << 20  # bytes read at once


class NoSuchImage(UsageError):
    """``--image`` names nothing, or more than one thing, of what a layout or archive holds."""

    code = "no-such-image"

    def __init__(self, label: str, reason: str, there: Sequence[str]) -> None:
        super().__init__(
            f"{label}: {reason}",
            cause=f"it has {', '.join(there)}" if there else "it names none of its images",
            fix=f"--image {there[0]}" if there else None,
        )


@dataclass(frozen=True, slots=True)
class Named:
    """An image of a layout: its top, and the names it goes by there."""

    part: Part
    names: tuple[str, ...]


def blob_name(digest: Digest) -> str:
    """Return where a layout keeps content: ``blobs/sha256/...``."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def is_layout(files: Files) -> bool:
    """Tell whether there is an OCI layout."""
    return files.size(INDEX) is not None and files.size(MARK) is not None


def images(files: Files) -> tuple[Named, ...]:
    """Return the images of a layout, in its order.

    Raises:
        NoImage: no layout, or of another version.
        BadManifest: its index can't be read.
    """
    what = f"{files.label}: {MARK}"
    version = json_object(read_small(files, MARK, MAX_DOCUMENT), what).get("imageLayoutVersion")
    if not str(version).startswith("1."):
        raise NoImage(files.label, f"it is a layout of version {version!r}; 1.x is known")
    what = f"{files.label}: {INDEX}"
    entries = json_object(read_small(files, INDEX, MAX_DOCUMENT), what).get("manifests")
    if not isinstance(entries, list):
        raise BadManifest(what, "it has no list of manifests")
    return _by_digest(part(entry, what) for entry in entries)


def _by_digest(parts: Iterable[Part]) -> tuple[Named, ...]:
    """Put entries of one digest together: one image with several tags."""
    found: dict[Digest, Named] = {}
    for one in parts:
        known = found.get(one.digest, Named(one, ()))
        names = [one.annotations[key] for key in (FULL_NAME, REF_NAME) if one.annotations.get(key)]
        found[one.digest] = Named(known.part, tuple(dict.fromkeys((*known.names, *names))))
    return tuple(found.values())


def pick(label: str, names: Sequence[Sequence[str]], digests: Sequence[str], wanted: str | None) -> int:
    """Return which of several images is meant, each with its names; None means the only one.

    ``wanted`` is a whole name, the end of one after a ``/``, or a tag; without a tag it means ``latest``,
    or the only one. Or it is a digest, which is all that an image has that was saved by it.

    Args:
        label: what holds them, for messages.
        names: of each image.
        digests: of each image: that of its manifest, or the engine's ID; empty where it has none.

    Raises:
        NoSuchImage: none, or several.
    """
    there = [one[0] if one else digest for one, digest in zip(names, digests, strict=True) if one or digest]
    if wanted is None:
        if len(names) != 1:
            reason = f"it holds {len(names)} images; say which" if names else "it holds no image"
            raise NoSuchImage(label, reason, there)
        return 0
    if wanted in digests:
        return digests.index(wanted)
    for means in (_same, _ends, _latest, _any_tag):
        fits = [number for number, known in enumerate(names) if any(means(wanted, one) for one in known)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise NoSuchImage(label, f"{wanted!r} may be {len(fits)} of its images", there)
    raise NoSuchImage(label, f"it holds no image named {wanted!r}", there)


def _same(wanted: str, name: str) -> bool:
    return name == wanted


def _ends(wanted: str, name: str) -> bool:
    return name.endswith((f"/{wanted}", f":{wanted}"))


def _latest(wanted: str, name: str) -> bool:
    return name == f"{wanted}:latest" or name.endswith(f"/{wanted}:latest")


def _any_tag(wanted: str, name: str) -> bool:
    repository = name.rpartition(":")[0]
    return repository == wanted or repository.endswith(f"/{wanted}")


def open_part(files: Files, part: Part) -> Slice:
    """Open the content that a descriptor names; its length is compared, its digest is for who reads it.

    Raises:
        DamagedImage: it is missing, or has another length.
    """
    size = files.size(blob_name(part.digest))
    if size is None:
        raise DamagedImage(files.label, f"{part.digest} is missing")
    if size != part.size:
        raise DamagedImage(files.label, f"{part.digest} has {size} bytes, not {part.size}")
    return files.open(blob_name(part.digest))


def read_document(files: Files, part: Part) -> bytes:
    """Return a manifest or index, its digest verified.

    Raises:
        DamagedImage: it is missing, or not what its digest says.
    """
    if files.size(blob_name(part.digest)) is None:
        raise DamagedImage(files.label, f"{part.digest} is missing")
    content = read_small(files, blob_name(part.digest), MAX_DOCUMENT)
    if Digest.of(content, part.digest.algorithm) != part.digest:
        raise DamagedImage(files.label, f"{part.digest} is not what stands there")
    return content


def verify(files: Files, part: Part) -> None:
    """Read a blob and compare it with its digest.

    Raises:
        DamagedImage: they differ.
    """
    with open_part(files, part) as content:
        if digest_of(content, part.digest.algorithm) != part.digest:
            raise DamagedImage(files.label, f"{part.digest} is not what stands there")


def digest_of(content: Slice, algorithm: str = "sha256") -> Digest:
    """Hash an open file from its beginning, and go back there."""
    hasher = hashlib.new(algorithm)
    content.seek(0)
    while piece := content.read(CHUNK):
        hasher.update(piece)
    content.seek(0)
    return Digest(algorithm, hasher.hexdigest())
