"""Answers: one place that knows the headers every answer carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from regsetup.registry.errors import ApiError

JSON = "application/json"
COMMON = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    "Server": "regsetup",
}


def reply(
    status: int, headers: dict[str, str] | None = None, body: bytes = b"", content_type: str | None = None
) -> web.Response:
    """Return an answer with a body that is in memory."""
    every = COMMON | headers if headers else COMMON
    if content_type is not None:
        every = every | {"Content-Type": content_type}
    return web.Response(status=status, headers=every, body=body)


def reply_json(value: object, headers: dict[str, str] | None = None) -> web.Response:
    """Return 200 with a JSON document."""
    return reply(200, headers, json.dumps(value).encode(), JSON)


def reply_error(error: ApiError) -> web.Response:
    """Return what an error is answered with."""
    return reply(error.status, error.headers, error.body(), JSON)


def stream(status: int, headers: dict[str, str]) -> web.StreamResponse:
    """Return an answer whose body is sent piece by piece; Content-Length stands in ``headers``."""
    return web.StreamResponse(status=status, headers=COMMON | headers)
