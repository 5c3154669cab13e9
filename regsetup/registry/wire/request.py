"""Requests: reading the request line and headers. Pure.

RFC 9112 sections 2, 3, 5 and 6.3, read strictly: what two readers could take for two different requests
(bare line feeds, folded lines, two lengths, a length beside a transfer coding) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote

from regsetup.registry.errors import Unsupported

if TYPE_CHECKING:
    from regsetup.registry.wire.framing import Framing
    from regsetup.registry.wire.line import Line
    from regsetup.registry.wire.response import Response

MAX_HEAD = 32 << 10  # bytes of a request line and all headers
MAX_HEADERS = 100
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_HEAD = re.compile(
    rb"(" + _TOKEN + rb"{1,32}+) ([\x21-\x7e]++) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+)\r\n"
)
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)  # RFC 9112 3.2.2
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


class NotARequest(Unsupported):
    """What came is not a request that HTTP/1.1 allows; nothing after it can be understood."""

    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a request that HTTP/1.1 allows: {reason}")


class Channel(Protocol):
    """The connection that a request came over, for endpoints that move more than fits in an answer."""

    remote: str
    framing: Framing

    async def begin(self, response: Response) -> None:
        """Send the head of an answer whose body follows; return when it is with the kernel."""

    async def write(self, piece: bytes) -> None:
        """Send a part of the body; return when it is with the kernel."""

    def seize(self) -> Line:
        """Take the socket over until the answer: the event loop no longer reads or writes it."""

    def say_continue(self) -> None:
        """Tell the client to send its body, if it waits for that."""


@dataclass
class Request:
    """What a client asks.

    Attributes:
        method: as it was sent.
        target: path and query, as they were sent.
        path: decoded.
        headers: by lower-case name; lines of one name are joined by a comma.
        length: bytes of the body; None where it is chunked.
        keep_alive: the client goes on with this connection.
        channel: where the body comes from and the answer goes to.
    """

    method: str
    target: str
    path: str
    query_string: str
    headers: dict[str, str]
    length: int | None
    keep_alive: bool
    channel: Channel = field(init=False)

    @cached_property
    def queries(self) -> dict[str, list[str]]:
        """The query's values by name."""
        return parse_qs(self.query_string, keep_blank_values=True) if self.query_string else {}

    def query(self, name: str) -> str | None:
        """Return the first value of a name in the query."""
        return self.queries.get(name, [None])[0]


def cut(received: bytes) -> tuple[bytes, bytes] | None:
    """Part a head from what follows it; None while it is not whole.

    Raises:
        NotARequest: it never will be: it is too long, or begins with what no request begins with.
    """
    received = received.lstrip(b"\r\n") if received[:1] in b"\r\n" else received  # RFC 9112 2.2
    end = received.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end >= 0:
        return received[: end + 4], received[end + 4 :]
    if len(received) >= MAX_HEAD:
        raise NotARequest("its head is too long")
    if received and not received[:1].isalpha():
        raise NotARequest("it has no method")
    return None


def parse(head: bytes) -> Request:
    """Read a whole head.

    Raises:
        NotARequest: says why.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        raise NotARequest("request line or a header can't be read")
    method, target, minor, block = match.groups()
    headers = _headers(block.decode("latin-1"))
    url = target.decode("ascii")
    path, _, query = (_ABSOLUTE.sub("", url, count=1) if url[0] != "/" else url).partition("?")
    is_newer = minor == b"1"
    if is_newer and "host" not in headers:
        raise NotARequest("it has no Host")  # RFC 9112 3.2
    return Request(
        method.decode("ascii"),
        url,
        unquote(path) if "%" in path else path,
        query,
        headers,
        _length(headers, is_newer=is_newer),
        _keeps(headers.get("connection"), is_newer=is_newer),
    )


def _headers(block: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    lines = block.split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise NotARequest("it has too many headers")
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length(headers: dict[str, str], *, is_newer: bool) -> int | None:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is None:
        if length is None:
            return 0
        if not _LENGTH.fullmatch(length):
            raise NotARequest("its Content-Length is no number")
        return int(length)
    if length is not None:
        raise NotARequest("it has both Content-Length and Transfer-Encoding")
    if coding.lower() != "chunked" or not is_newer:
        raise NotARequest("its Transfer-Encoding is not chunked")
    return None


def _keeps(connection: str | None, *, is_newer: bool) -> bool:
    if connection is None:
        return is_newer
    options = {option.strip().lower() for option in connection.split(",")}
    return "close" not in options and (is_newer or "keep-alive" in options)
