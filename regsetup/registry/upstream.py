"""The registry behind a pull-through cache: requests to it, its tokens, its troubles.

OCI distribution-spec 1.1 as a client, with distribution's "Token Authentication Specification": a 401 names a
realm, which gives a token, also to nobody in particular (Docker Hub). Redirects are followed, to object
stores for example; credentials and tokens stay with the upstream.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import ssl
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from regsetup import __version__
from regsetup.auth.challenge import parse_challenges
from regsetup.errors import RegsetupError
from regsetup.pace import Pace
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

log = logging.getLogger("regsetup.registry")

CONNECT_TIMEOUT = 5.0  # seconds; a client waits behind it
PATIENCE = 60.0  # seconds to the head of an answer, without a byte, or with less than 1 KiB in each
DOWN_FOR = 5.0  # seconds after a failure in which what is stored is served without asking
BLOBS = 32  # fetched at once; what is small does not wait behind them
READ_BUFFER = 1 << 20  # bytes of a body that wait in memory
MAX_TOKENS = 1024  # some KiB each
_MAX_TOKEN = 1 << 20  # bytes of a token service's answer
_TOKEN_LIFE = 60.0  # seconds a token lives that does not say (token specification)
_EARLY = 5.0  # seconds; a token is not used in its last moments


class UpstreamDown(Exception):
    """The upstream can't be reached, is in trouble (5xx), or has had enough of us (429)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whom the upstream knows."""

    user: str
    password: Secret

    def header(self) -> str:
        """Return the Basic Authorization header (RFC 7617)."""
        pair = f"{self.user}:{self.password.reveal()}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class CredentialsUnusable(RegsetupError):
    """The file of the upstream's credentials can't be read, or is not one line ``user:password``."""

    code = "mirror-credentials-unusable"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the credentials for the upstream can't be read: {path}",
            cause=reason,
            fix="write one line, user:password, readable by the registry only",
        )


def read_credentials(path: Path | None) -> Credentials | None:
    """Read the file of the upstream's credentials; None asks as nobody.

    Raises:
        CredentialsUnusable: says why.
    """
    if path is None:
        return None
    try:
        user, colon, password = path.read_text(encoding="utf-8").strip("\r\n").partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsUnusable(path, str(error)) from error
    if not (user and colon and password) or "\n" in password:
        raise CredentialsUnusable(path, "it is not one line user:password")
    return Credentials(user, Secret(password))


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    ends: float  # time.monotonic()


