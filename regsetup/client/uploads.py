"""Blobs going in: one piece, chunk by chunk, or mounted (distribution-spec 1.1, "Pushing Blobs")."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Self, cast
from urllib.parse import urlencode

from regsetup.client.calls import call, check_stored, location, repository_path
from regsetup.client.connections import CHUNK
from regsetup.client.errors import AnswerCut, RegistryError, UnexpectedAnswer
from regsetup.client.transport import Ask, Transport
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_BYTES = {"Content-Type": "application/octet-stream"}
_NO_MOUNT = (401, 403, 404, 405)  # what registries say where the other repository is out of reach
_RANGE = re.compile(r"0-([0-9]{1,19})")
_VAIN = 4  # uploads of one blob that may be cut
_ASKED = 5  # times how far an upload is
_PAUSE = 0.1  # seconds, longer each time


def put(
    transport: Transport, repository: str, content: bytes | BinaryIO, digest: Digest | None = None
) -> Digest:
    """Upload in one piece, POST then PUT (end-4a, end-6); after a cut go on, or begin again."""
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    digest = digest or _digest_of(file)
    for vain in itertools.count(1):
        upload = _Upload.begin(transport, repository)
        try:
            with upload:
                upload.finish(digest, file)
        except AnswerCut:
            if vain == _VAIN:
                raise
            time.sleep(_PAUSE * 2**vain)
        else:
            return digest
    raise AssertionError("counts for ever")


def put_chunks(transport: Transport, repository: str, chunks: Iterable[bytes]) -> Digest:
    """Upload chunk by chunk, a PATCH each (end-5); the digest is SHA-256."""
    hasher = hashlib.sha256()
    with _Upload.begin(transport, repository) as upload:
        for chunk in filter(None, chunks):
            hasher.update(chunk)
            upload.add(chunk)
        digest = Digest("sha256", hasher.hexdigest())
        upload.finish(digest, b"")
    return digest


def mount(transport: Transport, repository: str, digest: Digest, source: str) -> bool:
    """Ask for a blob of another repository (end-11); an upload begun instead is cancelled.

    A refusal is no error: who may push here may not be allowed to read there.
    """
    repository_path(source)
    query = urlencode({"mount": str(digest), "from": source})
    ask = Ask("POST", f"{repository_path(repository)}/blobs/uploads/?{query}")
    answer = call(transport, ask, 201, 202, *_NO_MOUNT)
    if answer.status == 202:
        _Upload(transport, location(transport, ask, answer.headers)).cancel()
    return answer.status == 201


class _Upload:
    """A session of the registry: where the next byte goes, and how many it has.

    A context manager that cancels it if it does not end well.
    """

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url
        self._length = 0

    @classmethod
    def begin(cls, transport: Transport, repository: str) -> Self:
        """Ask for one (end-4a)."""
        ask = Ask("POST", f"{repository_path(repository)}/blobs/uploads/")
        return cls(transport, location(transport, ask, call(transport, ask, 202).headers))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            self.cancel()

    def add(self, chunk: bytes) -> None:
        """Send one chunk that is not empty."""
        last = self._length + len(chunk) - 1
        ask = Ask("PATCH", self._url, {**_BYTES, "Content-Range": f"{self._length}-{last}"}, chunk)
        answer = call(self._transport, ask, 202)
        self._url = location(self._transport, ask, answer.headers)
        self._length = last + 1

    def finish(self, digest: Digest, content: bytes | BinaryIO) -> None:
        """Send the rest and have the registry check the digest; a file that is cut goes on where it was.

        Raises:
            AnswerCut: the registry can't say where that was (registry:2 can't), or nothing came through.
        """
        while True:
            ask = self._final(digest, content)
            try:
                answer = call(self._transport, ask, 201)
            except (AnswerCut, UnexpectedAnswer) as error:
                late = isinstance(error, UnexpectedAnswer)  # 416: what was under way has arrived since
                if isinstance(content, bytes) or (late and not self._length) or not self._has_more():
                    raise
            else:
                check_stored(self._transport, ask, answer.headers, digest)
                return

    def _final(self, digest: Digest, content: bytes | BinaryIO) -> Ask:
        url = f"{self._url}{'&' if '?' in self._url else '?'}{urlencode({'digest': str(digest)})}"
        if isinstance(content, bytes) or not self._length:
            return Ask("PUT", url, _BYTES, content)
        last = content.seek(0, io.SEEK_END) - 1
        headers = {**_BYTES, "Content-Range": f"{self._length}-{last}"}
        return Ask("PUT", url, headers, cast("BinaryIO", _Rest(content, self._length)))

    def _has_more(self) -> bool:
        """Ask how far the registry got, until that stays; tell whether it is further than before."""
        before = 0
        for number in range(1, _ASKED + 1):
            time.sleep(_PAUSE * number)  # for what was under way
            try:
                got = self._stored()
            except RegistryError:
                return False
            if got > self._length and got == before:
                self._length = got
                return True
            before = got
        return False

    def _stored(self) -> int:
        """Return how many bytes the registry has (end-13)."""
        ask = Ask("GET", self._url)
        answer = call(self._transport, ask, 204)
        known = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if known is None:
            raise UnexpectedAnswer(self._transport.endpoint.address, str(ask), "no Range header")
        self._url = location(self._transport, ask, answer.headers)
        return int(known[1]) + 1 if int(known[1]) else 0  # "0-0" is what one says that has nothing

    def cancel(self) -> None:
        """Tell the registry to forget it; a registry that does not lets it expire."""
        with suppress(RegistryError):
            call(self._transport, Ask("DELETE", self._url), 204, 202, 200)


class _Rest(io.RawIOBase):
    """The rest of a file, from an offset on."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._start = start

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = self._start if whence == io.SEEK_SET else 0
        return self._file.seek(offset + start, whence) - self._start


def _digest_of(content: BinaryIO) -> Digest:
    content.seek(0, io.SEEK_SET)
    hasher = hashlib.sha256()
    while piece := content.read(CHUNK):
        hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())
