"""The calls of the distribution API, one method each.

OCI distribution-spec 1.1, "Endpoints" end-1 to end-13; ``_catalog`` and the API version header are Docker's
(HTTP API V2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import urlencode

from regsetup.auth.libtrust import signed_payload
from regsetup.client import downloads, uploads
from regsetup.client.calls import (
    blob_path,
    call,
    check_stored,
    entries,
    manifest_path,
    named_digest,
    pages,
    parse_json,
    repository_path,
    size,
)
from regsetup.client.downloads import Begun
from regsetup.client.errors import DigestMismatch, NotARegistry, NotFound, UnexpectedAnswer
from regsetup.client.transport import Answer, Ask, Transport
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from regsetup.client.endpoint import Endpoint

VERSION_HEADER = "Docker-Distribution-Api-Version"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPES = (
    OCI_INDEX,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
SIGNED_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
MAX_MANIFEST = 4 << 20  # bytes; "Pushing Manifests": registries take at least this, and clients send no more
_NO_REFERRERS = frozenset({400, 404, 405, 406})  # where registries older than the API read the path otherwise
_PAGE = 1000  # entries; distribution 3 refuses more (catalog.maxentries)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is known of content without having it (image-spec, "OCI Content Descriptors"); size in bytes."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's exact bytes, its media type and its verified digest."""

    content: bytes
    media_type: str
    digest: Digest


