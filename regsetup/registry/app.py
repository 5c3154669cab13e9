"""From a request to its answer: route, authenticate, dispatch, translate errors, count, log."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from regsetup.registry import blobs, catalog, manifests, referrers, tags, uploads
from regsetup.registry.accesslog import AccessLog
from regsetup.registry.context import Context, no_space
from regsetup.registry.errors import ApiError, NameUnknown, Unavailable, Unknown, Unsupported
from regsetup.registry.logfile import LogFile
from regsetup.registry.metrics import CONTENT_TYPE, Metrics
from regsetup.registry.reply import JSON, reply, reply_error
from regsetup.registry.routing import Kind, Route, route
from regsetup.registry.wire.framing import BodyInvalid
from regsetup.registry.wire.response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from regsetup.registry.auth import Authenticator
    from regsetup.registry.wire.request import Request

    Endpoint = Callable[[Context, Request, Route], Response | Awaitable[Response]]

log = logging.getLogger("regsetup.registry")

CLIENT_LEFT = 499  # nginx's status for a client that went away before the answer
READING = frozenset({"GET", "HEAD"})
METHODS = READING | {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OPEN = frozenset({Kind.ROOT, Kind.HEALTH})
ENDPOINTS: dict[Kind, dict[str, Endpoint]] = {
    Kind.CATALOG: {"GET": catalog.get, "HEAD": catalog.get},
    Kind.TAGS: {"GET": tags.get, "HEAD": tags.get},
    Kind.REFERRERS: {"GET": referrers.get, "HEAD": referrers.get},
    Kind.MANIFEST: {
        "GET": manifests.get,
        "HEAD": manifests.head,
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


class _Visit:
    """What is noted of one request."""

    __slots__ = ("begin", "kind", "request", "user")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.begin = time.perf_counter()
        self.kind = Kind.NOTHING
        self.user = ""


class App:
    """Answers requests: ``handle`` is what connections call."""

    def __init__(
        self,
        context: Context,
        authenticator: Authenticator | None,
        endpoints: Mapping[Kind, Mapping[str, Endpoint]] = ENDPOINTS,
    ) -> None:
        self.context = context
        self._endpoints = endpoints
        self.metrics = Metrics()
        self.active = 0
        self.stopping = False
        self._authenticator = authenticator
        file = context.settings.log_file
        self._log = AccessLog(file=LogFile(file) if file else None) if context.settings.access_log else None

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request, at once if nothing has to be waited for; only a broken connection raises."""
        visit = _Visit(request)
        self.active += 1
        try:
            answer = self._begin(visit)
        except Exception as error:  # noqa: BLE001 - a defect ends a request, not the server
            answer = self._failure(error, request)
        if isinstance(answer, Response):
            self._note(visit, answer.status, answer.length or 0)
            return answer
        return self._wait(visit, answer)

    def close(self) -> None:
        """Write the log's last lines and let the threads end."""
        if self._log is not None:
            self._log.flush()
        if self._authenticator is not None:
            self._authenticator.close()
        self.context.close()

    async def _wait(self, visit: _Visit, answer: Awaitable[Response]) -> Response:
        status, size = CLIENT_LEFT, 0
        try:
            try:
                response = await answer
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001 - as in ``handle``
                response = self._failure(error, visit.request)
            status, size = response.status, response.length or 0
            return response
        finally:
            self._note(visit, status, size)

    def _begin(self, visit: _Visit) -> Response | Awaitable[Response]:
        request = visit.request
        found = route(request.path)
        visit.kind = found.kind
        if self._authenticator is not None and found.kind not in OPEN:
            header = request.headers.get("authorization")
            user = self._authenticator.known(header)
            if user is None:
                return self._authenticate(self._authenticator, visit, found)
            visit.user = user
        return self._dispatch(request, found)

    async def _authenticate(self, authenticator: Authenticator, visit: _Visit, found: Route) -> Response:
        visit.user = await authenticator.check(visit.request.headers["authorization"])
        answer = self._dispatch(visit.request, found)
        return answer if isinstance(answer, Response) else await answer

    def _note(self, visit: _Visit, status: int, size: int) -> None:
        """Count and log an answered request."""
        request, kind = visit.request, visit.kind
        seconds = time.perf_counter() - visit.begin
        self.active -= 1
        method = request.method if request.method in METHODS else "other"  # else each would be a counter
        self.metrics.count(method, kind.value, status, seconds)
        if kind is Kind.BLOB and request.method == "GET":
            self.metrics.sent += size
        if self._log is not None:
            self._log.note(request, visit.user, status, size, seconds)

    def _failure(self, error: Exception, request: Request) -> Response:
        """Return what an error is answered with."""
        if isinstance(error, ApiError):
            response = reply_error(error)
            response.close = isinstance(error, BodyInvalid)
            return response
        if isinstance(error, OSError) and error.errno in uploads.FULL:
            return reply_error(no_space())
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        if isinstance(error, OSError):
            return reply_error(Unknown("the registry's storage failed"))
        response = reply_error(Unknown("the registry failed"))
        response.close = True
        return response

    def _dispatch(self, request: Request, found: Route) -> Response | Awaitable[Response]:
        methods = self._endpoints.get(found.kind)
        if methods is None:
            return self._fixed(request, found.kind)
        if self.context.mirror is not None and request.method not in READING:
            raise Unsupported(
                "the registry is a pull-through cache: push to its upstream", headers={"Allow": "GET, HEAD"}
            )
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise Unsupported("method not allowed", headers={"Allow": ", ".join(sorted(methods))})
        if self.context.settings.read_only and request.method not in READING:
            raise Unsupported("the registry is read-only", headers={"Allow": "GET, HEAD"})
        return endpoint(self.context, request, found)

    def _fixed(self, request: Request, kind: Kind) -> Response | Awaitable[Response]:
        if kind is Kind.NOTHING:
            raise NameUnknown("no such endpoint", detail={"path": request.path})
        if request.method not in READING:
            raise Unsupported("method not allowed", headers={"Allow": "GET, HEAD"})
        if kind is Kind.HEALTH:
            return self.context.run(_health, self.context)
        if kind is Kind.METRICS:
            return reply(200, None, self.metrics.render(self.active, self.context.received), CONTENT_TYPE)
        return reply(200, None, b"{}", JSON)


def _health(context: Context) -> Response:
    """Answer whether the storage can be read, and written unless that is off."""
    root = context.settings.root
    wanted = os.R_OK | os.X_OK | (0 if context.settings.read_only else os.W_OK)
    if not os.access(root, wanted):
        raise Unavailable(f"the data directory can't be used: {root}")
    if not context.settings.read_only:
        context.check_space(0)
    return reply(200, None, b'{"status": "ok"}', JSON)
