"""``WWW-Authenticate`` is read as RFC 9110 writes it, and any text is read as something."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.auth.challenge import parse_challenges
from regsetup.client.challenge import Authenticator, basic
from regsetup.client.endpoint import Credentials, Endpoint
from regsetup.client.errors import UnexpectedAnswer
from regsetup.secret import Secret


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("BASIC REALM=x", [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="b",scope="repository:c:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "b", "scope": "repository:c:pull,push"})],
        ),
        (
            'Basic realm="x", Bearer realm="y" , service=z',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})],
        ),
        ('Basic realm="say \\"hi\\" \\\\"', [("basic", {"realm": 'say "hi" \\'})]),
        ('Basic realm="a", realm="b"', [("basic", {"realm": "a"})]),
        ("Negotiate", []),
        ("", []),
        ('realm="x"', []),
    ],
)
def test_challenges_are_told_apart(header: str, wanted: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, one.parameters) for one in parse_challenges(header)] == wanted


@given(st.text())
def test_any_header_is_read_without_an_error(header: str) -> None:
    assert all(challenge.parameters for challenge in parse_challenges(header))


@given(st.dictionaries(st.sampled_from(["realm", "service", "scope"]), st.text(), min_size=1))
def test_what_is_quoted_is_read_back(parameters: dict[str, str]) -> None:
    quoted = (
        '{}="{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"'))
        for key, value in parameters.items()
    )
    (read,) = parse_challenges("Bearer " + ",".join(quoted))
    assert read.parameters == parameters


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":")),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_basic_is_user_and_password_in_utf8(user: str, password: str) -> None:
    header = basic(Credentials(user, Secret(password)))
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == f"{user}:{password}"


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("https://registry.example", "https://auth.example/token", True),
        ("https://registry.example", "http://auth.example/token", False),
        ("https://registry.example", "http://127.0.0.1:5001/token", True),
        ("http://registry.example", "http://auth.example/token", True),
        ("http://registry.example", "gopher://auth.example/token", False),
    ],
)
def test_a_password_goes_to_https_or_as_openly_as_the_registry_is_asked(
    registry: str, realm: str, allowed: bool
) -> None:
    asked: list[str] = []

    def fetch(url: str, headers: object, form: bytes | None) -> bytes:
        assert form is None
        asked.append(url)
        return b'{"token": "x"}'

    login = Authenticator(Endpoint(registry, credentials=Credentials("a", Secret("b"))), fetch)
    challenge = f'Bearer realm="{realm}"'
    if not allowed:
        with pytest.raises(UnexpectedAnswer, match="a login"):
            login.answer(challenge, "GET", f"{registry}/v2/", None)
    else:
        assert login.answer(challenge, "GET", f"{registry}/v2/", None) == "Bearer x"
        assert login.header("HEAD", f"{registry}/v2/") == "Bearer x"
    assert asked == ([realm] if allowed else [])
