"""A pull-through cache: what is asked for and not stored is fetched from the upstream, stored, and served.

Manifests by digest and blobs never change, so what is stored needs no upstream. A tag is looked up again
(HEAD) when that was last done more than ``mirror_ttl`` ago; while the upstream does not serve, what is stored
is. The endpoints are in ``mirrored``.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest
from regsetup.registry import content, manifests
from regsetup.registry.download import Download, down
from regsetup.registry.errors import ManifestUnknown, Unknown
from regsetup.registry.store import StoredManifest
from regsetup.registry.upstream import Upstream, UpstreamDown, read_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import aiohttp

    from regsetup.registry.context import Context


ACCEPT = ", ".join(sorted(content.IMAGES | content.INDEXES))
MAX_NOTED = 65_536  # tags whose last look-up is remembered
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
