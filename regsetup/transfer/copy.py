"""From one registry into another, with what is attached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.client import Denied, RegistryError
from regsetup.contents.inventory import DAMAGE
from regsetup.transfer.push import copy_blobs
from regsetup.transfer.referrers import attached
from regsetup.transfer.remote_image import survey
from regsetup.transfer.source import OtherDigest

if TYPE_CHECKING:
    from regsetup.client import RegistryClient
    from regsetup.image.platform import Platform
    from regsetup.image.tree import Tree
    from regsetup.reference import Digest
    from regsetup.transfer.push import Goal
    from regsetup.transfer.watch import Watch


class ReferrersUnknown(RegistryError):
    """The registry does not say what refers to an image: it may not be asked, or its list is damaged."""

    code = "referrers-unknown"

    def __init__(self, address: str, repository: str, cause: str) -> None:
        super().__init__(
            f"{address} does not say what refers to the image in {repository}; nothing was copied",
            cause=cause,
            fix="--no-referrers copies the image alone",
        )


@dataclass(frozen=True, slots=True)
class Cargo:
    """An image and all that refers to it."""

    image: Tree
    referrers: tuple[Tree, ...] = ()


def gather(
    client: RegistryClient,
    repository: str,
    reference: str | Digest,
    platform: Platform | None,
    *,
    referrers: bool,
) -> Cargo:
    """Find what is to be copied.

    Raises:
        ReferrersUnknown: what is attached to it can't be had.
        RegsetupError: as ``survey``.
    """
    image = survey(client, repository, reference, platform)
    if not referrers:
        return Cargo(image)
    try:
        return Cargo(image, tuple(attached(client, repository, image)))
    except (Denied, *DAMAGE) as error:
        raise ReferrersUnknown(client.endpoint.address, repository, error.message) from error


def copy(
    client: RegistryClient,
    repository: str,
    cargo: Cargo,
    goal: Goal,
    wanted: Digest | None,
    tag: str | None,
    watch: Watch,
) -> bool:
    """Copy blobs, then manifests; tell whether anything changed there.

    Args:
        wanted: the digest that the image must have.
        tag: what it is to be called; None leaves it without one.

    Raises:
        OtherDigest: it is another.
        RegistryError: one does not give, or the other does not take.
    """
    digest = cargo.image.root.part.digest
    if wanted not in {None, digest}:
        raise OtherDigest(wanted, digest)
    trees = (cargo.image, *cargo.referrers)
    blobs = {blob.digest: blob for tree in trees for blob in tree.blobs}
    copy_blobs(client, repository, tuple(blobs.values()), goal, watch)
    changed = [goal.put(cargo.image.documents, tag)]
    changed += [goal.put(tree.documents, None) for tree in cargo.referrers]
    return any(changed) or watch.bytes > 0
