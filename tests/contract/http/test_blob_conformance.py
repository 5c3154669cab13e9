"""Blobs, as OCI's conformance suite (development version) checks them one by one, over both registries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from regsetup.reference import Digest
from tests.registry.harness import Answer, Client, local

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1024  # bytes; the suite's smallest
EMPTY = b""
ALGORITHMS = [
    "sha256",
    pytest.param("sha512", marks=pytest.mark.differs("answers with the sha256 of what was pushed as sha512")),
]


def opened(client: Client, repository: str, query: str = "") -> str:
    answer = client.ask("POST", f"/v2/{repository}/blobs/uploads/{query}", headers={"Content-Length": "0"})
    assert answer.status == 202
    assert answer["Range"] == "0-0"
    assert answer["Docker-Upload-UUID"] in answer["Location"]
    return local(answer["Location"])


def closing(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def put(client: Client, location: str, digest: Digest, body: bytes = b"", **headers: str) -> Answer:
    sent = {"Content-Type": "application/octet-stream"}
    sent |= {name.replace("_", "-"): text for name, text in headers.items()}
    return client.ask("PUT", closing(location, digest), body, sent)


def post_only(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    return client.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)


def post_put(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    return put(client, opened(client, repository), digest, content)


def streamed(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    """One PATCH without a length, as docker does it."""
    location = opened(client, repository)
    answer = client.ask("PATCH", location, iter([content[:10], content[10:]]), chunked=True)
    assert answer.status == 202
    assert answer["Range"] == f"0-{max(len(content) - 1, 0)}"
    return put(client, local(answer["Location"]), digest)


def chunked(
    client: Client,
    repository: str,
    content: bytes,
    digest: Digest,
    *,
    last_by_put: bool = False,
    wild: bool = False,
) -> Answer:
    """PATCHes with Content-Range; ``wild`` sends each chunk first at a wrong place, then asks where."""
    location = opened(client, repository)
    size = min(max(len(content) // 3 + 1, CHUNK), len(content)) or 1
    for start in range(0, len(content), size):
        chunk = content[start : start + size]
        by_put = last_by_put and start + size >= len(content)
        if wild:
            wrong = start + size if start + 2 * size <= len(content) else 0
            headers = {"Content-Range": f"{wrong}-{wrong + size - 1}"}
            if wrong or start:
                target = closing(location, digest) if by_put else location
                method = "PUT" if by_put else "PATCH"
                assert client.ask(method, target, content[wrong : wrong + size], headers).status == 416
                answer = client.get(location)
                assert answer.status == 204
                assert answer["Range"] == f"0-{max(start - 1, 0)}"
                location = local(answer["Location"])
        headers = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        if by_put:
            return put(client, location, digest, chunk, **headers)
        answer = client.ask("PATCH", location, chunk, headers)
        assert answer.status == 202, answer
        location = local(answer["Location"])
    return put(client, location, digest)


def chunked_put(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    return chunked(client, repository, content, digest, last_by_put=True)


def out_of_order(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    return chunked(client, repository, content, digest, wild=True)


def out_of_order_put(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    return chunked(client, repository, content, digest, wild=True, last_by_put=True)


def mounted(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    other = f"{repository}-other"
    client.push_blob(other, content, digest.algorithm)
    return client.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={other}")


def mounted_anonymously(client: Client, repository: str, content: bytes, digest: Digest) -> Answer:
    client.push_blob(f"{repository}-other", content, digest.algorithm)
    return client.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}")


def not_by_registry_2(push: object, why: str) -> object:
    return pytest.param(push, marks=pytest.mark.differs(why))


ORDER = "takes no notice of Content-Range, and appends whatever comes"
PUSHES = [
    not_by_registry_2(post_only, "ignores the body of a POST with a digest"),
    post_put,
    streamed,
    chunked,
    chunked_put,
    not_by_registry_2(out_of_order, ORDER),
    not_by_registry_2(out_of_order_put, ORDER),
    mounted,
    not_by_registry_2(mounted_anonymously, "mounts only with from"),
]
UPLOADS = [
    not_by_registry_2(post_only, "ignores the body of a POST with a digest"),
    post_put,
    streamed,
    chunked,
    chunked_put,
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("push", PUSHES)
def test_a_pushed_blob_is_there_until_it_is_deleted(
    client: Client, repository: str, push: Callable[[Client, str, bytes, Digest], Answer], algorithm: str
) -> None:
    content = os.urandom(CHUNK * 3 - 5)
    digest = Digest.of(content, algorithm)
    path = f"/v2/{repository}/blobs/{digest}"
    assert client.get(path).status == 404
    answer = push(client, repository, content, digest)
    assert answer.status == 201
    assert answer["Docker-Content-Digest"] == str(digest)
    assert client.get(local(answer["Location"])).body == content
    head = client.head(path)
    assert (head.status, head["Content-Length"], head.body) == (200, str(len(content)), b"")
    assert head["Docker-Content-Digest"] == str(digest)
    got = client.get(path)
    assert (got.status, got["Content-Length"], got.body) == (200, str(len(content)), content)
    assert got["Docker-Content-Digest"] == str(digest)
    assert client.ask("DELETE", path).status == 202
    assert client.head(path).status == 404
    assert client.get(path).codes == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("push", UPLOADS)
def test_content_of_another_digest_is_refused(
    client: Client, repository: str, push: Callable[[Client, str, bytes, Digest], Answer], algorithm: str
) -> None:
    content = os.urandom(CHUNK * 3 - 5)
    digest = Digest.of(content, algorithm)
    answer = push(client, repository, content + b"oh no", digest)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert client.head(f"/v2/{repository}/blobs/{digest}").status == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("content", [EMPTY, b"{}"])
@pytest.mark.parametrize("push", [post_put, streamed, chunked])
def test_well_known_small_blobs(
    client: Client,
    repository: str,
    push: Callable[[Client, str, bytes, Digest], Answer],
    content: bytes,
    algorithm: str,
) -> None:
    digest = Digest.of(content, algorithm)
    assert push(client, repository, content, digest).status == 201
    path = f"/v2/{repository}/blobs/{digest}"
    head = client.head(path)
    assert (head.status, head["Content-Length"]) == (200, str(len(content)))
    assert head["Docker-Content-Digest"] == str(digest)
    assert client.get(path).body == content


@pytest.mark.parametrize("query", ["&from={0}-nowhere", "", "&from=NOT%20A%20NAME"])
def test_mounting_what_is_not_there_opens_an_upload(client: Client, repository: str, query: str) -> None:
    digest = Digest.of(uuid4().bytes)
    location = opened(client, repository, f"?mount={digest}{query.format(repository)}")
    assert put(client, location, Digest.of(b"x"), b"x").status == 201


def test_a_blob_of_a_repository_that_is_not_named_is_not_mounted(client: Client, repository: str) -> None:
    """``from`` names one repository, and the blob stands in another."""
    digest = client.push_blob(f"{repository}-other", uuid4().bytes)
    client.push_blob(f"{repository}-named", b"something else")
    opened(client, repository, f"?mount={digest}&from={repository}-named")


def test_a_cancelled_upload_is_gone(client: Client, repository: str) -> None:
    location = opened(client, repository)
    assert client.ask("DELETE", location, headers={"Content-Length": "0"}).status == 204
    answer = client.get(location)
    assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert client.ask("PATCH", location, b"more").status == 404
    assert client.ask("DELETE", location).status == 404


RANGES = {
    "bytes=500-1499": (500, 1499),
    "bytes=500-": (500, 2047),
    "bytes=-500": (1548, 2047),
    "bytes=2000-5000": (2000, 2047),
    "bytes=0-0": (0, 0),
    "bytes=-5000": (0, 2047),
}


@pytest.mark.parametrize(("header", "part"), RANGES.items())
def test_a_range_is_served(client: Client, repository: str, header: str, part: tuple[int, int]) -> None:
    content = os.urandom(2048)
    digest = client.push_blob(repository, content)
    answer = client.get(f"/v2/{repository}/blobs/{digest}", Range=header)
    first, last = part
    assert (answer.status, answer.body) == (206, content[first : last + 1])
    assert answer["Content-Range"] == f"bytes {first}-{last}/2048"
    assert answer["Content-Length"] == str(last - first + 1)


@pytest.mark.differs("announces the length of the blob with the 416, and sends less")
@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-"])
def test_a_range_without_a_byte_is_refused(client: Client, repository: str, header: str) -> None:
    digest = client.push_blob(repository, os.urandom(2048))
    assert client.get(f"/v2/{repository}/blobs/{digest}", Range=header).status == 416


def test_a_blob_that_the_client_has_is_not_sent(client: Client, repository: str) -> None:
    digest = client.push_blob(repository, uuid4().bytes)
    path = f"/v2/{repository}/blobs/{digest}"
    etag = client.get(path)["Etag"]
    assert etag == f'"{digest}"'
    answer = client.get(path, If_None_Match=etag)
    assert (answer.status, answer.body) == (304, b"")
    assert client.get(path, If_None_Match='"other"').status == 200


@pytest.mark.differs(ORDER)
def test_a_retried_chunk_is_refused_and_the_upload_goes_on(client: Client, repository: str) -> None:
    """Conformance suite 1.1, "Retry previous blob chunk should return 416"."""
    content = os.urandom(2 * CHUNK)
    location = opened(client, repository)
    first = {"Content-Range": f"0-{CHUNK - 1}"}
    answer = client.ask("PATCH", location, content[:CHUNK], first)
    location = local(answer["Location"])
    assert client.ask("PATCH", location, content[:CHUNK], first).status == 416
    answer = client.get(location)
    assert (answer.status, answer["Range"]) == (204, f"0-{CHUNK - 1}")
    second = {"Content-Range": f"{CHUNK}-{2 * CHUNK - 1}"}
    answer = client.ask("PATCH", local(answer["Location"]), content[CHUNK:], second)
    assert put(client, local(answer["Location"]), Digest.of(content)).status == 201


def test_deleting_an_unknown_blob_is_404(client: Client, repository: str) -> None:
    client.push_blob(repository, b"there")
    answer = client.ask("DELETE", f"/v2/{repository}/blobs/{Digest.of(uuid4().bytes)}")
    assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])


@pytest.mark.parametrize(
    "digest", ["sha256:baddigeststring", "nothing", "md5:d41d8cd98f00b204e9800998ecf8427e"]
)
def test_what_is_no_digest_is_no_blob(client: Client, repository: str, digest: str) -> None:
    assert client.get(f"/v2/{repository}/blobs/{digest}").status in {400, 404}
