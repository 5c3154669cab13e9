"""Takes tags and images out of a repository, and never another tag with them unless that was said.

``plan`` is pure. Deleting a manifest takes all its tags (distribution-spec 1.1, "Deleting Manifests"), and
registry:2 can't delete a tag alone: there a throwaway manifest is pushed onto the tag and deleted in its
place. A tag that moved since it was looked at is left alone, and so is what a tag needs that came since.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.client import NotFound, RegistryError, UnexpectedAnswer, Unsupported
from regsetup.contents.inspection import NoSuchImage
from regsetup.contents.listing import in_parallel
from regsetup.contents.repository import Contents, digest_of, follow
from regsetup.contents.retention import companion_of
from regsetup.errors import RegsetupError
from regsetup.image.document import OCI_MANIFEST
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from regsetup.client import Manifest, RegistryClient

_EMPTY = b"{}"  # image-spec 1.1, "Guidance for an Empty Descriptor"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_THROWAWAY = "dev.regsetup.throwaway"  # annotation; marks what a killed command left under a tag


class DeletesOff(RegistryError):
    """The registry does not delete, by its settings."""

    code = "deletes-off"

    def __init__(self, address: str, cause: str | None) -> None:
        super().__init__(
            f"{address} does not delete; nothing was changed",
            cause=cause,
            fix="start it with REGISTRY_STORAGE_DELETE_ENABLED=true (regsetup up does); "
            "a pull-through cache never deletes",
        )


class StillNeeded(RegsetupError):
    """An image that was named by its digest is a part of one that stays."""

    code = "still-needed"

    def __init__(self, repository: str, digest: Digest, by: Iterable[str]) -> None:
        super().__init__(
            f"{repository}@{digest} is part of {', '.join(by)}; nothing was deleted",
            cause="without it that image could not be pulled any more",
            fix="delete the tag that needs it first, or together with it",
        )


class TagUnreadable(RegistryError):
    """A tag leads to a manifest so damaged that the registry does not even know its digest."""

    code = "tag-unreadable"

    def __init__(self, repository: str, tag: str, cause: str) -> None:
        super().__init__(
            f"the registry can't say what {repository}:{tag} leads to; nothing was deleted",
            cause=cause,
            fix=f"push any image as {repository}:{tag}, then delete that; regsetup verify says what is wrong",
        )


class TagsLost(RegsetupError):
    """The registry took more tags than the one it was told to, and they could not be put back."""

    code = "tags-lost"

    def __init__(self, repository: str, tags: Iterable[str], digest: Digest) -> None:
        super().__init__(
            f"the registry has deleted {', '.join(f'{repository}:{tag}' for tag in tags)}, too",
            cause="it takes a whole image where a tag is to go, and refuses to take the image back",
            fix=f"push the image again; its digest was {digest}",
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes from one repository.

    Attributes:
        untag: tags whose image stays, since other tags or images need it.
        images: what is deleted, each before what is below it, with the tags that go with it.
        named: the images among them that were asked for; the others are their parts and what refers to them.
        blobs: what nothing that stays in this repository needs, in bytes by digest.
        unsure: what could not be read, so that parts of images stay.
    """

    repository: str
    untag: Mapping[str, Digest] = field(default_factory=dict)
    images: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)
    named: frozenset[Digest] = frozenset()
    blobs: Mapping[Digest, int] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that goes."""
        return (*self.untag, *(tag for tags in self.images.values() for tag in tags))


@dataclass(slots=True)
class Done:
    """What was done; ``left`` says why something was left alone."""

    tags: list[str] = field(default_factory=list)
    images: list[Digest] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def plan(contents: Contents, tags: Collection[str], digests: Collection[Digest]) -> Removal:
    """Decide what goes with these tags and digests, which ``contents`` has.

    Raises:
        StillNeeded: a digest is part of an image that stays.
    """
    gone_tags = {tag for tag, there in contents.tags.items() if tag in tags or there in digests}
    seeds = list(
        dict.fromkeys([*(contents.tags[tag] for tag in contents.tags if tag in gone_tags), *digests])
    )
    below = contents.closure(seeds)
    staying = {
        tag: there
        for tag, there in contents.tags.items()
        if tag not in gone_tags and companion_of(tag) not in below
    }
    kept = set(contents.closure(staying.values()))
    for digest in digests:
        if digest in kept:
            raise StillNeeded(contents.repository, digest, _needing(contents, staying, digest))
    unsure = tuple(one for one in contents.unreadable if one not in tags and one not in map(str, digests))
    gone = [one for one in (seeds if unsure else below) if one not in kept]
    images = {one: tuple(tag for tag, there in contents.tags.items() if there == one) for one in gone}
    left = contents.blobs(one for one in contents.nodes if one not in gone)
    return Removal(
        contents.repository,
        {tag: there for tag, there in contents.tags.items() if tag in gone_tags and there in kept},
        images,
        frozenset(seeds) & images.keys(),
        {digest: size for digest, size in contents.blobs(gone).items() if digest not in left},
        unsure if gone else (),
    )


def _needing(contents: Contents, staying: Mapping[str, Digest], digest: Digest) -> list[str]:
    return [
        f"{contents.repository}:{tag}"
        for tag, there in staying.items()
        if digest in contents.closure([there])
    ]


def check_deletes(client: RegistryClient, repository: str) -> None:
    """Ask the registry to delete what nobody has: where it deletes at all it says that this is not there.

    Raises:
        DeletesOff: it does not.
        RegistryError: it can't be asked, or does not let this user.
    """
    try:
        client.delete_manifest(repository, Digest("sha256", secrets.token_hex(32)))
    except NotFound:
        return
    except Unsupported as error:
        raise DeletesOff(client.endpoint.address, error.cause) from error


def apply(client: RegistryClient, contents: Contents, removal: Removal) -> Done:
    """Do what was planned from ``contents``; what has changed since is left alone, and said.

    Raises:
        DeletesOff: nothing was changed.
        TagsLost: the registry does more than it is told.
        RegistryError: it can't be asked any more; what is done is done, and the rest can be asked for again.
    """
    done = Done()
    if not removal.tags and not removal.images:
        return done
    check_deletes(client, removal.repository)
    for tag, digest in removal.untag.items():
        if _leads_to(client, removal.repository, tag, digest, done):
            others = [
                one for one, there in contents.tags.items() if there == digest and one not in removal.tags
            ]
            _untag(client, removal.repository, tag, digest, others)
            done.tags.append(tag)
    spared = _needed_since(client, contents, removal) if removal.images else {}
    for digest, tags in removal.images.items():
        if digest in spared:
            done.left.append(f"{digest} is needed by {spared[digest]} since just now")
        elif all(_leads_to(client, removal.repository, tag, digest, done) for tag in tags):
            with suppress(NotFound):  # another was quicker, or it went with the image that it belongs to
                client.delete_manifest(removal.repository, digest)
            done.images.append(digest)
            done.tags += tags
        else:
            spared |= dict.fromkeys(contents.closure([digest]), f"{removal.repository}@{digest}")
    return done


def _leads_to(client: RegistryClient, repository: str, tag: str, digest: Digest, done: Done) -> bool:
    """Tell whether a tag still is what it was; if not, say so."""
    there = digest_of(client, repository, tag)
    if there == digest:
        return True
    done.left.append(f"{repository}:{tag} was {'moved' if there else 'deleted'} meanwhile")
    return False


def _needed_since(client: RegistryClient, contents: Contents, removal: Removal) -> dict[Digest, str]:
    """Return what is needed by tags that came or moved since ``contents`` was gathered, with the tag."""
    with suppress(NotFound):
        passed = {*removal.tags, *contents.unreadable}
        staying = [tag for tag in client.tags(contents.repository) if tag not in passed]
        heads = in_parallel(lambda tag: client.head_manifest(contents.repository, tag), staying)
        there = {tag: head.digest for tag, head in zip(staying, heads, strict=True) if head}
        changed = {tag: digest for tag, digest in there.items() if contents.tags.get(tag) != digest}
        now = Contents(contents.repository)
        follow(client, now, changed.values())
        return {
            one: f"{contents.repository}:{tag}"
            for tag, digest in changed.items()
            for one in now.closure([digest])
        }
    return {}


def _untag(client: RegistryClient, repository: str, tag: str, digest: Digest, others: list[str]) -> None:
    """Take a tag away and leave its image."""
    manifest = client.get_manifest(repository, digest)
    try:
        client.delete_manifest(repository, tag)
    except (Unsupported, UnexpectedAnswer):  # registry:2 answers 400 DIGEST_INVALID, others 405
        _replace_and_delete(client, repository, tag, manifest)
    except NotFound:
        return
    lost = [one for one in others if client.head_manifest(repository, one) is None]
    if client.head_manifest(repository, digest) is None or lost:
        _put_back(client, repository, manifest, lost)


def _put_back(client: RegistryClient, repository: str, manifest: Manifest, lost: list[str]) -> None:
    """Store an image again that a registry deleted though a tag alone was to go."""
    try:
        targets: list[str | Digest] = [*lost, manifest.digest]
        for target in targets:
            client.put_manifest(repository, target, manifest.content, manifest.media_type)
    except RegistryError as error:
        raise TagsLost(repository, lost, manifest.digest) from error


def _replace_and_delete(client: RegistryClient, repository: str, tag: str, manifest: Manifest) -> None:
    """Push an image that nobody has onto the tag, and delete that; on any failure the tag is put back."""
    empty = {
        "mediaType": _EMPTY_TYPE,
        "digest": str(client.put_blob(repository, _EMPTY)),
        "size": len(_EMPTY),
    }
    throwaway = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": f"application/vnd.{_THROWAWAY}",
        "config": empty,
        "layers": [empty],
        "annotations": {_THROWAWAY: secrets.token_hex(16)},
    }
    try:
        digest = client.put_manifest(repository, tag, json.dumps(throwaway).encode(), OCI_MANIFEST)
        client.delete_manifest(repository, digest)
    except BaseException:
        client.put_manifest(repository, tag, manifest.content, manifest.media_type)
        raise


def find(client: RegistryClient, contents: Contents, target: str | Digest) -> Digest:
    """Return the digest of a tag or digest that is to go, also of one whose manifest can't be read.

    An image without a tag is added to ``contents``.

    Raises:
        NoSuchImage: it is not there.
        TagUnreadable: it can't be told what it is.
    """
    if isinstance(target, str):
        if target in contents.unreadable and target not in contents.tags:
            raise TagUnreadable(contents.repository, target, contents.unreadable[target])
        there = contents.tags.get(target)
    else:
        if target not in contents.nodes:
            follow(client, contents, [target])
        there = target if target in contents.nodes or _is_there(client, contents, target) else None
    if there is None:
        raise NoSuchImage(client.endpoint.address, contents.repository, target, tuple(contents.tags))
    return there


def _is_there(client: RegistryClient, contents: Contents, digest: Digest) -> bool:
    try:
        return client.head_manifest(contents.repository, digest) is not None
    except UnexpectedAnswer:  # registry:2 answers 500 for one that is damaged
        return True
