"""Signatures, SBOMs and whatever else is attached to an image.

OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from regsetup.client import NotFound
from regsetup.image.document import OCI_INDEX, Part, json_object
from regsetup.image.tree import Stored, Tree, grow

if TYPE_CHECKING:
    from regsetup.client import RegistryClient
    from regsetup.reference import Digest


def attached(client: RegistryClient, repository: str, tree: Tree) -> list[Tree]:
    """Find all that refers to an image's manifests, and to what refers to them.

    Raises:
        RegistryError: it can't be asked for.
        BadManifest: a referrer can't be read.
    """
    found: dict[Digest, Tree] = {}
    waiting = [one.part.digest for one in tree.documents]
    seen = set(waiting)
    while waiting:
        for descriptor in client.referrers(repository, waiting.pop()):
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            part = Part(descriptor.digest, descriptor.size, descriptor.media_type)
            found[part.digest] = grow(
                part,
                lambda one: client.get_manifest(repository, one.digest).content,
                f"{repository}@{part.digest}",
            )
            waiting.append(part.digest)
    return list(found.values())


def announce(client: RegistryClient, repository: str, one: Stored, subject: Digest) -> None:
    """See that a manifest is listed with its subject; a registry without referrers API gets it in a tag."""
    if one.part.digest in {known.digest for known in client.referrers(repository, subject)}:
        return
    tag = f"{subject.algorithm}-{subject.hex[:64]}"
    try:
        index = json_object(client.get_manifest(repository, tag).content, f"{repository}:{tag}")
    except NotFound:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    index["manifests"] = [*(index.get("manifests") or ()), _entry(one)]
    client.put_manifest(repository, tag, json.dumps(index).encode(), OCI_INDEX)


def _entry(one: Stored) -> dict[str, Any]:
    """Return the descriptor of a referrer: its type is its own, else that of its configuration."""
    fields = json_object(one.content, str(one.part.digest))
    config = fields.get("config")
    artifact = fields.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    entry: dict[str, Any] = {
        "mediaType": one.document.media_type,
        "digest": str(one.part.digest),
        "size": len(one.content),
    }
    entry |= {"artifactType": artifact} if artifact else {}
    annotations = fields.get("annotations")
    return entry | ({"annotations": annotations} if isinstance(annotations, dict) else {})
