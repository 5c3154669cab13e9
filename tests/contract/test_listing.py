"""Lists asked for in parallel: in order, all of them, and no further than the first error."""

from __future__ import annotations

import threading

import pytest

from regsetup.client import Credentials, Endpoint, RegistryClient, Unauthorized
from regsetup.contents import listing
from regsetup.secret import Secret
from tests.bed.liar import Liar, Request, reply, reply_json


def test_results_come_in_order_and_an_error_ends_it() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError(number)
        if number > 1:
            gate.wait(10)
        return number

    found = listing.in_parallel(work, range(1000))
    assert next(found) == 0
    threading.Timer(0.1, gate.set).start()
    with pytest.raises(ValueError, match="1"):
        next(found)
    assert len(begun) < 1000


def test_a_repository_that_went_meanwhile_has_no_tags() -> None:
    def answer(request: Request) -> bytes:
        return reply(404) if "/gone/" in request.path else reply_json({"tags": ["b", "a"]})

    with Liar(answer) as liar, RegistryClient(Endpoint(liar.url)) as client:
        assert list(listing.tags(client, ["one", "gone", "two"])) == [
            ("one", ("a", "b")),
            ("gone", ()),
            ("two", ("a", "b")),
        ]


def test_who_may_not_list_is_told_apart_from_who_does_not_enter() -> None:
    alice = Credentials("alice", Secret("x"))
    asks = reply(401, WWW_Authenticate='Basic realm="r"')
    with Liar(lambda _: asks) as liar:
        for who in (None, alice):
            with (
                RegistryClient(Endpoint(liar.url, credentials=who)) as client,
                pytest.raises(Unauthorized),
            ):
                list(listing.repositories(client))
    with (
        Liar(lambda request: reply_json({}) if request.path == "/v2/" else asks) as liar,
        RegistryClient(Endpoint(liar.url, credentials=alice)) as client,
        pytest.raises(listing.NoCatalog),
    ):
        list(listing.repositories(client))
