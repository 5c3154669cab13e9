"""Blob endpoints.

OCI distribution-spec 1.1 "Pulling blobs" (end-2) and "Deleting blobs" (end-10). Knows nothing of disks; see
``store``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regsetup.registry.context import Context, parse_digest
from regsetup.registry.errors import BlobUnknown
from regsetup.registry.ranges import byte_range, matches
from regsetup.registry.reply import reply, stream
from regsetup.registry.transfer import send

if TYPE_CHECKING:
    from aiohttp import web

    from regsetup.reference import Digest
    from regsetup.registry.routing import Route

SMALL = 64 << 10  # bytes; up to this much is read at once and sent with the headers
_FOREVER = "max-age=31536000"  # seconds, a year: content by digest does not change


async def get(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """Answer GET with the blob or a part of it: 200, 206, 304, 404, 416."""
    digest = parse_digest(route.reference)
    blob = context.store.blobs.open(route.repository, digest)
    try:
        return await _send(context, request, digest, blob.descriptor, blob.size)
    finally:
        os.close(blob.descriptor)


async def head(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """Answer HEAD: 200 only if size and digest are known to hold."""
    digest = parse_digest(route.reference)
    size = await context.verify(context.store.blobs.target(route.repository, digest))
    if size is None:
        raise BlobUnknown("blob unknown to registry", detail={"digest": str(digest)})
    if matches(request.headers.get("If-None-Match"), str(digest)):
        return reply(304, describe(digest))
    return reply(200, describe(digest) | {"Content-Length": str(size), "Accept-Ranges": "bytes"})


async def delete(context: Context, _request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """Take the blob out of the repository: 202; its bytes stay for the collector."""
    digest = parse_digest(route.reference)
    await context.run(context.store.blobs.unlink, route.repository, digest)
    return reply(202)


async def _send(
    context: Context, request: web.BaseRequest, digest: Digest, descriptor: int, size: int
) -> web.StreamResponse:
    headers = describe(digest)
    if matches(request.headers.get("If-None-Match"), str(digest)):
        return reply(304, headers)
    wanted = None
    if "Range" in request.headers and _range_holds(request, digest):
        wanted = byte_range(request.headers["Range"], size)
    first, last = wanted or (0, size - 1)
    count = last - first + 1
    headers["Accept-Ranges"] = "bytes"
    headers["Content-Type"] = "application/octet-stream"
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 206 if wanted else 200
    if count <= SMALL:
        return reply(status, headers, os.pread(descriptor, count, first))
    response = stream(status, headers | {"Content-Length": str(count)})
    await send(context, request, response, descriptor, first, count)
    return response


def _range_holds(request: web.BaseRequest, digest: Digest) -> bool:
    """Tell whether If-Range, if it is there, means this content (RFC 9110 13.1.5)."""
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{digest}"'


def describe(digest: Digest) -> dict[str, str]:
    """Return the headers of every answer about a blob."""
    text = str(digest)
    return {"Docker-Content-Digest": text, "Etag": f'"{text}"', "Cache-Control": _FOREVER}
