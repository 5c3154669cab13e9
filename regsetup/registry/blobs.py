"""Blob endpoints.

OCI distribution-spec 1.1 "Pulling blobs" (end-2) and "Deleting blobs" (end-10). Knows nothing of disks; see
``store``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regsetup.registry.context import Context, parse_digest
from regsetup.registry.errors import BlobUnknown
from regsetup.registry.immutable import refuse_loss
from regsetup.registry.ranges import byte_range, matches
from regsetup.registry.reply import BYTES, reply, stream
from regsetup.registry.transfer import send

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from regsetup.reference import Digest
    from regsetup.registry.routing import Route
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

SMALL = 64 << 10  # bytes; up to this much is read at once and sent with the headers
_FOREVER = "max-age=31536000"  # seconds, a year: content by digest does not change


def get(context: Context, request: Request, route: Route) -> Response | Awaitable[Response]:
    """Answer GET with the blob or a part of it: 200, 206, 304, 404, 416. A small one needs no waiting."""
    digest = parse_digest(route.reference)
    blob = context.store.blobs.open(route.repository, digest)
    sending = None
    try:
        headers = describe(digest)
        if matches(request.headers.get("if-none-match"), str(digest)):
            return reply(304, headers)
        wanted = None
        if "range" in request.headers and _range_holds(request, digest):
            wanted = byte_range(request.headers["range"], blob.size)
        first, last = wanted or (0, blob.size - 1)
        count = last - first + 1
        headers["Accept-Ranges"] = "bytes"
        headers["Content-Type"] = BYTES
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
        status = 206 if wanted else 200
        if count <= SMALL:
            return reply(status, headers, os.pread(blob.descriptor, count, first))
        sending = _send(context, request, stream(status, headers, count), blob.descriptor, first, count)
        return sending
    finally:
        if sending is None:
            os.close(blob.descriptor)


async def head(context: Context, request: Request, route: Route) -> Response:
    """Answer HEAD: 200 only if size and digest are known to hold."""
    digest = parse_digest(route.reference)
    size = await context.verify(context.store.blobs.target(route.repository, digest))
    if size is None:
        raise BlobUnknown("blob unknown to registry", detail={"digest": str(digest)})
    if matches(request.headers.get("if-none-match"), str(digest)):
        return reply(304, describe(digest))
    return stream(200, describe(digest) | {"Accept-Ranges": "bytes"}, size)


async def delete(context: Context, _request: Request, route: Route) -> Response:
    """Take the blob out of the repository: 202; its bytes stay for the collector."""
    digest = parse_digest(route.reference)
    await context.run(_delete, context, route.repository, digest)
    return reply(202)


def _delete(context: Context, repository: str, digest: Digest) -> None:
    refuse_loss(context, repository, digest)
    context.store.blobs.unlink(repository, digest)


async def _send(
    context: Context, request: Request, response: Response, descriptor: int, first: int, count: int
) -> Response:
    try:
        await send(context, request, response, descriptor, first, count)
    finally:
        os.close(descriptor)
    return response


def _range_holds(request: Request, digest: Digest) -> bool:
    """Tell whether If-Range, if it is there, means this content (RFC 9110 13.1.5)."""
    condition = request.headers.get("if-range")
    return condition is None or condition.strip() == f'"{digest}"'


def describe(digest: Digest) -> dict[str, str]:
    """Return the headers of every answer about a blob."""
    text = str(digest)
    return {"Docker-Content-Digest": text, "Etag": f'"{text}"', "Cache-Control": _FOREVER}
