"""Answers, and their heads as bytes: one place that knows the headers every answer carries."""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    "Docker-Distribution-Api-Version: registry/2.0\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Server: regsetup\r\n"
    for status in HTTPStatus
}
_BODILESS = frozenset({204, 304})


class Response:
    """An answer.

    Attributes:
        length: bytes of the body, whether it is ``body`` or is sent piece by piece; None if nobody knows.
        begun: its head was sent already, and with it everything that comes.
    """

    __slots__ = ("begun", "body", "close", "fields", "length", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, length: int | None
    ) -> None:
        self.status = status
        self.fields = list(headers.items()) if headers else []
        self.body = body
        self.length = length
        self.begun = False
        self.close = False

    def add(self, name: str, value: str) -> None:
        """Add a header, also one that is there already."""
        self.fields.append((name, value))

    def head(self) -> bytes:
        """Return status line and headers."""
        parts = [_LINES[self.status]]
        for name, value in self.fields:
            if "\r" in value or "\n" in value:
                raise AssertionError(f"{name} would be two headers")
            parts.append(f"{name}: {value}\r\n")
        if self.length is not None and self.status not in _BODILESS:
            parts.append(f"Content-Length: {self.length}\r\n")
        if self.close:
            parts.append("Connection: close\r\n")
        parts.append(_end(int(time.time())))
        return "".join(parts).encode("utf-8")


@lru_cache(maxsize=1)
def _end(second: int) -> str:
    """Return the Date header, and the line that ends a head; made once a second."""
    return time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n\r\n", time.gmtime(second))
