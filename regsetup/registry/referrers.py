"""Referrers endpoint: OCI distribution-spec 1.1 "Listing Referrers" (end-12)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from regsetup.registry import content
from regsetup.registry.context import Context, parse_digest
from regsetup.registry.errors import ManifestInvalid
from regsetup.registry.manifests import MAX_MANIFEST
from regsetup.registry.reply import reply

if TYPE_CHECKING:
    from regsetup.reference import Digest
    from regsetup.registry.routing import Route
    from regsetup.registry.store import StoredManifest
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

MAX_ENTRIES = MAX_MANIFEST - 1024  # bytes; what is around them in an index takes some hundred


async def get(context: Context, request: Request, route: Route) -> Response:
    """Answer GET: 200 with an index of what is attached to a digest, empty if nothing is; never 404."""
    subject = parse_digest(route.reference)
    artifact_type = request.query("artifactType")
    attached = await context.run(_attached, context, route.repository, subject, artifact_type)
    entries, last = _page(attached, request.query("last"))
    headers = {"OCI-Filters-Applied": "artifactType"} if artifact_type is not None else {}
    if last is not None:
        query = {"artifactType": artifact_type, "last": last} if artifact_type is not None else {"last": last}
        headers["Link"] = f'</v2/{route.repository}/referrers/{subject}?{urlencode(query)}>; rel="next"'
    body = f'{{"schemaVersion": 2, "mediaType": "{content.OCI_INDEX}", "manifests": [{", ".join(entries)}]}}'
    return reply(200, headers, body.encode(), content.OCI_INDEX)


def _attached(
    context: Context, repository: str, subject: Digest, artifact_type: str | None
) -> list[tuple[str, str]]:
    """Return digest and descriptor (JSON, ASCII) of what is attached, ordered by digest."""
    found = []
    for manifest in context.store.referrers.of(repository, subject):
        descriptor = _describe(manifest)
        if descriptor and artifact_type in {None, descriptor.get("artifactType")}:
            found.append((str(manifest.digest), json.dumps(descriptor)))
    return found


def _page(attached: list[tuple[str, str]], last: str | None) -> tuple[list[str], str | None]:
    """Return the descriptors after ``last`` that one index holds, and what it ends with if more follow.

    "A Link header MUST be included when the descriptor list cannot be returned in a single manifest."
    """
    entries: list[str] = []
    size = 0
    end = None
    for digest, descriptor in attached:
        if last is not None and digest <= last:
            continue
        size += len(descriptor) + len(", ")
        if entries and size > MAX_ENTRIES:
            return entries, end
        entries.append(descriptor)
        end = digest
    return entries, None


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
