"""From a request to its answer: route, authenticate, dispatch, translate errors, count, log."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from aiohttp import web

from regsetup.registry import blobs, catalog, manifests, referrers, tags, uploads
from regsetup.registry.accesslog import AccessLog
from regsetup.registry.context import Context, no_space
from regsetup.registry.errors import ApiError, NameUnknown, SizeInvalid, Unavailable, Unknown, Unsupported
from regsetup.registry.metrics import CONTENT_TYPE, Metrics
from regsetup.registry.reply import JSON, reply, reply_error
from regsetup.registry.routing import Kind, Route, route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from regsetup.registry.auth import Authenticator

    Endpoint = Callable[[Context, web.BaseRequest, Route], Awaitable[web.StreamResponse]]

log = logging.getLogger("regsetup.registry")

READING = frozenset({"GET", "HEAD"})
OPEN = frozenset({Kind.ROOT, Kind.HEALTH})
ENDPOINTS: dict[Kind, dict[str, Endpoint]] = {
    Kind.CATALOG: {"GET": catalog.get, "HEAD": catalog.get},
    Kind.TAGS: {"GET": tags.get, "HEAD": tags.get},
    Kind.REFERRERS: {"GET": referrers.get, "HEAD": referrers.get},
    Kind.MANIFEST: {
        "GET": manifests.get,
        "HEAD": manifests.get,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    Kind.BLOB: {"GET": blobs.get, "HEAD": blobs.head, "DELETE": blobs.delete},
    Kind.UPLOADS: {"POST": uploads.start},
    Kind.UPLOAD: {
        "GET": uploads.status,
        "HEAD": uploads.status,
        "PATCH": uploads.append,
        "PUT": uploads.finish,
        "DELETE": uploads.cancel,
    },
}


class App:
    """Answers requests. ``handle`` is what the HTTP server calls."""

    def __init__(
        self,
        context: Context,
        authenticator: Authenticator | None,
        endpoints: Mapping[Kind, Mapping[str, Endpoint]] = ENDPOINTS,
    ) -> None:
        self.context = context
        self._endpoints = endpoints
        self.metrics = Metrics()
        self.active: set[web.RequestHandler] = set()
        self.stopping = False
        self._authenticator = authenticator
        self._log = AccessLog() if context.settings.access_log else None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; only a connection that broke raises."""
        begin = time.perf_counter()
        self.active.add(request.protocol)
        kind = Kind.NOTHING
        user = ""
        status = 499  # nginx's: the client went away before the answer
        size = 0
        try:
            try:
                found = route(request.path)
                kind = found.kind
                if self._authenticator is not None and kind not in OPEN:
                    user = await self._authenticator.check(request.headers.get("Authorization"))
                response = await self._dispatch(request, found)
            except ApiError as error:
                response = reply_error(error)
            except web.RequestPayloadError as error:
                response = reply_error(SizeInvalid(f"the body can't be read: {error}"))
            except ConnectionError:
                raise
            except OSError as error:
                response = reply_error(_of_disk(error, request))
            if self.stopping:
                response.force_close()
            status = response.status
            size = response.content_length or 0
            return response
        finally:
            seconds = time.perf_counter() - begin
            self.active.discard(request.protocol)
            self.metrics.count(request.method if kind in ENDPOINTS else "GET", kind.value, status, seconds)
            if kind is Kind.BLOB and request.method == "GET":
                self.metrics.sent += size
            if self._log is not None:
                self._log.note(request, user, status, size, seconds)

    def close(self) -> None:
        """Write the log's last lines and let the threads end."""
        if self._log is not None:
            self._log.flush()
        if self._authenticator is not None:
            self._authenticator.close()
        self.context.close()

    async def _dispatch(self, request: web.BaseRequest, found: Route) -> web.StreamResponse:
        methods = self._endpoints.get(found.kind)
        if methods is None:
            return await self._fixed(request, found.kind)
        if self.context.mirror is not None and request.method not in READING:
            raise Unsupported(
                "the registry is a pull-through cache: push to its upstream", headers={"Allow": "GET, HEAD"}
            )
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise Unsupported("method not allowed", headers={"Allow": ", ".join(sorted(methods))})
        if self.context.settings.read_only and request.method not in READING:
            raise Unsupported("the registry is read-only")
        return await endpoint(self.context, request, found)

    async def _fixed(self, request: web.BaseRequest, kind: Kind) -> web.StreamResponse:
        if kind is Kind.NOTHING:
            raise NameUnknown("no such endpoint", detail={"path": request.path})
        if request.method not in READING:
            raise Unsupported("method not allowed", headers={"Allow": "GET, HEAD"})
        if kind is Kind.HEALTH:
            return await self.context.run(_health, self.context)
        if kind is Kind.METRICS:
            return reply(
                200, None, self.metrics.render(len(self.active), self.context.received), CONTENT_TYPE
            )
        return reply(200, None, b"{}", JSON)


def _health(context: Context) -> web.Response:
    """Answer whether the storage can be read, and written unless that is off."""
    root = context.settings.root
    wanted = os.R_OK | os.X_OK | (0 if context.settings.read_only else os.W_OK)
    if not os.access(root, wanted):
        raise Unavailable(f"the data directory can't be used: {root}")
    if not context.settings.read_only:
        context.check_space(0)
    return reply(200, None, b'{"status": "ok"}', JSON)


def _of_disk(error: OSError, request: web.BaseRequest) -> ApiError:
    if error.errno in uploads.FULL:
        return no_space()
    log.error("%s %s: %s", request.method, request.path, error)
    return Unknown("the registry's storage failed")
