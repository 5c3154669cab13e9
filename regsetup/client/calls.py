"""What every call of the API needs: paths, wanted statuses, digests and locations in headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from regsetup.client.errors import DigestMismatch, UnexpectedAnswer
from regsetup.client.transport import Ask
from regsetup.reference import BadReference, Digest, is_repository, is_tag
from regsetup.web_links import next_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regsetup.client.transport import Answer, Transport

MAX_BODY = 16 << 20  # bytes of JSON; registry:2 gives all tags of a repository at once
_PAGES = 10_000  # of one list: a million names where a registry gives a hundred at once


def repository_path(repository: str) -> str:
    """Return ``/v2/<name>``.

    Raises:
        BadReference: no repository's name, so that none leads elsewhere.
    """
    if not is_repository(repository):
        raise BadReference(f"bad repository name {repository!r}")
    return f"/v2/{repository}"


def blob_path(repository: str, digest: Digest) -> str:
    """Return ``/v2/<name>/blobs/<digest>``."""
    return f"{repository_path(repository)}/blobs/{digest}"


def manifest_path(repository: str, reference: str | Digest) -> str:
    """Return ``/v2/<name>/manifests/<tag or digest>``.

    Raises:
        BadReference: neither a tag nor a digest.
    """
    if isinstance(reference, str) and not is_tag(reference):
        raise BadReference(f"bad tag {reference!r}")
    return f"{repository_path(repository)}/manifests/{reference}"


def call(transport: Transport, ask: Ask, *wanted: int, limit: int = MAX_BODY) -> Answer:
    """Send a request and return its whole answer.

    Raises:
        RegistryError: unreachable, or another status than those ``wanted``.
    """
    answer = transport.whole(ask, limit=limit)
    if answer.status not in wanted:
        raise transport.status_error(ask, answer)
    return answer


def parse_json(transport: Transport, ask: Ask, body: bytes) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        UnexpectedAnswer: it is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswer(transport.endpoint.address, str(ask), "no JSON") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer(transport.endpoint.address, str(ask), "no JSON object")
    return value


def pages(transport: Transport, ask: Ask, none: frozenset[int] = frozenset()) -> Iterator[dict[str, object]]:
    """Yield the JSON objects of a paginated list, following ``Link: <...>; rel="next"`` (RFC 8288).

    Args:
        none: statuses that say that there is no such list; nothing is yielded then.

    Raises:
        UnexpectedAnswer: no JSON object, or pages that go round in a circle or come to no end.
    """
    seen: set[str] = set()
    while len(seen) < _PAGES:
        seen.add(ask.target)
        answer = call(transport, ask, 200, *none)
        if answer.status in none:
            return
        yield parse_json(transport, ask, answer.body)
        following = next_page(answer.headers.get("Link", ""))
        if following is None:
            return
        here = urljoin(transport.endpoint.url, ask.target)
        ask = Ask(ask.method, transport.follow(ask, here, following), ask.headers)
        if ask.target in seen:
            raise UnexpectedAnswer(transport.endpoint.address, str(ask), "its pages go round in a circle")
    raise UnexpectedAnswer(transport.endpoint.address, str(ask), f"more than {_PAGES} pages")


def entries(transport: Transport, ask: Ask, page: Mapping[str, object], key: str) -> list[object]:
    """Return the list under ``key``; ``null`` is an empty one (Go's nil slice).

    Raises:
        UnexpectedAnswer: there is no list.
    """
    found = page.get(key, ())
    if found is None:
        return []
    if not isinstance(found, list):
        raise UnexpectedAnswer(transport.endpoint.address, str(ask), f"no list of {key}")
    return found


def location(transport: Transport, ask: Ask, headers: Mapping[str, str]) -> str:
    """Return the absolute URL in ``Location``.

    Raises:
        UnexpectedAnswer: there is none, or it leads from TLS to plain HTTP.
    """
    here = urljoin(transport.endpoint.url, ask.target)
    return transport.follow(ask, here, headers.get("Location", ""))


def named_digest(transport: Transport, ask: Ask, headers: Mapping[str, str]) -> Digest | None:
    """Return ``Docker-Content-Digest``, or None where the registry sends none.

    Raises:
        UnexpectedAnswer: it is no digest.
    """
    text = headers.get("Docker-Content-Digest")
    if text is None:
        return None
    try:
        return Digest.parse(text)
    except BadReference as error:
        raise UnexpectedAnswer(transport.endpoint.address, str(ask), error.message) from error


def size(transport: Transport, ask: Ask, headers: Mapping[str, str]) -> int:
    """Return ``Content-Length`` in bytes.

    Raises:
        UnexpectedAnswer: there is none.
    """
    text = headers.get("Content-Length", "")
    if not (text.isascii() and text.isdigit()):
        raise UnexpectedAnswer(transport.endpoint.address, str(ask), "no Content-Length header")
    return int(text)


def check_stored(transport: Transport, ask: Ask, headers: Mapping[str, str], wanted: Digest) -> None:
    """Compare what the registry says it stored with what was sent.

    Raises:
        DigestMismatch: they differ. registry:2 answers sha512 with sha256: no difference.
    """
    stored = named_digest(transport, ask, headers)
    if stored is not None and stored.algorithm == wanted.algorithm and stored != wanted:
        raise DigestMismatch(str(ask), wanted, stored)
