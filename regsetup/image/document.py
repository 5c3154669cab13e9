"""What a manifest or an index says, read strictly: what is to be moved must be known to the last part.

OCI image-spec 1.1, "Image Manifest" and "Image Index"; Docker's schema 2 and manifest lists. Refuses
schema 1, which no layout can hold, and documents that are an index and a manifest at once (CVE-2021-41190).
A collector has other needs, see ``regsetup.manifest``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regsetup.errors import RegsetupError
from regsetup.image.platform import Platform
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
MAX_DOCUMENT = 4 << 20  # bytes; distribution-spec, "Pushing Manifests": registries take at least this
_OLD = "application/vnd.docker.distribution.manifest.v1+"


class BadManifest(RegsetupError):
    """A manifest or index that can't be moved: no JSON, without what it must have, or ambiguous."""

    code = "bad-manifest"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"{what} is no manifest or index that can be moved",
            cause=reason,
            fix="push the image again with a current client",
        )


class OldSchema(RegsetupError):
    """A schema 1 manifest: its layers have no sizes and its image no configuration to store."""

    code = "old-schema"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} has a manifest of schema 1",
            cause="its signature was verified, but neither an OCI layout nor a docker-archive can hold it, "
            "and registries take none any more",
            fix="convert it: docker pull it with an engine that still can, then regsetup push",
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One descriptor in a manifest or index: content by digest, its length in bytes, and what it is.

    Attributes:
        platform: of an entry of an index, where it says.
        elsewhere: a layer that need not be in a registry ("urls").
        annotations: text by name.
    """

    digest: Digest
    size: int
    media_type: str
    platform: Platform | None = None
    elsewhere: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_document(self) -> bool:
        """Whether it is a manifest or index itself."""
        return self.media_type in INDEXES | MANIFESTS or self.media_type.startswith(_OLD)

    def as_json(self) -> dict[str, Any]:
        """Return the descriptor as it stands in JSON."""
        fields: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        return fields | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index.

    Attributes:
        children: the manifests of an index; none in a manifest.
        blobs: configuration and layers of a manifest, in order; what in an index is no manifest.
        subject: what it is attached to.
    """

    media_type: str
    children: tuple[Part, ...] = ()
    blobs: tuple[Part, ...] = ()
    subject: Digest | None = None


def parse(content: bytes, media_type: str, what: str) -> Document:
    """Read a manifest or index; ``media_type`` is what its descriptor or header says, perhaps nothing.

    Raises:
        OldSchema: a manifest of schema 1.
        BadManifest: anything else that is no manifest or index; ``what`` names it in the message.
    """
    fields = json_object(content, what)
    media_type = _media_type(fields, media_type.partition(";")[0].strip(), what)
    if media_type in INDEXES:
        entries = _parts(fields.get("manifests"), what, "manifests")
        children = tuple(one for one in entries if one.is_document)
        others = tuple(one for one in entries if not one.is_document)
        return Document(media_type, children, others, _subject(fields, what))
    return Document(
        media_type,
        blobs=(
            part(fields.get("config"), f"the config of {what}"),
            *_parts(fields.get("layers"), what, "layers"),
        ),
        subject=_subject(fields, what),
    )


def _subject(fields: Mapping[str, Any], what: str) -> Digest | None:
    subject = fields.get("subject")
    return None if subject is None else part(subject, f"the subject of {what}").digest


def json_object(content: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadManifest: it is none.
    """
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadManifest(what, f"it is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadManifest(what, "it is no JSON object")
    return fields


def part(entry: object, what: str) -> Part:
    """Read a descriptor.

    Raises:
        BadManifest: it has no usable digest, size or media type.
    """
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    size, media_type, annotations = (fields.get(key) for key in ("size", "mediaType", "annotations"))
    try:
        digest = Digest.parse(str(fields.get("digest")))
    except BadReference as error:
        raise BadManifest(what, error.message) from error
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadManifest(what, f"{digest} has no usable size: {size!r}")
    if not isinstance(media_type, str):
        raise BadManifest(what, f"{digest} has no media type")
    texts = annotations if isinstance(annotations, dict) else {}
    return Part(
        digest,
        size,
        media_type,
        Platform.read(fields.get("platform")),
        bool(fields.get("urls")),
        {str(name): str(text) for name, text in texts.items()},
    )


def _parts(entries: object, what: str, key: str) -> tuple[Part, ...]:
    if entries is None:  # Go's nil slice
        return ()
    if not isinstance(entries, list):
        raise BadManifest(what, f"its {key} are no list")
    return tuple(part(entry, f"an entry of {key} of {what}") for entry in entries)


def _media_type(fields: Mapping[str, Any], said: str, what: str) -> str:
    """Return what it is, by its descriptor, by itself, and by its keys, which must not disagree."""
    if said.startswith(_OLD) or fields.get("schemaVersion") == 1:
        raise OldSchema(what)
    own = fields.get("mediaType")
    if "manifests" in fields and ("layers" in fields or "config" in fields):
        raise BadManifest(what, "it is an index and a manifest at once")
    guess = OCI_INDEX if "manifests" in fields else OCI_MANIFEST
    known = [one for one in (said, own) if isinstance(one, str) and one in INDEXES | MANIFESTS]
    if len(set(known)) > 1:
        raise BadManifest(what, f"it is said to be {said}, and says of itself {own}")
    media_type = known[0] if known else guess
    if (media_type in INDEXES) != ("manifests" in fields):
        raise BadManifest(what, f"it is said to be {media_type} and has no such keys")
    return media_type