class RegistryClient:
    """Talks to one registry; a context manager that closes its connections.

    Every method raises RegistryError subclasses: Unreachable, TlsUntrusted, PlainHttp, AnswerCut,
    Unauthorized, Denied, NotFound, Unsupported, TooManyRequests and UnexpectedAnswer; and BadReference for a
    name, tag or digest that the grammar does not allow.
    """

    def __init__(self, endpoint: Endpoint, timeout: float = 10.0, *, patience: float = 30.0) -> None:
        """Open nothing yet.

        Args:
            endpoint: whom to ask.
            timeout: seconds for a connection, for silence, and for a whole small answer.
            patience: seconds spent waiting before repetitions (429, 5xx), at most.
        """
        self.endpoint = endpoint
        self._transport = Transport(endpoint, timeout=timeout, patience=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    @property
    def asked(self) -> bool:
        """Whether the registry has asked who we are, and was told: an open one asks nobody."""
        return self._transport.asked

    def ping(self) -> Answer:
        """Ask ``/v2/`` and return its answer, 200 or 401 (end-1).

        Raises:
            NotARegistry: something else answers there.
        """
        ask = Ask("GET", "/v2/")
        answer = self._transport.whole(ask, limit=MAX_MANIFEST)
        known = VERSION_HEADER in answer.headers or "json" in answer.headers.get("Content-Type", "")
        if answer.status == 404 or (answer.status == 200 and not known):
            raise NotARegistry(
                self.endpoint.address, f"GET /v2/ answers {answer.status} without a registry's headers"
            )
        if answer.status not in {200, 401}:
            raise self._transport.status_error(ask, answer)
        return answer

    def head_blob(self, repository: str, digest: Digest) -> int | None:
        """Return the blob's size in bytes, or None where the repository has no such blob (end-2)."""
        ask = Ask("HEAD", blob_path(repository, digest))
        try:
            return size(self._transport, ask, call(self._transport, ask, 200).headers)
        except NotFound:
            return None

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Tell whether the repository has the blob (end-2), which a registry may answer without its size."""
        return self.stored_as(repository, digest) is not None

    def stored_as(self, repository: str, digest: Digest) -> Digest | None:
        """Return the digest that the registry names a blob by, or None where the repository has none.

        It is another one where it stores under one algorithm only, as registry:2 does.
        """
        ask = Ask("HEAD", blob_path(repository, digest))
        try:
            return named_digest(self._transport, ask, call(self._transport, ask, 200).headers) or digest
        except NotFound:
            return None

    def get_blob(
        self, repository: str, digest: Digest, *, limit: int | None = None, begun: Begun | None = None
    ) -> Iterator[bytes]:
        """Yield the blob in pieces of at most 1 MiB (end-2); errors come with them. Exhaust or close it.

        Args:
            limit: bytes that it may have.
            begun: what is here already and need not be sent again; it learns of each piece, so that a second
                call goes on where an AnswerCut ended the first.

        Raises:
            DigestMismatch: after the last piece; keep nothing of it then.
            UnexpectedAnswer: it is longer than ``limit`` bytes, or not the part that was asked for.
        """
        return downloads.pieces(self._transport, repository, begun or Begun(digest), limit)

    def put_blob(self, repository: str, content: bytes | BinaryIO, digest: Digest | None = None) -> Digest:
        """Upload a blob in one piece (end-4a, end-6) and return its digest.

        A file is sent from its beginning; ``digest`` saves reading it twice.

        Raises:
            DigestMismatch: the registry stored something else.
        """
        return uploads.put(self._transport, repository, content, digest)

    def put_blob_chunks(self, repository: str, chunks: Iterable[bytes]) -> Digest:
        """Upload a blob chunk by chunk (end-4a, end-5, end-6) and return its SHA-256 digest.

        Raises:
            DigestMismatch: the registry stored something else.
        """
        return uploads.put_chunks(self._transport, repository, chunks)

    def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Take a blob over from another repository (end-11); False where the registry wants it uploaded."""
        return uploads.mount(self._transport, repository, digest, source)

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Remove the blob from the repository (end-10)."""
        call(self._transport, Ask("DELETE", blob_path(repository, digest)), 202, 200, 204)

    def head_manifest(self, repository: str, reference: str | Digest) -> Descriptor | None:
        """Return media type, digest and size, or None where there is no such manifest (end-3).

        It is fetched where a registry does not say these to HEAD: it should, and need not.
        """
        ask = Ask("HEAD", manifest_path(repository, reference), {"Accept": ", ".join(MANIFEST_TYPES)})
        try:
            headers = call(self._transport, ask, 200).headers
        except NotFound:
            return None
        digest = reference if isinstance(reference, Digest) else named_digest(self._transport, ask, headers)
        if digest is None or "Content-Length" not in headers:
            fetched = self.get_manifest(repository, reference)
            parse_json(self._transport, ask, fetched.content)  # any web server says 200
            return Descriptor(fetched.media_type, fetched.digest, len(fetched.content))
        return Descriptor(headers.get("Content-Type", ""), digest, size(self._transport, ask, headers))

    def get_manifest(
        self, repository: str, reference: str | Digest, accept: Iterable[str] = MANIFEST_TYPES
    ) -> Manifest:
        """Return a manifest by tag or digest, its digest verified (end-3).

        registry:2 makes a signed schema 1 manifest of a newer one for a client that accepts nothing else: its
        digest is that of the payload, under a signature that is verified, too.

        Raises:
            DigestMismatch: the bytes have not the digest that was asked for, or that the registry names.
            BadSignature: a schema 1 manifest's signature does not hold.
        """
        wishes = ", ".join(accept)
        ask = Ask("GET", manifest_path(repository, reference), {"Accept": wishes} if wishes else {})
        answer = call(self._transport, ask, 200, limit=MAX_MANIFEST)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        signed = signed_payload(answer.body) if media_type == SIGNED_SCHEMA1 else answer.body
        named = named_digest(self._transport, ask, answer.headers)
        wanted = reference if isinstance(reference, Digest) else named or Digest.of(signed)
        got = Digest.of(signed, wanted.algorithm)
        if got != wanted:
            raise DigestMismatch(f"the manifest {reference} of {repository}", wanted, got)
        return Manifest(answer.body, answer.headers.get("Content-Type", ""), got)

    def put_manifest(
        self, repository: str, reference: str | Digest, content: bytes, media_type: str
    ) -> Digest:
        """Store a manifest under a tag or its digest (end-7) and return its digest.

        Raises:
            DigestMismatch: the registry stored something else.
        """
        headers = {"Content-Type": media_type}
        ask = Ask("PUT", manifest_path(repository, reference), headers, content)
        stored = Digest.of(content, reference.algorithm if isinstance(reference, Digest) else "sha256")
        check_stored(self._transport, ask, call(self._transport, ask, 201).headers, stored)
        return stored

    def delete_manifest(self, repository: str, reference: str | Digest) -> None:
        """Remove a manifest by digest, or a tag where the registry can (end-9)."""
        call(self._transport, Ask("DELETE", manifest_path(repository, reference)), 202, 200, 204)

    def catalog(self) -> Iterator[str]:
        """Yield every repository's name, page by page."""
        return self._names(Ask("GET", f"/v2/_catalog?n={_PAGE}"), "repositories")

    def tags(self, repository: str) -> Iterator[str]:
        """Yield every tag of a repository, page by page (end-8)."""
        return self._names(Ask("GET", f"{repository_path(repository)}/tags/list?n={_PAGE}"), "tags")

    def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest (end-12), by the fallback tag where the API is missing."""
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        ask = Ask("GET", f"{repository_path(repository)}/referrers/{digest}{query}", {"Accept": OCI_INDEX})
        lists = list(pages(self._transport, ask, _NO_REFERRERS))
        if not lists:
            lists = self._tagged_referrers(ask, repository, digest)
        found = [
            self._descriptor(ask, entry)
            for one in lists
            for entry in entries(self._transport, ask, one, "manifests")
        ]
        # A registry that knows no filter gives all ("Listing Referrers").
        return tuple(one for one in found if artifact_type in {None, one.artifact_type})

    def _tagged_referrers(self, ask: Ask, repository: str, digest: Digest) -> list[dict[str, object]]:
        """Read the "Referrers Tag Schema"."""
        try:
            content = self.get_manifest(repository, f"{digest.algorithm}-{digest.hex[:64]}").content
        except NotFound:
            return []
        return [parse_json(self._transport, ask, content)]

    def _names(self, ask: Ask, key: str) -> Iterator[str]:
        for page in pages(self._transport, ask):
            for name in entries(self._transport, ask, page, key):
                yield str(name)

    def _descriptor(self, ask: Ask, entry: object) -> Descriptor:
        """Read one entry of an index."""
        fields = entry if isinstance(entry, dict) else {}
        try:
            return Descriptor(
                str(fields["mediaType"]),
                Digest.parse(str(fields["digest"])),
                int(fields["size"]),
                fields.get("artifactType"),
                dict(fields.get("annotations") or {}),
            )
        except (BadReference, KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswer(self.endpoint.address, str(ask), f"a bad descriptor: {error}") from error
