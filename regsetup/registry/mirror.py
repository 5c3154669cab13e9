"""A pull-through cache: what is asked for and not stored is fetched from the upstream, stored, and served.

Manifests by digest and blobs never change, so what is stored needs no upstream. A tag is looked up again
(HEAD) when that was last done more than ``mirror_ttl`` ago; while the upstream does not serve, what is stored
is. Takes no pushes. Referrers and tag lists are the upstream's, and what is stored while it is down.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest, is_tag
from regsetup.registry import blobs, catalog, content, manifests, referrers, tags
from regsetup.registry.context import Context, parse_digest
from regsetup.registry.download import HELD_BACK, Download, absent, down
from regsetup.registry.errors import BlobUnknown, ManifestUnknown, NameUnknown, Unknown
from regsetup.registry.reply import BYTES, reply, stream
from regsetup.registry.routing import Kind, Route
from regsetup.registry.store import StoredManifest
from regsetup.registry.upstream import Upstream, UpstreamDown, read_credentials
from regsetup.registry.wire.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import aiohttp

    from regsetup.registry.app import Endpoint
    from regsetup.registry.wire.request import Request

log = logging.getLogger("regsetup.registry")

ACCEPT = ", ".join(sorted(content.IMAGES | content.INDEXES))
MAX_LIST = 16 << 20  # bytes of a tag list
MAX_PAGES = 1000
MAX_NOTED = 65_536  # tags whose last look-up is remembered
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*?\brel="?next"?')
_REFUSALS = frozenset({401, 403, 404})  # Docker Hub answers 401 for what does not exist


class Mirror:
    """The upstream of one registry, and what is under way from it; for one event loop."""

    def __init__(self, context: Context, upstream: Upstream) -> None:
        self._context = context
        self.upstream = upstream
        self._looked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._flights: dict[tuple[str, ...], asyncio.Task[Digest]] = {}
        self._downloads: dict[tuple[str, Digest], Download] = {}

    async def close(self) -> None:
        """Stop what is under way; half a blob is not kept."""
        tasks = [*self._flights.values(), *(download.task for download in self._downloads.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.upstream.close()

    async def resolve(self, repository: str, tag: str) -> Digest:
        """Return what a tag points to, its manifest stored; asks the upstream if that is due.

        Raises:
            ManifestUnknown: the upstream has no such tag.
            Unavailable: it does not serve, and the tag is not stored.
        """
        stored = self._stored(repository, tag)
        looked = self._looked.get((repository, tag))
        due = looked is None or time.monotonic() - looked > self._context.settings.mirror_ttl
        if stored is not None and not self._has(repository, stored):  # damaged, or deleted meanwhile
            stored = None
        if stored is not None and (not due or self.upstream.is_down):
            return stored
        try:
            return await self._once(("tag", repository, tag), lambda: self._look_up(repository, tag, stored))
        except UpstreamDown as error:
            if stored is None:
                raise down(error) from error
            return stored

    async def ensure_manifest(self, repository: str, digest: Digest) -> None:
        """Have a manifest stored.

        Raises:
            ManifestUnknown: the upstream does not have it.
            Unavailable: it does not serve.
        """
        try:
            self._context.store.manifests.get(repository, digest)
        except ManifestUnknown:
            key = ("manifest", repository, str(digest))
            try:
                await self._once(key, lambda: self._fetch_manifest(repository, str(digest), digest))
            except UpstreamDown as error:
                raise down(error) from error

    def download(self, repository: str, digest: Digest) -> Download:
        """Return the one download of a blob, begun now if there is none."""
        key = (repository, digest)
        if key not in self._downloads:
            download = Download(self._context, self.upstream, repository, digest)
            self._downloads[key] = download
            download.task.add_done_callback(lambda _: self._downloads.pop(key, None))
        return self._downloads[key]

    async def has_blob(self, repository: str, digest: Digest) -> dict[str, str] | None:
        """Return the upstream's headers of a blob, None if it has none.

        Raises:
            Unavailable: it does not serve.
        """
        try:
            async with self.upstream.ask("HEAD", repository, f"blobs/{digest}") as response:
                return dict(response.headers) if response.status == 200 else None
        except UpstreamDown as error:
            raise down(error) from error

    def _stored(self, repository: str, tag: str) -> Digest | None:
        try:
            return self._context.store.tags.get(repository, tag)
        except ManifestUnknown:
            return None

    async def _once(
        self, key: tuple[str, ...], make: Callable[[], Coroutine[object, object, Digest]]
    ) -> Digest:
        """Do something once for all who ask meanwhile; it goes on when they leave."""
        task = self._flights.get(key)
        if task is None:
            task = self._flights[key] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: tuple[str, ...], task: asyncio.Task[Digest]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # it is looked at, even if every client has left

    async def _look_up(self, repository: str, tag: str, stored: Digest | None) -> Digest:
        """Ask what a tag points to, and store that if it is new."""
        async with self.upstream.ask("HEAD", repository, f"manifests/{tag}", {"Accept": ACCEPT}) as response:
            if response.status in _REFUSALS:
                await self._forget(repository, tag, response.status)
            named = _named(response)
        if named is None or named != stored or not self._has(repository, named):
            reference = tag if named is None else str(named)
            named = await self._fetch_manifest(repository, reference, named)
            await self._context.run(self._context.store.tags.set, repository, tag, named)
        self._looked[repository, tag] = time.monotonic()
        self._looked.move_to_end((repository, tag))
        if len(self._looked) > MAX_NOTED:
            self._looked.popitem(last=False)
        return named

    def _has(self, repository: str, digest: Digest) -> bool:
        try:
            self._context.store.manifests.get(repository, digest)
        except ManifestUnknown:
            return False
        return True

    async def _forget(self, repository: str, tag: str, status: int) -> None:
        """Drop a tag that the upstream has no more; its manifest stays for those who know the digest.

        Raises:
            ManifestUnknown: always.
        """
        if status == 404 and self._stored(repository, tag) is not None:
            await self._context.run(self._context.store.tags.delete, repository, tag)
        raise _unknown(repository, tag, status)

    async def _fetch_manifest(self, repository: str, reference: str, digest: Digest | None) -> Digest:
        """Get a manifest, verify its digest, and store it."""
        async with self.upstream.ask(
            "GET", repository, f"manifests/{reference}", {"Accept": ACCEPT}
        ) as response:
            if response.status != 200:
                raise _unknown(repository, reference, response.status)
            digest = digest or _named(response)
            body = await self.upstream.read(response, manifests.MAX_MANIFEST)
        found = Digest.of(body, digest.algorithm if digest else "sha256")
        if digest is not None and found != digest:
            raise Unknown("the upstream sent another manifest than was asked for", status=502)
        manifest = StoredManifest(found, content.media_type_of(body), body)
        await self._context.run(
            self._context.store.referrers.put, repository, manifest, content.subject_of(body)
        )
        return found


def connect(context: Context) -> Mirror:
    """Return the mirror of the settings' upstream; connects when something is asked for."""
    settings = context.settings
    if settings.mirror_of is None:
        raise AssertionError("not a pull-through cache")
    credentials = read_credentials(settings.mirror_credentials)
    return Mirror(context, Upstream(settings.mirror_of, credentials, settings.mirror_patience))


def _named(response: aiohttp.ClientResponse) -> Digest | None:
    """Return Docker-Content-Digest, if the upstream sends one that we know."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except BadReference:
        return None


def _unknown(repository: str, reference: str, status: int) -> ManifestUnknown:
    return ManifestUnknown(
        "manifest unknown to the upstream",
        detail={"name": repository, "reference": reference, "upstream_status": status},
    )


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
                following = _NEXT.search(response.headers.get("Link", ""))
            if following is None:
                break
            path = "tags/list?" + following[1].partition("?")[2]
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
            kept = ("Link", "OCI-Filters-Applied")
            headers = {name: response.headers[name] for name in kept if name in response.headers}
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
