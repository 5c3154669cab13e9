"""Bearer tokens: asked for as the challenge says, remembered; the password goes where it belongs."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from regsetup.client import (
    Credentials,
    Denied,
    Endpoint,
    RegistryClient,
    RegistryError,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from regsetup.reference import Digest
from regsetup.secret import Secret
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.liar import Reply, Request

ALICE = Credentials("alice", Secret("geheim"))
BASIC = "Basic " + base64.b64encode(b"alice:geheim").decode()
CONTENT = b"content"
DIGEST = Digest.of(CONTENT)


@dataclass
class Pair:
    """A registry and its token service, as liars."""

    registry: Liar
    service: Liar
    answer: dict[str, object] = field(default_factory=lambda: {"expires_in": 300})
    given: list[str] = field(default_factory=list)

    @property
    def scopes(self) -> list[list[str]]:
        return [parse_qs(urlsplit(request.target).query)["scope"] for request in self.service.requests]


@contextmanager
def pair(*, field_name: str = "token") -> Iterator[Pair]:
    """Start both: a token is good for the scope that it was asked for."""

    def serve_tokens(request: Request) -> bytes:
        (*_, scope) = parse_qs(urlsplit(request.target).query)["scope"]
        made.given.append(scope)
        return reply_json({field_name: f"token-{len(made.given)}"} | made.answer)

    def serve_content(request: Request) -> bytes:
        action = "pull" if request.method in {"GET", "HEAD"} else "pull,push"
        scope = f"repository:{request.path.split('/')[2]}:{action}"
        bearer = request.headers.get("authorization", "").removeprefix("Bearer token-")
        if not bearer.isdigit() or made.given[int(bearer) - 1] != scope:
            realm = f'Bearer realm="{made.service.url}/token",service="the, registry",scope="{scope}"'
            return reply(401, WWW_Authenticate=realm)
        if request.method == "POST":
            return reply(202, Location=f"{request.path}1")
        return reply(201) if request.method == "PUT" else reply(200, CONTENT)

    with Liar(serve_content) as registry, Liar(serve_tokens) as service:
        made = Pair(registry, service)
        yield made


@pytest.mark.parametrize("field_name", ["token", "access_token"])
def test_a_token_is_asked_for_as_the_challenge_says_and_used(field_name: str) -> None:
    with (
        pair(field_name=field_name) as made,
        RegistryClient(Endpoint(made.registry.url, credentials=ALICE)) as client,
    ):
        assert b"".join(client.get_blob("a", DIGEST)) == CONTENT
    (asked,) = made.service.requests
    query = parse_qs(urlsplit(asked.target).query)
    assert query == {"service": ["the, registry"], "scope": ["repository:a:pull"]}
    assert asked.headers["authorization"] == BASIC
    assert [request.headers.get("authorization") for request in made.registry.requests] == [
        None,
        "Bearer token-1",
    ]


def test_nobody_gets_a_token_too() -> None:
    with pair() as made, RegistryClient(Endpoint(made.registry.url)) as client:
        assert b"".join(client.get_blob("a", DIGEST)) == CONTENT
    assert "authorization" not in made.service.requests[0].headers


def test_a_token_is_remembered_for_its_purpose() -> None:
    with pair() as made, RegistryClient(Endpoint(made.registry.url)) as client:
        for _ in range(3):
            list(client.get_blob("a", DIGEST))
        list(client.get_blob("b", DIGEST))
        for _ in range(2):
            client.put_blob("a", CONTENT)
    assert made.scopes == [
        ["repository:a:pull"],
        ["repository:b:pull"],
        ["repository:a:pull,push"],
        ["repository:a:pull,push"],  # for POST and for PUT
    ]


def test_a_token_that_has_ended_is_asked_for_again() -> None:
    with pair() as made, RegistryClient(Endpoint(made.registry.url)) as client:
        made.answer["expires_in"] = 1
        for _ in range(2):
            list(client.get_blob("a", DIGEST))
    assert len(made.service.requests) == 2


def test_a_token_that_is_refused_is_no_loop() -> None:
    with pair() as made:

        def refuse(request: Request) -> bytes:
            realm = f'Bearer realm="{made.service.url}/token",scope="repository:a:pull"'
            return reply(401, WWW_Authenticate=realm)

        with (
            Liar(refuse) as registry,
            RegistryClient(Endpoint(registry.url)) as client,
            pytest.raises(Unauthorized),
        ):
            client.get_manifest("a", "1")
    assert len(made.service.requests) == 1


def test_who_is_known_and_may_not_is_not_told_of_a_wrong_password() -> None:
    """A token service gives tokens that open less than was asked for; the registry answers 401 to them."""
    with pair() as made:
        realm = f'Bearer realm="{made.service.url}/token",scope="repository:a:pull"'
        with (
            Liar(lambda _: reply(401, WWW_Authenticate=realm)) as registry,
            RegistryClient(Endpoint(registry.url, credentials=ALICE)) as client,
            pytest.raises(Denied) as caught,
        ):
            client.get_manifest("a", "1")
    assert caught.value.message == f"{registry.address} denies GET /v2/a/manifests/1"
    assert "gives no token for this" in (caught.value.cause or "")


def test_a_busy_token_service_is_waited_for() -> None:
    busy = [reply(503), reply(429, Retry_After="1")]

    def serve(request: Request) -> Reply:
        if request.path == "/token":
            return busy.pop() if busy else reply_json({"token": "x"})
        if request.headers.get("authorization") == "Bearer x":
            return reply(200, CONTENT)
        return reply(401, WWW_Authenticate=f'Bearer realm="{made.url}/token",scope="repository:a:pull"')

    with Liar(serve) as made, RegistryClient(Endpoint(made.url, credentials=ALICE)) as client:
        assert b"".join(client.get_blob("a", DIGEST)) == CONTENT


def test_a_token_service_that_fails_is_named() -> None:
    with Liar(lambda _: reply(500)) as service:
        error = registry_error(f"{service.url}/token")
    assert error.message == f"{service.address} gave no usable answer to GET /token"


@pytest.mark.parametrize(
    "answer",
    [
        reply_json({}),
        reply_json([]),
        reply_json({"token": "a\nb"}),
        reply_json({"token": "ä"}),
        reply_json({"token": "x", "expires_in": "soon"}),
        reply(200, b"nonsense"),
    ],
)
def test_a_token_service_that_makes_no_sense_is_said(answer: bytes) -> None:
    error = service_error(answer)
    assert isinstance(error, UnexpectedAnswer)
    assert "a token" in error.message


def test_a_token_service_that_refuses_the_password_is_unauthorized() -> None:
    assert isinstance(service_error(reply(401)), Unauthorized)


def service_error(answer: bytes) -> RegistryError:
    with Liar(lambda _: answer) as service:
        return registry_error(f"{service.url}/token")


def registry_error(realm: str) -> RegistryError:
    """What comes of a registry that names ``realm``."""
    challenge = f'Bearer realm="{realm}",scope="x"'
    with (
        Liar(lambda _: reply(401, WWW_Authenticate=challenge)) as registry,
        RegistryClient(Endpoint(registry.url, credentials=ALICE)) as client,
        pytest.raises(RegistryError) as caught,
    ):
        client.get_manifest("a", "1")
    return caught.value


def test_a_token_service_that_is_gone_is_said() -> None:
    assert isinstance(registry_error(f"http://127.0.0.1:{free_port()}/"), Unreachable)


@pytest.mark.parametrize("realm", ["", "ftp://x/", "/token", "http://[", "file:///etc/passwd"])
def test_no_password_is_sent_to_what_is_no_web_address(realm: str) -> None:
    error = registry_error(realm)
    assert "to which no password is sent" in (error.cause or "")


def test_an_unknown_scheme_is_unauthorized() -> None:
    with (
        Liar(lambda _: reply(401, WWW_Authenticate="Negotiate")) as registry,
        RegistryClient(Endpoint(registry.url, credentials=ALICE)) as client,
        pytest.raises(Unauthorized),
    ):
        client.get_manifest("a", "1")
    assert all("authorization" not in request.headers for request in registry.requests)


def test_an_identity_token_is_posted_in_exchange_for_an_access_token() -> None:
    identity = Credentials("<token>", Secret("long&lived"))

    def serve(request: Request) -> bytes:
        if request.path == "/token":
            return reply_json({"access_token": "short", "expires_in": 300})
        if request.headers.get("authorization") == "Bearer short":
            return reply(200, CONTENT)
        realm = f'Bearer realm="{made.url}/token",service="s",scope="repository:a:pull"'
        return reply(401, WWW_Authenticate=realm)

    with Liar(serve) as made, RegistryClient(Endpoint(made.url, credentials=identity)) as client:
        assert b"".join(client.get_blob("a", DIGEST)) == CONTENT
    (asked,) = [request for request in made.requests if request.path == "/token"]
    assert (asked.method, asked.headers.get("authorization")) == ("POST", None)
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["long&lived"],
        "client_id": ["regsetup"],
        "service": ["s"],
        "scope": ["repository:a:pull"],
    }


def test_an_identity_token_is_no_password_for_basic() -> None:
    identity = Credentials("<token>", Secret("long-lived"))
    with (
        Liar(lambda _: reply(401, WWW_Authenticate='Basic realm="r"')) as made,
        RegistryClient(Endpoint(made.url, credentials=identity)) as client,
        pytest.raises(Unauthorized),
    ):
        list(client.get_blob("a", DIGEST))
    assert [request.headers.get("authorization") for request in made.requests] == [None]
