"""All that one repository serves: tags, the manifests they lead to, what those need and what refers to them.

Found over the API, level by level, several requests at once. Manifests that neither a tag nor another
manifest leads to can't be found: the API does not list them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from regsetup.client import NotFound
from regsetup.contents.inspection import CREATED, MAX_CONFIG, tags
from regsetup.contents.inventory import DAMAGE
from regsetup.contents.listing import in_parallel
from regsetup.contents.retention import companion_of, parse_date
from regsetup.manifest import References, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from regsetup.client import Manifest, RegistryClient
    from regsetup.reference import Digest


@dataclass(frozen=True, slots=True)
class Node:
    """A manifest: its bytes, what they refer to, and what refers to it."""

    manifest: Manifest
    says: References
    referrers: tuple[Digest, ...] = ()

    @property
    def children(self) -> tuple[Digest, ...]:
        """The manifests that it needs."""
        return tuple(need.digest for need in self.says.needs if need.is_manifest)

    @property
    def blobs(self) -> Mapping[Digest, int]:
        """The blobs that it needs, with their sizes in bytes."""
        return {
            need.digest: need.size for need in self.says.needs if not need.is_manifest and not need.elsewhere
        }


@dataclass
class Contents:
    """What was found; not to be changed once it is complete.

    Attributes:
        unreadable: why a tag or digest could not be read: what it needs is not known.
    """

    repository: str
    tags: dict[str, Digest] = field(default_factory=dict)
    nodes: dict[Digest, Node] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @cached_property
    def companions(self) -> Mapping[Digest, tuple[Digest, ...]]:
        """What tags that clients keep for an image lead to, by the image."""
        found: dict[Digest, tuple[Digest, ...]] = {}
        for tag, there in self.tags.items():
            if image := companion_of(tag):
                found[image] = (*found.get(image, ()), there)
        return found

    def below(self, digest: Digest) -> tuple[Digest, ...]:
        """Return what goes where a manifest goes: its children and what refers to it."""
        node = self.nodes.get(digest)
        return (*(node.children + node.referrers if node else ()), *self.companions.get(digest, ()))

    def closure(self, roots: Iterable[Digest]) -> list[Digest]:
        """Return the roots and all below, each before what is below it, each once."""
        order: list[Digest] = []
        seen: set[Digest] = set()
        waiting = [(root, False) for root in roots]
        while waiting:
            here, left = waiting.pop()
            if left:
                order.append(here)
            elif here not in seen:
                seen.add(here)
                waiting += [(here, True), *((one, False) for one in self.below(here))]
        return order[::-1]

    def blobs(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Return what these manifests and their blobs take, in bytes by digest."""
        sizes: dict[Digest, int] = {}
        for digest in digests:
            if digest in self.nodes:
                sizes |= {digest: len(self.nodes[digest].manifest.content), **self.nodes[digest].blobs}
        return sizes


def gather(client: RegistryClient, repository: str) -> Contents:
    """Find everything that the tags of a repository lead to.

    Raises:
        NoSuchRepository: it is not there.
        RegistryError: the registry can't be asked.
    """
    found = Contents(repository)
    follow(client, found, tags(client, repository))
    return found


def follow(client: RegistryClient, found: Contents, wanted: Iterable[str | Digest]) -> None:
    """Add these tags and digests, and everything that they lead to.

    Raises:
        RegistryError: the registry can't be asked.
    """
    waiting = list(wanted)
    while waiting:
        below: dict[Digest, None] = {}
        level = in_parallel(lambda one: _node(client, found.repository, one), waiting)
        for one, node in zip(waiting, level, strict=True):
            if isinstance(node, Node):
                found.nodes[node.manifest.digest] = node
                below |= dict.fromkeys((*node.children, *node.referrers))
                there: Digest | None = node.manifest.digest
            else:
                found.unreadable[str(one)], there = node
            if isinstance(one, str) and there:
                found.tags[one] = there
        waiting = [one for one in below if one not in found.nodes and str(one) not in found.unreadable]


def _node(client: RegistryClient, repository: str, wanted: str | Digest) -> Node | tuple[str, Digest | None]:
    """Return a manifest, or why it can't be read and, if the registry knows it, its digest."""
    try:
        manifest = client.get_manifest(repository, wanted)
        referrers = client.referrers(repository, manifest.digest)
    except DAMAGE as error:
        with suppress(*DAMAGE):
            there = client.head_manifest(repository, wanted)
            return error.message, there.digest if there else None
        return error.message, None
    return Node(manifest, references(manifest.content), tuple(one.digest for one in referrers))


def digest_of(client: RegistryClient, repository: str, tag: str) -> Digest | None:
    """Return what a tag leads to, None if it is not there.

    Asked with GET: what a bundled registry said to HEAD that it has, its collector keeps for an hour.
    """
    try:
        return client.get_manifest(repository, tag).digest
    except NotFound:
        return None
    except DAMAGE:
        there = client.head_manifest(repository, tag)
        return there.digest if there else None


def dates(client: RegistryClient, contents: Contents) -> dict[Digest, datetime | None]:
    """Return when each tagged image was made: by its annotation, its configuration, or its youngest part.

    Raises:
        RegistryError: the registry can't be asked.
    """

    def date(digest: Digest) -> datetime | None:
        return _date(client, contents, digest, frozenset())

    digests = list(dict.fromkeys(contents.tags.values()))
    return dict(zip(digests, in_parallel(date, digests), strict=True))


def _date(
    client: RegistryClient, contents: Contents, digest: Digest, above: frozenset[Digest]
) -> datetime | None:
    node = contents.nodes.get(digest)
    if node is None or digest in above:
        return None
    document = _object(node.manifest.content)
    annotated = _mapping(document.get("annotations")).get(CREATED)
    if annotated is not None:
        return parse_date(annotated)
    below = [_date(client, contents, child, above | {digest}) for child in node.children]
    if below:
        return max((one for one in below if one), default=None)
    config = next((need for need in node.says.needs if not need.is_manifest), None)
    if config is None or not str(_mapping(document.get("config")).get("mediaType")).endswith("json"):
        return None
    try:
        content = b"".join(client.get_blob(contents.repository, config.digest, limit=MAX_CONFIG))
    except DAMAGE:
        return None
    return parse_date(_object(content).get("created"))


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
