"""Archives of ``docker save`` and its kin: ``manifest.json``, configurations, and layers that are plain tars.

Docker, "Image Specification v1.2", "Combined Image JSON + Filesystem Changeset Format"; written by docker,
podman, buildah, skopeo and crane. Its images have no manifest: one is made, of OCI's types.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.image.document import (
    MAX_DOCUMENT,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Part,
    json_object,
)
from regsetup.image.files import DamagedImage, NoImage, read_small
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.image.files import Files

MANIFEST = "manifest.json"
_COMPRESSED = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}  # RFC 1952, RFC 8878
_NAMELESS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True, slots=True)
class ArchiveLayer:
    """A layer: its file in the archive, and the digest that the configuration gives of its plain tar."""

    name: str
    size: int
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """An image of a docker-archive."""

    names: tuple[str, ...]
    config: bytes
    layers: tuple[ArchiveLayer, ...]

    @property
    def config_part(self) -> Part:
        """The configuration's descriptor."""
        return Part(Digest.of(self.config), len(self.config), OCI_CONFIG)

    def manifest(self, layers: Sequence[Part]) -> bytes:
        """Return a manifest of this image with these layers: OCI's, which all clients of today read."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.config_part.as_json(),
            "layers": [layer.as_json() for layer in layers],
        }
        return json.dumps(document, indent=3).encode()


def entries(files: Files) -> list[dict[str, object]]:
    """Return the images that ``manifest.json`` lists, as it lists them.

    Raises:
        NoImage: there is no such list.
    """
    content = read_small(files, MANIFEST, MAX_DOCUMENT)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoImage(files.label, f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise NoImage(files.label, f"{MANIFEST} is no list of images")
    return found


def names(entry: dict[str, object]) -> tuple[str, ...]:
    """Return the tags of an image, ``name:tag`` each."""
    tags = entry.get("RepoTags")
    return tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()


def identity(entry: dict[str, object]) -> str:
    """Return the ID that engines call an image by, the digest of its configuration; empty if it is not said.

    Every tool names the configuration by it: ``HEX.json``, or ``blobs/sha256/HEX``.
    """
    encoded = str(entry.get("Config")).rpartition("/")[2].removesuffix(".json").removeprefix("sha256:")
    try:
        return str(Digest.parse(f"sha256:{encoded}"))
    except BadReference:
        return ""


def read(files: Files, entry: dict[str, object]) -> ArchiveImage:
    """Read an image's configuration and find its layers.

    Raises:
        NoImage: something is missing from the archive.
        DamagedImage: configuration and layers are not those of one image.
    """
    config_name, layer_names = entry.get("Config"), entry.get("Layers")
    if not isinstance(config_name, str) or not isinstance(layer_names, list):
        raise NoImage(files.label, f"an image in {MANIFEST} has no Config and Layers")
    config = read_small(files, config_name, MAX_DOCUMENT)
    rootfs = json_object(config, f"{files.label}: {config_name}").get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layer_names):
        raise DamagedImage(files.label, f"{config_name} is not for {len(layer_names)} layers")
    layers = []
    for name, text in zip(layer_names, diff_ids, strict=True):
        size = files.size(str(name))
        if size is None:
            raise NoImage(files.label, f"it has no {name}")
        try:
            layers.append(ArchiveLayer(str(name), size, Digest.parse(str(text))))
        except BadReference as error:
            raise DamagedImage(files.label, f"{config_name}: {error.message}") from error
    return ArchiveImage(names(entry), config, tuple(layers))


def layer_type(files: Files, layer: ArchiveLayer) -> str:
    """Return a layer's media type, by its first bytes: a plain tar, or one in gzip or zstd.

    Raises:
        NoImage: it is compressed with what manifests know no name for.
    """
    with files.open(layer.name) as content:
        head = content.read(6)
    for magic, name in _NAMELESS.items():
        if head.startswith(magic):
            raise NoImage(files.label, f"{layer.name} is compressed with {name}")
    return next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), OCI_LAYER)