class Upstream:
    """Requests to one registry; for one event loop."""

    def __init__(self, url: str, credentials: Credentials | None = None, patience: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self.blobs = asyncio.Semaphore(BLOBS)
        self._patience = patience
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._basic: str | None = None
        self._down_until = 0.0

    @property
    def is_down(self) -> bool:
        """Whether a request failed a moment ago."""
        return time.monotonic() < self._down_until

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, repository: str, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for ``/v2/<repository>/<path>``; gives any answer but those of an upstream in trouble.

        Raises:
            UpstreamDown: now, or while the body is read.
        """
        url = f"{self.url}/v2/{repository}/{path}"
        try:
            async with asyncio.timeout(self._patience):
                response = await self._authorized(method, repository, url, headers or {})
            try:
                _check_serves(response)
                yield response
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note_down(f"{type(error).__name__}: {error}")
            raise UpstreamDown(str(error) or "it does not answer in time") from error
        except UpstreamDown as error:
            self._note_down(str(error))
            raise

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield a body as it comes.

        Raises:
            UpstreamDown: it comes in drops.
        """
        pace = Pace(self._patience)
        asked = time.monotonic()
        async for piece in response.content.iter_any():
            if not pace.holds(time.monotonic() - asked, len(piece)):
                raise UpstreamDown(f"it sends too slowly: {pace.came} bytes in {pace.waited:.0f} s")
            yield piece
            asked = time.monotonic()

    async def read(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """Return a body of at most ``limit`` bytes.

        Raises:
            UpstreamDown: it is longer, or comes in drops.
        """
        body = bytearray()
        async for piece in self.pieces(response):
            body += piece
            if len(body) > limit:
                raise UpstreamDown(f"it sends more than {limit} bytes")
        return bytes(body)

    def _note_down(self, reason: str) -> None:
        if not self.is_down:
            log.warning("the upstream %s does not serve: %s", self.url, reason)
        self._down_until = time.monotonic() + DOWN_FOR

    async def _authorized(
        self, method: str, repository: str, url: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send with what we know to say, and once more if the upstream asks for something else."""
        tried = self._known(repository)
        response = await self._send(method, url, headers, tried)
        if response.status != 401:
            return response
        challenges = ", ".join(response.headers.getall("WWW-Authenticate", ()))  # RFC 9110 11.6.1: several
        answer = await self._answer(challenges, repository)
        if answer is None or answer == tried:
            return response
        response.release()
        return await self._send(method, url, headers, answer)

    def _known(self, repository: str) -> str | None:
        token = self._tokens.get(repository)
        return token.header if token and token.ends > time.monotonic() else self._basic

    async def _answer(self, challenge_header: str, repository: str) -> str | None:
        """Return the Authorization header that answers a 401; None if we have nothing to say."""
        for challenge in parse_challenges(challenge_header):
            if challenge.scheme == "bearer":
                token = await self._fetch_token(challenge.parameters, repository)
                if token is not None:
                    self._keep(repository, token)
                    return token.header
            if challenge.scheme == "basic" and self._credentials:
                self._basic = self._credentials.header()
                return self._basic
        return None

    def _keep(self, repository: str, token: _Token) -> None:
        """Remember a token, and not one for each name that anybody makes up."""
        self._tokens[repository] = token
        self._tokens.move_to_end(repository)
        if len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)

    async def _fetch_token(self, parameters: Mapping[str, str], repository: str) -> _Token | None:
        """Ask the token service, as our user only where nobody else can listen."""
        realm = parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return None
        query = [("service", parameters["service"])] if "service" in parameters else []
        query += [
            ("scope", scope) for scope in parameters.get("scope", f"repository:{repository}:pull").split()
        ]
        safe = parts.scheme == "https" or self.url.startswith("http://")
        basic = self._credentials.header() if self._credentials and safe else None
        url = URL(realm).extend_query(query)
        async with await self._send("GET", str(url), {}, basic, follow=False) as response:
            _check_serves(response)
            body = await self.read(response, _MAX_TOKEN)
            if response.status != 200:
                log.warning("the token service %s answers %d", realm, response.status)
                return None
        return _token(body, realm)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        *,
        follow: bool = True,
    ) -> aiohttp.ClientResponse:
        session = self._session or await self._open()
        sent = {**headers, "Accept-Encoding": "identity"}
        if authorization:
            sent["Authorization"] = authorization
        return await session.request(method, URL(url, encoded=True), headers=sent, allow_redirects=follow)

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # The system's certificates take 65 ms to load: not on the loop, and not before.
                context = await asyncio.to_thread(ssl.create_default_context)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, ssl=context),
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=CONNECT_TIMEOUT, sock_read=self._patience
                    ),
                    headers={"User-Agent": f"regsetup/{__version__}"},
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    requote_redirect_url=False,  # it may be signed as it stands
                    read_bufsize=READ_BUFFER,
                    trust_env=True,
                )
        return self._session


def _check_serves(response: aiohttp.ClientResponse) -> None:
    if response.status >= 500 or response.status == 429:
        raise UpstreamDown(f"{response.url.host} answers {response.status}")


def _token(body: bytes, realm: str) -> _Token | None:
    try:
        answer = json.loads(body)
        value = str(answer.get("token") or answer["access_token"])
        life = float(answer.get("expires_in") or _TOKEN_LIFE)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        value, life = "", 0.0
    if not value.isascii() or not value.isprintable() or not value:
        log.warning("the token service %s sends no token", realm)
        return None
    return _Token(f"Bearer {value}", time.monotonic() + life - _EARLY)
