"""The tiny image that the proof pushes: valid, of no use, and like no other.

OCI image-spec 1.1. Every part holds 128 random bits, so that no digest of it was ever in any registry and
whatever has one of these digests is the proof's own.
"""

from __future__ import annotations

import gzip
import io
import json
import secrets
import tarfile
from dataclasses import dataclass

from regsetup.reference import Digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
PREFIX = "regsetup-check"  # first component of the repositories that proofs use


@dataclass(frozen=True, slots=True)
class TinyImage:
    """A repository of its own and the three parts of an image, about 700 bytes."""

    repository: str
    manifest: bytes
    config: bytes
    layer: bytes

    @property
    def blobs(self) -> tuple[bytes, bytes]:
        """Config and layer."""
        return self.config, self.layer

    @property
    def digest(self) -> Digest:
        """The manifest's."""
        return Digest.of(self.manifest)

    @property
    def digests(self) -> tuple[Digest, ...]:
        """Manifest, config and layer."""
        return self.digest, Digest.of(self.config), Digest.of(self.layer)


def make_image() -> TinyImage:
    """Return an image of one layer with one file in it."""
    mark = secrets.token_hex(16)
    tar = _tar(f"regsetup check {mark}\n".encode())
    layer = gzip.compress(tar, mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"regsetup.check": mark}},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar))]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer)],
        }
    )
    return TinyImage(f"{PREFIX}/{secrets.token_hex(8)}", manifest, config, layer)


def _tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("regsetup-check")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
