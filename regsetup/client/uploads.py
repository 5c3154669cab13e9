"""Blobs going in: one piece, chunk by chunk, or mounted (distribution-spec 1.1, "Pushing Blobs")."""

from __future__ import annotations

import hashlib
import io
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode

from regsetup.client.calls import call, check_stored, location, repository_path
from regsetup.client.connections import CHUNK
from regsetup.client.errors import RegistryError
from regsetup.client.transport import Ask, Transport
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BYTES = {"Content-Type": "application/octet-stream"}


def put(
    transport: Transport, repository: str, content: bytes | BinaryIO, digest: Digest | None = None
) -> Digest:
    """Upload in one piece, POST then PUT (end-4a, end-6)."""
    digest = digest or _digest_of(content)
    with _upload(transport, repository) as upload:
        upload.finish(digest, content)
    return digest


def put_chunks(transport: Transport, repository: str, chunks: Iterable[bytes]) -> Digest:
    """Upload chunk by chunk, a PATCH each (end-5); the digest is SHA-256."""
    hasher = hashlib.sha256()
    with _upload(transport, repository) as upload:
        for chunk in filter(None, chunks):
            hasher.update(chunk)
            upload.add(chunk)
        digest = Digest("sha256", hasher.hexdigest())
        upload.finish(digest, b"")
    return digest


def mount(transport: Transport, repository: str, digest: Digest, source: str) -> bool:
    """Ask for a blob of another repository (end-11); an upload begun instead is cancelled."""
    repository_path(source)
    query = urlencode({"mount": str(digest), "from": source})
    ask = Ask("POST", f"{repository_path(repository)}/blobs/uploads/?{query}")
    answer = call(transport, ask, 201, 202)
    if answer.status == 202:
        _Upload(transport, location(transport, ask, answer.headers)).cancel()
    return answer.status == 201


class _Upload:
    """A session of the registry: where the next byte goes, and how many it has."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url
        self._length = 0

    def add(self, chunk: bytes) -> None:
        """Send one chunk that is not empty."""
        last = self._length + len(chunk) - 1
        ask = Ask("PATCH", self._url, {**_BYTES, "Content-Range": f"{self._length}-{last}"}, chunk)
        answer = call(self._transport, ask, 202)
        self._url = location(self._transport, ask, answer.headers)
        self._length = last + 1

    def finish(self, digest: Digest, content: bytes | BinaryIO) -> None:
        """Send the rest and have the registry check the digest."""
        query = urlencode({"digest": str(digest)})
        url = f"{self._url}{'&' if '?' in self._url else '?'}{query}"
        ask = Ask("PUT", url, _BYTES, content)
        check_stored(self._transport, ask, call(self._transport, ask, 201).headers, digest)

    def cancel(self) -> None:
        """Tell the registry to forget it; a registry that does not lets it expire."""
        with suppress(RegistryError):
            call(self._transport, Ask("DELETE", self._url), 204, 202, 200)


@contextmanager
def _upload(transport: Transport, repository: str) -> Iterator[_Upload]:
    """Begin an upload, and cancel it if it does not end well."""
    ask = Ask("POST", f"{repository_path(repository)}/blobs/uploads/")
    answer = call(transport, ask, 202)
    upload = _Upload(transport, location(transport, ask, answer.headers))
    try:
        yield upload
    except BaseException:
        upload.cancel()
        raise


def _digest_of(content: bytes | BinaryIO) -> Digest:
    if isinstance(content, bytes):
        return Digest.of(content)
    content.seek(0, io.SEEK_SET)
    hasher = hashlib.sha256()
    while piece := content.read(CHUNK):
        hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())
