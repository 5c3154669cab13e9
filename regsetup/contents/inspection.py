"""What an image consists of: configuration, layers, platforms, what refers to it; found over the API.

OCI image-spec 1.1 and Docker's schema 2. What is missing or of another kind below the top is said in its
place, not raised: looking at a damaged image is what this is for.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regsetup.client import Denied, Manifest, NotFound
from regsetup.client.errors import RegistryError, UnexpectedAnswer
from regsetup.contents.inventory import DAMAGE
from regsetup.image.document import (
    DOCKER_CONFIG,
    INDEXES,
    OCI_CONFIG,
    BadManifest,
    OldSchema,
    Part,
    json_object,
    parse,
)
from regsetup.image.platform import Platform
from regsetup.image.tree import check_platform, grow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regsetup.client import Descriptor, RegistryClient
    from regsetup.errors import RegsetupError
    from regsetup.image.document import Document
    from regsetup.reference import Digest

CREATED = "org.opencontainers.image.created"  # image-spec, "Pre-Defined Annotation Keys"
MAX_CONFIG = 8 << 20  # bytes; engines refuse more (moby, containerd)
_DEPTH = 8  # indexes in indexes; nobody builds more than two
_NO_CONFIG = frozenset({"application/vnd.oci.empty.v1+json"})
_NO_KIND = _NO_CONFIG | {OCI_CONFIG, DOCKER_CONFIG}  # say nothing of an artifact's type
_SHOWN_TAGS = 10


class NoSuchRepository(RegistryError):
    """The registry answers, and has no such repository."""

    code = "no-such-repository"

    def __init__(self, address: str, repository: str, cause: str | None) -> None:
        super().__init__(
            f"{address} has no repository {repository}",
            cause=cause,
            fix=f"regsetup catalog --registry {address} lists those it has",
        )


class NoSuchImage(RegistryError):
    """The registry answers, and has no such tag or digest in the repository."""

    code = "no-such-image"

    def __init__(self, address: str, repository: str, target: str | Digest, tags: tuple[str, ...]) -> None:
        more = " and others" if len(tags) > _SHOWN_TAGS else ""
        super().__init__(
            f"{address} has no {repository}{':' if isinstance(target, str) else '@'}{target}",
            cause=f"its tags are {', '.join(tags[-_SHOWN_TAGS:])}{more}" if tags else "it has no tags",
            fix=f"regsetup tags {repository} --registry {address} lists those it has",
        )


class NoSuchBlob(RegistryError):
    """The registry answers, and has no such blob in the repository."""

    code = "no-such-blob"

    def __init__(self, address: str, repository: str, digest: Digest, cause: str | None) -> None:
        super().__init__(
            f"{address} has no blob {digest} in {repository}",
            cause=cause,
            fix=f"regsetup inspect {repository}:TAG --registry {address} lists those of an image",
        )


@dataclass(frozen=True, slots=True)
class Image:
    """One manifest and what it stands for.

    Attributes:
        size: bytes of the manifest; ``total`` those of all blobs below, each counted once.
        blobs: configuration first, then layers; of an index what in it is no manifest.
        config: what the configuration says, empty where there is none of an image.
        children: of an index.
        problem: why it could not be read.
    """

    digest: Digest
    media_type: str
    size: int
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    blobs: tuple[Part, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[Image, ...] = ()
    referrers: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    problem: str | None = None

    @property
    def is_index(self) -> bool:
        """Whether it stands for several images."""
        return self.media_type in INDEXES

    @property
    def layers(self) -> tuple[Part, ...]:
        """The layers of an image, the first one lowest."""
        return () if self.is_index else self.blobs[1:]

    @property
    def created(self) -> str | None:
        """When it was made, as it says itself, or the latest of what is below."""
        own = self.annotations.get(CREATED) or self.config.get("created")
        if isinstance(own, str):
            return own
        return max((child.created for child in self.children if child.created), default=None)

    @property
    def total(self) -> int:
        """Bytes of all blobs below, each counted once."""
        return sum(self.sizes.values())

    @property
    def sizes(self) -> Mapping[Digest, int]:
        """Bytes of each blob below; layers that need not be in a registry are none of them."""
        sizes = {part.digest: part.size for part in self.blobs if not part.elsewhere}
        for child in self.children:
            sizes |= child.sizes
        return sizes

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """What it runs on; an index's attestations run on nothing."""
        own = (self.platform,) if self.platform and self.platform.known and not self.children else ()
        below = (one for child in self.children for one in child.platforms)
        return tuple(dict.fromkeys((*own, *below)))


def fetch(client: RegistryClient, repository: str, target: str | Digest) -> Manifest:
    """Return a manifest.

    Raises:
        NoSuchRepository, NoSuchImage: it is not there.
        RegistryError: the registry can't be asked.
    """
    try:
        return client.get_manifest(repository, target)
    except NotFound as error:
        there = tags(client, repository)
        raise NoSuchImage(client.endpoint.address, repository, target, there) from error


def tags(client: RegistryClient, repository: str) -> tuple[str, ...]:
    """Return a repository's tags.

    Raises:
        NoSuchRepository: it is not there.
        RegistryError: the registry can't be asked.
    """
    try:
        return tuple(sorted(client.tags(repository)))  # registry:2 gives them in any order
    except NotFound as error:
        raise NoSuchRepository(client.endpoint.address, repository, error.cause) from error


