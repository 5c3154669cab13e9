"""The endpoints of a pull-through cache.

Takes no pushes. Referrers and tag lists are the upstream's, and what is stored while it is down.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regsetup.reference import Digest, is_tag
from regsetup.registry import blobs, catalog, content, manifests, referrers, tags
from regsetup.registry.context import Context, parse_digest
from regsetup.registry.download import HELD_BACK, absent
from regsetup.registry.errors import BlobUnknown, NameUnknown, Unknown
from regsetup.registry.reply import BYTES, reply, stream
from regsetup.registry.routing import Kind, Route
from regsetup.registry.upstream import UpstreamDown
from regsetup.registry.wire.response import Response
from regsetup.web_links import next_page

if TYPE_CHECKING:
    from regsetup.registry.app import Endpoint
    from regsetup.registry.mirror import Mirror
    from regsetup.registry.wire.request import Request

MAX_LIST = 16 << 20  # bytes of a tag list
MAX_PAGES = 1000


async def get_manifest(context: Context, request: Request, route: Route) -> Response:
    """Answer GET and HEAD of a manifest: 200, 304, 404, 502, 503."""
    mirror, repository, reference = _mirror(context), route.repository, route.reference
    if ":" in reference:
        digest = parse_digest(reference)
        await mirror.ensure_manifest(repository, digest)
    elif is_tag(reference):
        digest = await mirror.resolve(repository, reference)
    else:
        raise manifests.unknown(route)
    return manifests.answer(request, digest, context.store.manifests.get(repository, digest))


async def get_blob(context: Context, request: Request, route: Route) -> Response:
    """Answer GET of a blob: from the disk if it is whole, or from the upstream while it is stored."""
    mirror, repository, digest = _mirror(context), route.repository, parse_digest(route.reference)
    try:
        return await _stored(context, request, route)
    except BlobUnknown:
        if await _borrowed(context, repository, digest):
            return await _stored(context, request, route)
    download = mirror.download(repository, digest)
    await download.begun()
    partial = not {"range", "if-none-match"}.isdisjoint(request.headers)
    if partial or download.task.done() or download.size is None or download.size <= HELD_BACK:
        await download.finished()
        return await _stored(context, request, route)
    headers = blobs.describe(digest) | {"Accept-Ranges": "bytes", "Content-Type": BYTES}
    return await download.follow(request, headers, download.size)


async def _stored(context: Context, request: Request, route: Route) -> Response:
    """Answer GET of a blob from the disk.

    Raises:
        BlobUnknown: it is not there, or damaged; nobody pushes it again, so it is to be fetched again.
    """
    digest = parse_digest(route.reference)
    if await context.verify(context.store.blobs.target(route.repository, digest)) is None:
        raise BlobUnknown("blob is damaged on disk", detail={"digest": str(digest)})
    answer = blobs.get(context, request, route)
    return answer if isinstance(answer, Response) else await answer


async def head_blob(context: Context, request: Request, route: Route) -> Response:
    """Answer HEAD of a blob, without fetching it."""
    try:
        return await blobs.head(context, request, route)
    except BlobUnknown:
        digest = parse_digest(route.reference)
        headers = await _mirror(context).has_blob(route.repository, digest)
        if headers is None:
            raise absent(digest, 404) from None
        size = int(headers["Content-Length"]) if "Content-Length" in headers else None
        return stream(200, blobs.describe(digest) | {"Accept-Ranges": "bytes"}, size)


async def get_tags(context: Context, request: Request, route: Route) -> Response:
    """Answer GET with the upstream's tags, or those that are stored while it is down."""
    mirror = _mirror(context)
    names: list[str] = []
    path = "tags/list?n=1000"
    try:
        for _ in range(MAX_PAGES):
            async with mirror.upstream.ask("GET", route.repository, path) as response:
                if response.status != 200:
                    raise NameUnknown("unknown to the upstream", detail={"name": route.repository})
                names += _listed(await mirror.upstream.read(response, MAX_LIST))
                following = next_page(response.headers.get("Link", ""))
            if following is None:
                break
            path = "tags/list?" + following.partition("?")[2]
    except UpstreamDown:
        names = await context.run(context.store.tags.names, route.repository)
    return tags.listing(request, route.repository, names)


async def get_referrers(context: Context, request: Request, route: Route) -> Response:
    """Answer GET with the upstream's referrers: 404 if it has no such endpoint, stored ones if it is down."""
    digest = parse_digest(route.reference)
    query = f"?{request.query_string}" if request.query_string else ""
    upstream = _mirror(context).upstream
    try:
        async with upstream.ask("GET", route.repository, f"referrers/{digest}{query}") as response:
            if response.status != 200:
                raise NameUnknown("unknown to the upstream", detail={"upstream_status": response.status})
            applied = response.headers.get("OCI-Filters-Applied")
            headers = {} if applied is None else {"OCI-Filters-Applied": applied}
            following = next_page(response.headers.get("Link", ""))
            if following:  # which may name the upstream's host
                page = following.partition("?")[2]
                headers["Link"] = f'</v2/{route.repository}/referrers/{digest}?{page}>; rel="next"'
            body = await upstream.read(response, manifests.MAX_MANIFEST)
            return reply(200, headers, body, content.OCI_INDEX)
    except UpstreamDown:
        return await referrers.get(context, request, route)


ENDPOINTS: dict[Kind, dict[str, Endpoint]] = {
    Kind.CATALOG: {"GET": catalog.get, "HEAD": catalog.get},
    Kind.TAGS: {"GET": get_tags, "HEAD": get_tags},
    Kind.REFERRERS: {"GET": get_referrers, "HEAD": get_referrers},
    Kind.MANIFEST: {"GET": get_manifest, "HEAD": get_manifest},
    Kind.BLOB: {"GET": get_blob, "HEAD": head_blob},
    Kind.UPLOADS: {},
    Kind.UPLOAD: {},
}


def _mirror(context: Context) -> Mirror:
    if context.mirror is None:
        raise AssertionError("only a pull-through cache has these endpoints")
    return context.mirror


async def _borrowed(context: Context, repository: str, digest: Digest) -> bool:
    """Link a blob that another repository fetched, if the upstream has it in this one, too."""
    if await context.verify(digest) is None:
        return False
    if await _mirror(context).has_blob(repository, digest) is None:
        return False
    await context.run(context.store.blobs.link, repository, digest)
    return True


def _listed(body: bytes) -> list[str]:
    try:
        found = json.loads(body).get("tags") or []
    except (ValueError, AttributeError, RecursionError):
        raise Unknown("the upstream's tag list can't be read", status=502) from None
    return [tag for tag in found if isinstance(tag, str) and is_tag(tag)] if isinstance(found, list) else []
