"""Downloads and uploads that go on where they were cut: real registries, and servers that lie."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from regsetup.client import (
    AnswerCut,
    Begun,
    DigestMismatch,
    Endpoint,
    NotFound,
    RegistryClient,
    UnexpectedAnswer,
)
from regsetup.reference import Digest
from tests.bed.cutting import BadLine
from tests.bed.liar import Liar, Request, reply
from tests.bed.moving import Shelf, copied, fetched, pushed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.liar import Reply
    from tests.contract.both import Serve

CONTENT = os.urandom(2_500_000)
DIGEST = Digest.of(CONTENT)


@pytest.mark.parametrize("length", [1, 1_000_000, len(CONTENT) - 1])
def test_a_blob_is_fetched_from_where_it_stopped(serve: Serve, length: int) -> None:
    with RegistryClient(Endpoint(serve().url)) as client:
        client.put_blob("a", CONTENT)
        begun = Begun(DIGEST)
        begun.take(CONTENT[:length])
        rest = b"".join(client.get_blob("a", DIGEST, begun=begun, limit=len(CONTENT)))
    assert rest == CONTENT[length:]
    assert begun.length == len(CONTENT)


def test_a_beginning_that_is_wrong_is_found(serve: Serve) -> None:
    with RegistryClient(Endpoint(serve().url)) as client:
        client.put_blob("a", CONTENT)
        begun = Begun(DIGEST)
        begun.take(b"wrong")
        with pytest.raises(DigestMismatch):
            list(client.get_blob("a", DIGEST, begun=begun))
        with pytest.raises(NotFound):
            list(client.get_blob("b", DIGEST, begun=Begun(DIGEST)))


def got(handler: Callable[[Request], bytes], length: int) -> bytes:
    begun = Begun(DIGEST)
    begun.take(CONTENT[:length])
    with Liar(handler) as server, RegistryClient(Endpoint(server.url), 5.0, patience=0) as client:
        content = b"".join(client.get_blob("a", DIGEST, begun=begun, limit=len(CONTENT)))
    assert server.requests[0].headers.get("range") == (f"bytes={length}-" if length else None)
    return content


@pytest.mark.parametrize("length", [0, 5, 1_500_000, len(CONTENT)])
def test_a_server_that_sends_all_again_is_understood(length: int) -> None:
    assert got(lambda _: reply(200, CONTENT), length) == CONTENT[length:]


@pytest.mark.parametrize("said", ["bytes 0-2499999/2500000", "bytes */2500000", "nonsense", ""])
def test_another_range_than_was_asked_for_is_refused(said: str) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        got(lambda _: reply(206, CONTENT, Content_Range=said), 5)
    assert "asked for bytes from 5" in str(caught.value.cause)


def test_a_longer_rest_is_refused_before_it_is_taken() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        got(lambda _: reply(206, CONTENT, Content_Range="bytes 5-2500004/2500005"), 5)
    assert "more than 2500000 bytes long" in str(caught.value.cause)


def test_after_a_cut_the_same_count_goes_on() -> None:
    def handler(request: Request) -> bytes:
        if "range" not in request.headers:
            return reply(200, CONTENT[:2_000_000], length=len(CONTENT), Connection="close")
        at = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return reply(206, CONTENT[at:], Content_Range=f"bytes {at}-{len(CONTENT) - 1}/{len(CONTENT)}")

    def cutting(request: Request) -> list[bytes]:
        return [handler(request)]

    begun = Begun(DIGEST)
    rest: list[bytes] = []
    with Liar(cutting) as server, RegistryClient(Endpoint(server.url), 5.0, patience=0) as client:
        with pytest.raises(AnswerCut):
            rest.extend(client.get_blob("a", DIGEST, begun=begun))
        assert begun.length > 0
        kept = begun.length
        rest = list(client.get_blob("a", DIGEST, begun=begun))
    assert b"".join(rest) == CONTENT[kept:]


# Uploads


def put(line: BadLine) -> None:
    with RegistryClient(Endpoint(line.url)) as client:
        client.put_blob("a", io.BytesIO(CONTENT))


@pytest.mark.parametrize("times", [1, 2])
def test_an_upload_that_is_cut_arrives(serve: Serve, times: int) -> None:
    url = serve().url
    with BadLine(url, 1_000_000, upward=True, times=times) as line:
        put(line)
    with RegistryClient(Endpoint(url)) as client:
        assert b"".join(client.get_blob("a", DIGEST)) == CONTENT
    assert line.times == 0


def test_a_line_that_is_always_cut_is_enough_where_the_registry_tells_how_far_it_was(serve: Serve) -> None:
    """registry:2 refuses to go on with an upload whose request was cut ("upload resumed at wrong offest")."""
    url = serve().url
    with BadLine(url, 700_000, upward=True) as line, RegistryClient(Endpoint(url)) as client:
        if serve.kind == "bundled":
            put(line)
        else:
            with pytest.raises(AnswerCut):
                put(line)
        assert (client.head_blob("a", DIGEST) is not None) == (serve.kind == "bundled")


def test_an_image_arrives_over_a_bad_line(serve: Serve, tmp_path: Path) -> None:
    good, other = serve().url, serve().url
    shelf = Shelf.single(tmp_path / "made", [CONTENT])
    with (
        BadLine(good, 1_000_000, upward=True, times=2) as up,
        BadLine(good, 1_000_000, upward=False, times=2) as down,
        BadLine(other, 1_000_000, upward=True, times=2) as across,
        RegistryClient(Endpoint(up.url)) as pushing,
        RegistryClient(Endpoint(down.url)) as pulling,
        RegistryClient(Endpoint(across.url)) as taking,
    ):
        digest, _ = pushed(pushing, "a", shelf.path, tag="1")
        assert digest == shelf.root
        tree, watch = fetched(pulling, "a", "1", tmp_path / "out")
        assert watch.bytes == tree.size
        assert down.carried < len(CONTENT) + 1_500_000  # the rest alone was asked for after a cut
        copied(pulling, "a", "1", taking, "b", tag="1", referrers=False)
        assert taking.get_manifest("b", "1").digest == shelf.root
    assert (up.times, down.times, across.times) == (0, 0, 0)


def uploaded(*answers: Callable[[Request], Reply]) -> list[Request]:
    """Upload to a server that gives these answers after that to POST; return what it was asked."""
    coming = iter(answers)

    def handler(request: Request) -> Reply:
        if request.method in {"POST", "DELETE"}:
            return reply(202, Location="/v2/a/blobs/uploads/1")
        return next(coming)(request)

    with Liar(handler) as server, RegistryClient(Endpoint(server.url), 5.0, patience=0) as client:
        client.put_blob("a", CONTENT)
    return server.requests


def cut(_: Request) -> Reply:
    return []


def has(last: int) -> Callable[[Request], Reply]:
    return lambda _: reply(204, Location="/v2/a/blobs/uploads/2?x=y", Range=f"0-{last}")


def test_what_arrives_late_is_asked_for_again() -> None:
    later = has(1_499_999)
    stored = [has(5), has(999_999), has(999_999), lambda _: reply(416), later, later, lambda _: reply(201)]
    asked = uploaded(cut, *stored)
    puts = [one for one in asked if one.method == "PUT"]
    assert [one.path for one in puts] == [f"/v2/a/blobs/uploads/{number}" for number in (1, 2, 2)]
    assert [one.headers.get("content-range") for one in puts] == [
        None,
        "1000000-2499999",
        "1500000-2499999",
    ]
    assert [one.body for one in puts] == [CONTENT, CONTENT[1_000_000:], CONTENT[1_500_000:]]


@pytest.mark.parametrize(
    "said", [reply(404), reply(204, Range="0-9"), reply(204, Location="/v2/a/blobs/uploads/1", Range="9")]
)
def test_a_registry_that_does_not_tell_gets_all_in_a_new_upload(said: bytes) -> None:
    asked = uploaded(cut, lambda _: said, lambda _: reply(201))
    assert [one.method for one in asked] == ["POST", "PUT", "GET", "DELETE", "POST", "PUT"]
    assert asked[-1].body == CONTENT


def test_an_upload_that_stays_empty_is_begun_again() -> None:
    asked = uploaded(cut, *[has(0)] * 5, lambda _: reply(201))
    assert [one.method for one in asked].count("POST") == 2
    assert asked[-1].body == CONTENT


def test_a_rest_that_is_refused_for_good_ends_it() -> None:
    with pytest.raises(UnexpectedAnswer):
        uploaded(cut, has(999_999), has(999_999), lambda _: reply(400), lambda _: reply(404))