def blob(client: RegistryClient, repository: str, digest: Digest) -> Iterator[bytes]:
    """Yield a blob; its digest is verified after the last piece.

    Raises:
        NoSuchBlob: it is not there.
        RegistryError: the registry can't be asked, or gives something else.
    """
    limit = None
    with suppress(UnexpectedAnswer):  # a registry should say how long it is, and need not
        limit = client.head_blob(repository, digest)
    try:
        yield from client.get_blob(repository, digest, limit=limit)
    except NotFound as error:
        raise NoSuchBlob(client.endpoint.address, repository, digest, error.cause) from error


def for_platform(client: RegistryClient, repository: str, manifest: Manifest, wanted: Platform) -> Manifest:
    """Return the manifest for a platform: that in an index, or the one given if it is for it.

    Raises:
        NoSuchPlatform: there is none.
        BadManifest, OldSchema: it can't be told.
    """
    what = f"{repository}@{manifest.digest}"
    fetched = {manifest.digest: manifest}

    def get(part: Part) -> bytes:
        fetched.setdefault(part.digest, fetch(client, repository, part.digest))
        return fetched[part.digest].content

    root = grow(_part(manifest), get, what, wanted).root
    if root.part.digest == manifest.digest and root.document.blobs:
        check_platform(_blob(client, repository, root.document.blobs[0]), wanted, what)
    return fetched[root.part.digest]


def inspect(client: RegistryClient, repository: str, manifest: Manifest, *, referrers: bool = True) -> Image:
    """Return what a manifest stands for, with all that is below it.

    Args:
        referrers: whether to ask what refers to it and to the images in it.

    Raises:
        RegistryError: the registry can't be asked.
    """
    return _Look(client, repository, referrers).at(_part(manifest), manifest, 0)


@dataclass(frozen=True, slots=True)
class _Look:
    client: RegistryClient
    repository: str
    referrers: bool

    def at(self, part: Part, manifest: Manifest, depth: int) -> Image:
        media_type = manifest.media_type.partition(";")[0].strip()
        referrers, unlisted = self._referrers(manifest.digest)
        known: dict[str, Any] = {
            "digest": manifest.digest,
            "size": len(manifest.content),
            "platform": part.platform,
            "referrers": referrers,
        }
        try:
            document = parse(manifest.content, media_type, str(manifest.digest))
            fields = json_object(manifest.content, str(manifest.digest))
        except (BadManifest, OldSchema) as error:
            return Image(media_type=media_type, problem=error.cause, **known)
        config, problem = self._config(document.blobs) if document.media_type not in INDEXES else ({}, None)
        known["platform"] = part.platform or Platform.read(config)
        return Image(
            media_type=document.media_type,
            artifact_type=_artifact_type(fields, document),
            annotations=_texts(fields.get("annotations")),
            blobs=document.blobs,
            config=config,
            children=tuple(self._child(one, depth + 1) for one in document.children),
            subject=document.subject,
            problem=problem or unlisted,
            **known,
        )

    def _referrers(self, digest: Digest) -> tuple[tuple[Descriptor, ...], str | None]:
        """Return what refers to a manifest, and why that is not known."""
        if not self.referrers:
            return (), None
        try:
            return self.client.referrers(self.repository, digest), None
        except (Denied, *DAMAGE) as error:
            return (), f"what refers to it is not known: {_said(error)}"

    def _child(self, part: Part, depth: int) -> Image:
        problem = f"indexes lie more than {_DEPTH} deep"
        if depth <= _DEPTH:
            try:
                return self.at(part, self.client.get_manifest(self.repository, part.digest), depth)
            except DAMAGE as error:
                problem = _said(error)
        return Image(part.digest, part.media_type, part.size, part.platform, problem=problem)

    def _config(self, blobs: tuple[Part, ...]) -> tuple[Mapping[str, Any], str | None]:
        """Return the configuration, and why there is none where there should be."""
        if not blobs or not blobs[0].media_type.endswith("json") or blobs[0].media_type in _NO_CONFIG:
            return {}, None
        try:
            return json_object(_blob(self.client, self.repository, blobs[0]), "its configuration"), None
        except (BadManifest, *DAMAGE) as error:
            return {}, _said(error)


def _part(manifest: Manifest) -> Part:
    media_type = manifest.media_type.partition(";")[0].strip()
    return Part(manifest.digest, len(manifest.content), media_type)


def _blob(client: RegistryClient, repository: str, part: Part) -> bytes:
    return b"".join(client.get_blob(repository, part.digest, limit=min(part.size, MAX_CONFIG)))


def _artifact_type(fields: Mapping[str, Any], document: Document) -> str | None:
    """Return what it says, or the type of its configuration (image-spec, "Guidelines for Artifact Usage")."""
    said = fields.get("artifactType")
    if isinstance(said, str):
        return said
    kinds = [one.media_type for one in document.blobs[:1] if document.media_type not in INDEXES]
    return next((kind for kind in kinds if kind not in _NO_KIND), None)


def _texts(found: object) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _said(error: RegsetupError) -> str:
    return error.message + (f": {error.cause}" if error.cause else "")


def pretty(content: bytes) -> str:
    """Return a manifest as indented JSON; what is no JSON as it is, with what no terminal shows escaped."""
    try:
        return json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return content.decode(errors="backslashreplace")
