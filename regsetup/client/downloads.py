"""Blobs coming out, in pieces, from the beginning or from where an earlier answer was cut.

OCI distribution-spec 1.1, "Pulling blobs" (end-2); RFC 9110, 14 (Range, Content-Range).
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING

from regsetup.client.calls import blob_path
from regsetup.client.connections import CHUNK
from regsetup.client.errors import DigestMismatch, TooSlow, UnexpectedAnswer
from regsetup.client.transport import Ask
from regsetup.pace import Pace
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from regsetup.client.transport import Transport

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-")


class Begun:
    """How much of a blob is here already: ``length`` bytes, hashed."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self.length = 0
        self._hasher = hashlib.new(digest.algorithm)

    def take(self, piece: bytes) -> None:
        """Count and hash the next piece."""
        self._hasher.update(piece)
        self.length += len(piece)

    def check(self, what: str) -> None:
        """Compare what came with the digest.

        Raises:
            DigestMismatch: they differ; keep nothing of it.
        """
        got = Digest(self.digest.algorithm, self._hasher.hexdigest())
        if got != self.digest:
            raise DigestMismatch(what, self.digest, got)


class Passing(Begun):
    """What goes on to another registry, which compares it with the digest: counted, and not hashed here."""

    def __init__(self, digest: Digest, length: int = 0) -> None:
        super().__init__(digest)
        self.length = length

    def take(self, piece: bytes) -> None:
        """Count the next piece."""
        self.length += len(piece)

    def check(self, what: str) -> None:
        """Compare nothing."""


def pieces(transport: Transport, repository: str, begun: Begun, limit: int | None) -> Iterator[bytes]:
    """Yield what is missing, having told ``begun`` of it; after an AnswerCut a second call goes on.

    Raises:
        DigestMismatch: after the last piece.
        UnexpectedAnswer: more than ``limit`` bytes, or another range than the one that was asked for.
        TooSlow: it drips.
    """
    pace = Pace(transport.timeout)
    ask = Ask(
        "GET",
        blob_path(repository, begun.digest),
        {"Range": f"bytes={begun.length}-"} if begun.length else {},
    )
    with transport.opened(ask) as response:
        if response.status not in {200, 206}:
            raise transport.error(ask, response)
        skip = _to_skip(transport, ask, response, begun.length)
        asked = time.monotonic()
        while piece := response.read1(CHUNK, decode_content=False):
            if not pace.holds(time.monotonic() - asked, len(piece)):
                raise TooSlow(transport.endpoint.address, pace.came, pace.waited)
            fresh = piece[skip:] if skip else piece
            skip -= len(piece) - len(fresh)
            if limit is not None and begun.length + len(fresh) > limit:
                raise UnexpectedAnswer(transport.endpoint.address, str(ask), f"more than {limit} bytes long")
            begun.take(fresh)
            if fresh:
                yield fresh
            asked = time.monotonic()
    begun.check(f"a blob of {repository}")


def _to_skip(transport: Transport, ask: Ask, response: BaseHTTPResponse, wanted: int) -> int:
    """Return how many bytes of the answer are here already: all of them where it ignores the range."""
    if response.status == 200:
        return wanted
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != wanted:
        said = response.headers.get("Content-Range")
        raise UnexpectedAnswer(
            transport.endpoint.address, str(ask), f"asked for bytes from {wanted}, it sends {said!r}"
        )
    return 0
