"""Everything a registry serves, found over its API: tags, the manifests they lead to, what those need.

Children of indexes and referrers are followed. What can't be had is noted, not raised: an inventory of a
damaged registry is what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.auth.libtrust import BadSignature
from regsetup.client import AnswerCut, DigestMismatch, NotFound, UnexpectedAnswer
from regsetup.contents import listing
from regsetup.manifest import References, references

if TYPE_CHECKING:
    from regsetup.client import Manifest, RegistryClient
    from regsetup.errors import RegsetupError
    from regsetup.reference import Digest, Reference

DAMAGE = (AnswerCut, BadSignature, DigestMismatch, NotFound, UnexpectedAnswer)
"""What a request for damaged or missing content ends with; anything else ends the inventory."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Content that is damaged or missing: a manifest, by tag or digest, or a blob, by digest."""

    repository: str
    what: str
    reason: str


@dataclass(slots=True)
class Inventory:
    """What was found, by repository and tag or digest; sizes of blobs in bytes, as manifests state them."""

    tags: dict[tuple[str, str], Digest] = field(default_factory=dict)
    manifests: dict[tuple[str, Digest], References] = field(default_factory=dict)
    blobs: dict[tuple[str, Digest], int] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)


def take(client: RegistryClient, only: Reference | None = None) -> Inventory:
    """Find everything that tags lead to, or what one repository's do, or one tag or digest.

    Raises:
        NoCatalog: it does not list what it has, and all of it is asked for.
        RegistryError: the registry can't be asked.
    """
    found = Inventory()
    for repository in [only.repository] if only else list(listing.askable(client)):
        named = [only.digest or only.tag] if only and (only.digest or only.tag) else None
        for reference in named or _tags(client, found, repository, asked_for=only is not None):
            _follow(client, found, repository, reference)
    return found


def trouble(repository: str, what: str | Digest, error: RegsetupError) -> Trouble:
    """Return what an error says of content."""
    return Trouble(repository, str(what), error.message + (f": {error.cause}" if error.cause else ""))


def _tags(client: RegistryClient, found: Inventory, repository: str, *, asked_for: bool) -> list[str]:
    """Return a repository's tags; the catalog lists repositories that have none any more."""
    try:
        return list(client.tags(repository))
    except NotFound as error:
        if asked_for:
            found.troubles.append(trouble(repository, "no such repository, or nothing in it", error))
        return []


def _follow(
    client: RegistryClient, found: Inventory, repository: str, reference: str | Digest | None
) -> None:
    waiting = [reference]
    while waiting:
        here = waiting.pop()
        if here is None or (repository, here) in found.manifests:
            continue
        try:
            manifest = client.get_manifest(repository, here)
        except DAMAGE as error:
            found.troubles.append(trouble(repository, here, error))
            continue
        if isinstance(here, str):
            found.tags[repository, here] = manifest.digest
        if (repository, manifest.digest) not in found.manifests:
            waiting += _note(found, repository, manifest)
            waiting += _referrers(client, found, repository, manifest.digest)


def _referrers(client: RegistryClient, found: Inventory, repository: str, digest: Digest) -> list[Digest]:
    try:
        return [one.digest for one in client.referrers(repository, digest)]
    except DAMAGE as error:
        found.troubles.append(trouble(repository, f"what refers to {digest}", error))
        return []


def _note(found: Inventory, repository: str, manifest: Manifest) -> list[Digest]:
    """Note a manifest and the blobs that it needs; return the manifests that it needs."""
    content = found.manifests[repository, manifest.digest] = references(manifest.content)
    for need in content.needs:
        if not need.is_manifest and not need.elsewhere:
            found.blobs[repository, need.digest] = need.size
    return [need.digest for need in content.needs if need.is_manifest]
