"""Answers to ``WWW-Authenticate``: Basic (RFC 7617) and the registry's Bearer tokens.

Distribution's "Token Authentication Specification": the challenge names realm, service and scope; the realm
gives a token for them; tokens are remembered until shortly before they end. An identity token is exchanged by
POST ("Docker Registry v2 authentication using OAuth2").
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from regsetup.auth.challenge import parse_challenges
from regsetup.client.endpoint import IDENTITY, is_loopback, origin
from regsetup.client.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regsetup.client.endpoint import Credentials, Endpoint

    Fetch = Callable[[str, Mapping[str, str], bytes | None], bytes]

_LIFE = 60  # seconds; a token without expires_in lives this long (token specification)
_EARLY = 5  # seconds; a token is not used in its last moments
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_REPOSITORY = re.compile(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/")


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    ends: float  # time.monotonic()


def basic(credentials: Credentials) -> str:
    """Return the Basic Authorization header, in UTF-8 (RFC 7617, 2.1)."""
    pair = f"{credentials.user}:{credentials.password.reveal()}".encode()
    return "Basic " + base64.b64encode(pair).decode()


class Authenticator:
    """Remembers what the registry asked for, and answers it in advance from then on."""

    def __init__(self, endpoint: Endpoint, fetch: Fetch) -> None:
        self._endpoint = endpoint
        self._fetch = fetch
        self._basic: str | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}

    @property
    def asked(self) -> bool:
        """Whether the registry has asked who we are, and could be told."""
        return self._basic is not None or bool(self._tokens)

    @property
    def has_token(self) -> bool:
        """Whether a token service knows who we are: what is refused now is no matter of the password."""
        return bool(self._tokens)

    def header(self, method: str, url: str) -> str | None:
        """Return the Authorization header for a request to the endpoint, as far as it is known."""
        token = self._tokens.get(_purpose(method, url))
        if token and token.ends > time.monotonic():
            return f"Bearer {token.value}"
        return self._basic

    def answer(self, challenge_header: str, method: str, url: str, tried: str | None) -> str | None:
        """Return the header that answers a 401, or None where there is nothing (new) to say.

        Raises:
            RegistryError: the token service can't be reached, refuses us or makes no sense.
        """
        for challenge in parse_challenges(challenge_header):
            if challenge.scheme == "bearer":
                token = self._token(challenge.parameters)
                self._tokens[_purpose(method, url)] = token
                return f"Bearer {token.value}"
            if challenge.scheme == "basic" and self._endpoint.credentials and not self._has_identity:
                self._basic = basic(self._endpoint.credentials)
                return None if tried == self._basic else self._basic
        return None

    def _token(self, parameters: Mapping[str, str]) -> _Token:
        """Fetch a token, as the endpoint's user where there is one."""
        realm = parameters.get("realm", "")
        self._check_realm(realm)
        query = [(key, parameters[key]) for key in ("service",) if key in parameters]
        scopes = parameters.get("scope", "").split()
        credentials = self._endpoint.credentials
        if credentials and self._has_identity:
            form = [*query, ("scope", " ".join(scopes)), ("grant_type", "refresh_token")]
            form += [("client_id", "regsetup"), ("refresh_token", credentials.password.reveal())]
            body = self._fetch(realm, _FORM, urlencode(form).encode())
        else:
            query += [("scope", scope) for scope in scopes]
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}" if query else realm
            body = self._fetch(url, {"Authorization": basic(credentials)} if credentials else {}, None)
        return self._read(realm, body)

    @property
    def _has_identity(self) -> bool:
        credentials = self._endpoint.credentials
        return credentials is not None and credentials.user == IDENTITY

    def _read(self, realm: str, body: bytes) -> _Token:
        """Read what the token service answered."""
        try:
            answer = json.loads(body)
            value = str(answer.get("token") or answer["access_token"])
            life = float(answer.get("expires_in") or _LIFE)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UnexpectedAnswer(self._endpoint.address, "a token", f"{realm} sent none") from error
        if not value.isascii() or not value.isprintable():
            raise UnexpectedAnswer(self._endpoint.address, "a token", f"{realm} sent one that fits no header")
        return _Token(value, time.monotonic() + life - _EARLY)

    def _check_realm(self, realm: str) -> None:
        """Send the password to https only, or as openly as the registry itself is asked."""
        try:
            scheme, host, _ = origin(realm)
        except ValueError:
            scheme = host = ""
        open_anyway = urlsplit(self._endpoint.url).scheme == "http" or is_loopback(host)
        if scheme == "https" or (scheme == "http" and open_anyway):
            return
        raise UnexpectedAnswer(
            self._endpoint.address, "a login", f"its token service is {realm!r}, to which no password is sent"
        )


def _purpose(method: str, url: str) -> tuple[str, ...]:
    """What a token was given for: reading or writing, which repository, mounted from which."""
    parts = urlsplit(url)
    repository = _REPOSITORY.search(parts.path)
    kind = "read" if method in {"GET", "HEAD"} else method
    return (kind, repository[1] if repository else parts.path, *parse_qs(parts.query).get("from", []))
