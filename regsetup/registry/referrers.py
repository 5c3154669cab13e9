"""Referrers endpoint: OCI distribution-spec 1.1 "Listing Referrers" (end-12)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regsetup.registry import content
from regsetup.registry.context import Context, parse_digest
from regsetup.registry.errors import ManifestInvalid
from regsetup.registry.reply import reply

if TYPE_CHECKING:
    from regsetup.reference import Digest
    from regsetup.registry.routing import Route
    from regsetup.registry.store import StoredManifest
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response


async def get(context: Context, request: Request, route: Route) -> Response:
    """Answer GET: 200 with an index of what is attached to a digest, empty if nothing is; never 404."""
    subject = parse_digest(route.reference)
    artifact_type = request.query("artifactType")
    body = await context.run(_index, context, route.repository, subject, artifact_type)
    headers = {"OCI-Filters-Applied": "artifactType"} if artifact_type is not None else None
    return reply(200, headers, body, content.OCI_INDEX)


def _index(context: Context, repository: str, subject: Digest, artifact_type: str | None) -> bytes:
    descriptors = [_describe(manifest) for manifest in context.store.referrers.of(repository, subject)]
    found = [
        descriptor
        for descriptor in descriptors
        if descriptor and artifact_type in {None, descriptor.get("artifactType")}
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": content.OCI_INDEX, "manifests": found}).encode()


def _describe(manifest: StoredManifest) -> dict[str, object]:
    """Return the descriptor of a referrer; empty if another registry stored what this one can't read."""
    try:
        parsed = content.parse(manifest.content)
    except ManifestInvalid:
        return {}
    descriptor: dict[str, object] = {
        "mediaType": parsed.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.content),
    }
    if parsed.artifact_type:
        descriptor["artifactType"] = parsed.artifact_type
    if parsed.annotations:
        descriptor["annotations"] = parsed.annotations
    return descriptor
