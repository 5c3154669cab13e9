"""Answers: with a body that is in memory, as JSON, as an error, or piece by piece."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regsetup.registry.wire.response import Response

if TYPE_CHECKING:
    from regsetup.registry.errors import ApiError

JSON = "application/json"
BYTES = "application/octet-stream"


def reply(
    status: int, headers: dict[str, str] | None = None, body: bytes = b"", content_type: str | None = None
) -> Response:
    """Return an answer with a body that is in memory."""
    response = Response(status, headers, body, length=len(body))
    if content_type is not None:
        response.add("Content-Type", content_type)
    return response


def reply_json(value: object, headers: dict[str, str] | None = None) -> Response:
    """Return 200 with a JSON document."""
    return reply(200, headers, json.dumps(value).encode(), JSON)


def reply_error(error: ApiError) -> Response:
    """Return what an error is answered with."""
    return reply(error.status, error.headers, error.body(), JSON)


def stream(status: int, headers: dict[str, str], length: int | None) -> Response:
    """Return an answer whose body of ``length`` bytes is sent piece by piece."""
    return Response(status, headers, length=length)
