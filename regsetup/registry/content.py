"""What is in a manifest: its type, what it refers to, and whether this registry stores it.

OCI image-spec 1.1 "manifest" and "image-index", Docker's image manifest version 2 schema 2. Bytes in, values
out; the bytes are never changed. Schema 1 is refused: its digest is not that of its bytes.

What is taken is read strictly, as Go's encoding/json reads it into distribution's types: one manifest that
this can't read ends registry:2's whole garbage collection, and one that it reads as something else hides
layers from a collector.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from regsetup.reference import BadReference, Digest
from regsetup.registry.errors import ManifestInvalid

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
IMAGES = frozenset({OCI_IMAGE, DOCKER_IMAGE})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
# Layers that a registry need not have: image-spec 1.1 "Non-distributable layers", Docker's foreign ones.
_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)
UNKNOWN = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")  # RFC 6838 4.2
_UNTYPED = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
_MAX_SIZE = (1 << 63) - 1  # bytes; int64 of distribution's Descriptor


def _fields(*names: str) -> dict[str, str]:
    """Return names by what Go takes for the same: it fills a field from a key in any case."""
    return {name.casefold(): name for name in names}


_OF_MANIFEST = _fields(
    "schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations"
)
_OF_DESCRIPTOR = _fields("mediaType", "digest", "size", "urls", "annotations", "platform")
_OF_PLATFORM = _fields(
    *(_PLATFORM_TEXTS := ("architecture", "os", "os.version", "variant")),
    *(_PLATFORM_LISTS := ("os.features", "features")),
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a manifest says.

    Attributes:
        media_type: what it is served as.
        blobs: config and layers, in this order.
        children: manifests of an index.
        subject: what it is attached to.
        artifact_type: its own, or the config's type; what referrers are filtered by.
    """

    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)


def parse(content: bytes, content_type: str = "") -> Content:
    """Read a manifest that was sent with a Content-Type header.

    Raises:
        ManifestInvalid: says what is wrong with it.
    """
    document = _checked(content)
    media_type = _agree(_media_type(document), content_type.partition(";")[0].strip().lower(), document)
    if media_type in INDEXES:
        if "config" in document or "layers" in document:
            raise ManifestInvalid("an index can't have config or layers")  # GHSA-mc8v-mgrf-8f4m
        return Content(
            media_type,
            children=tuple(_descriptor(entry, "manifests") for entry in _list(document, "manifests")),
            subject=_subject(document),
            artifact_type=_text(document, "artifactType"),
            annotations=_annotations(document),
        )
    if "manifests" in document:
        raise ManifestInvalid("an image manifest can't have manifests")  # GHSA-mc8v-mgrf-8f4m
    config = _descriptor(document.get("config"), "config")
    layers = (_descriptor(entry, "layers") for entry in _list(document, "layers"))
    return Content(
        media_type,
        blobs=(config, *layers),
        subject=_subject(document),
        artifact_type=_text(document, "artifactType") or config.media_type,
        annotations=_annotations(document),
    )


def media_type_of(content: bytes) -> str:
    """Return what stored bytes are served as, also such as this registry would not take."""
    try:
        document = _document(content)
    except ManifestInvalid:
        return UNKNOWN
    if document.get("schemaVersion") == 1:
        return DOCKER_SCHEMA1_SIGNED if "signatures" in document else DOCKER_SCHEMA1
    stated = document.get("mediaType")
    if not stated:
        return _guess(document)
    return stated if isinstance(stated, str) and _MEDIA_TYPE.fullmatch(stated) else UNKNOWN


def subject_of(content: bytes) -> Digest | None:
    """Return the digest of a stored manifest's subject."""
    try:
        subject = _subject(_document(content))
    except ManifestInvalid:
        return None
    return subject.digest if subject else None


def _document(content: bytes) -> dict[str, object]:
    """Read stored bytes, leniently."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"manifest is not JSON: {error}") from None
    return _object(document)


def _checked(content: bytes) -> dict[str, object]:
    """Read bytes that were sent, strictly: RFC 8259 in UTF-8, each name once, ``schemaVersion`` 2."""
    try:
        document = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"manifest is not JSON: {error}") from None
    document = _object(document)
    if document.get("schemaVersion") == 1:
        raise ManifestInvalid(
            "schema 1 manifests are not supported: push the image again with a client from after 2016"
        )
    _check_spelling(document, _OF_MANIFEST)
    return document


def _object(document: object) -> dict[str, object]:
    if not isinstance(document, dict):
        raise ManifestInvalid("manifest is not a JSON object")
    return document


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ManifestInvalid("an object has a name twice")
    return found


def _no_number(text: str) -> object:
    raise ManifestInvalid(f"manifest is not JSON: {text} is no number")


def _check_spelling(value: dict[str, object], fields: dict[str, str]) -> None:
    for name in value:
        right = fields.get(name.casefold(), name)
        if name != right:
            raise ManifestInvalid(f"{name!a} is spelled {right}")


def _agree(stated: str, header: str, document: dict[str, object]) -> str:
    """Return the one type that body and Content-Type header mean."""
    if header in {DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED} or stated in {DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED}:
        raise ManifestInvalid("schema 1 manifests are not supported")
    version = document.get("schemaVersion")
    if version != 2 or not isinstance(version, int):
        raise ManifestInvalid("schemaVersion is not 2")
    header = "" if header in _UNTYPED else header
    if stated and header and stated != header:
        raise ManifestInvalid(f"mediaType is {stated} but Content-Type is {header}")
    media_type = stated or header or _guess(document)
    if media_type not in IMAGES | INDEXES:
        raise ManifestInvalid(f"manifests of type {media_type!r} are not supported")
    if not stated and media_type != _guess(document):
        raise ManifestInvalid(f"a manifest of type {media_type} states it as mediaType")
    return media_type


def _guess(document: dict[str, object]) -> str:
    """Return the OCI type of a document without mediaType, as distribution's ocischema does."""
    return OCI_INDEX if "manifests" in document else OCI_IMAGE


def _media_type(document: dict[str, object]) -> str:
    return _text(document, "mediaType")


def _text(document: dict[str, object], key: str) -> str:
    value = document.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestInvalid(f"{key} is not a string")
    return value


def _list(document: dict[str, object], key: str) -> list[object]:
    value = document.get(key)
    if not isinstance(value, list):
        raise ManifestInvalid(f"{key} is not a list")
    return value


def _texts(document: dict[str, object], key: str) -> list[str]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ManifestInvalid(f"{key} is not a list of strings")
    return value


def _annotations(document: dict[str, object]) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestInvalid("annotations are not strings by name")
    return value


def _subject(document: dict[str, object]) -> Descriptor | None:
    value = document.get("subject")
    return None if value is None else _descriptor(value, "subject")


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} has no descriptor")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise ManifestInvalid(f"a descriptor in {where} has no size")
    try:
        digest = Digest.parse(_text(value, "digest"))
    except BadReference as error:
        raise ManifestInvalid(f"a descriptor in {where}: {error.message}") from None
    _check_spelling(value, _OF_DESCRIPTOR)
    _annotations(value)
    _check_platform(value.get("platform"))
    media_type = _text(value, "mediaType")
    urls = _texts(value, "urls")
    elsewhere = media_type.startswith(_ELSEWHERE) and bool(urls)
    return Descriptor(media_type, digest, size, elsewhere)


def _check_platform(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise ManifestInvalid("platform is not an object")
    _check_spelling(value, _OF_PLATFORM)
    for key in _PLATFORM_TEXTS:
        _text(value, key)
    for key in _PLATFORM_LISTS:
        _texts(value, key)
