"""Downloads that go on where they were cut: real registries, and servers that lie."""

from __future__ import annotations

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
from tests.bed.liar import Liar, Request, reply

if TYPE_CHECKING:
    from collections.abc import Callable

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


def fetched(handler: Callable[[Request], bytes], length: int) -> bytes:
    begun = Begun(DIGEST)
    begun.take(CONTENT[:length])
    with Liar(handler) as server, RegistryClient(Endpoint(server.url), 5.0, patience=0) as client:
        got = b"".join(client.get_blob("a", DIGEST, begun=begun, limit=len(CONTENT)))
    assert server.requests[0].headers.get("range") == (f"bytes={length}-" if length else None)
    return got


@pytest.mark.parametrize("length", [0, 5, 1_500_000, len(CONTENT)])
def test_a_server_that_sends_all_again_is_understood(length: int) -> None:
    assert fetched(lambda _: reply(200, CONTENT), length) == CONTENT[length:]


@pytest.mark.parametrize("said", ["bytes 0-2499999/2500000", "bytes */2500000", "nonsense", ""])
def test_another_range_than_was_asked_for_is_refused(said: str) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        fetched(lambda _: reply(206, CONTENT, Content_Range=said), 5)
    assert "asked for bytes from 5" in str(caught.value.cause)


def test_a_longer_rest_is_refused_before_it_is_taken() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        fetched(lambda _: reply(206, CONTENT, Content_Range="bytes 5-2500004/2500005"), 5)
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
    got: list[bytes] = []
    with Liar(cutting) as server, RegistryClient(Endpoint(server.url), 5.0, patience=0) as client:
        with pytest.raises(AnswerCut):
            got.extend(client.get_blob("a", DIGEST, begun=begun))
        assert begun.length > 0
        kept = begun.length
        got = list(client.get_blob("a", DIGEST, begun=begun))
    assert b"".join(got) == CONTENT[kept:]
