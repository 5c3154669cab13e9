"""One question to a registry and its answer: patience, redirects, logins.

Credentials go to the endpoint's origin and its token service, and to nobody that a redirect names.
"""

from __future__ import annotations

import io
import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

from regsetup import __version__
from regsetup.client.challenge import Authenticator
from regsetup.client.connections import Connections, explained
from regsetup.client.endpoint import origin
from regsetup.client.errors import AnswerCut, Denied, UnexpectedAnswer, from_status, said_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from regsetup.client.endpoint import Endpoint

_ERROR_BODY = 64 << 10  # bytes; as much of an error's body as is looked at
_REDIRECTS = {301, 302, 303, 307, 308}
_HOPS = 5
_TRIES = 4
_BACKOFF = 0.2  # seconds, doubled at each try
_BUSY = {500, 502, 503, 504}
_REPEATABLE = {"GET", "HEAD", "PUT", "DELETE"}  # RFC 9110, 9.2.2


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers (names in any case), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: ``target`` is a path, or a URL that the registry named."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again after a cut: of a file a registry may have kept the beginning."""
        return self.harmless and (self.body is None or isinstance(self.body, bytes))

    @property
    def harmless(self) -> bool:
        """Whether it does no harm twice: of uploads that were begun twice a registry forgets one."""
        return self.method in _REPEATABLE or (self.method == "POST" and self.body is None)

    def __str__(self) -> str:
        return f"{self.method} {urlsplit(self.target).path}"


class Transport:
    """Connections to one endpoint; safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, *, timeout: float, patience: float) -> None:
        """Open nothing yet.

        Args:
            endpoint: whom to ask.
            timeout: seconds for a connection, for silence, and for a whole small answer.
            patience: seconds spent waiting before repetitions, at most.
        """
        self.endpoint = endpoint
        self._timeout = timeout
        self._patience = patience
        self._origin = origin(endpoint.url)
        self._connections = Connections(endpoint, timeout)
        self._login = Authenticator(endpoint, self._fetch_token)

    @property
    def asked(self) -> bool:
        """Whether the registry has asked who we are, and was told."""
        return self._login.asked

    @property
    def timeout(self) -> float:
        """Seconds of silence that are borne."""
        return self._timeout

    def close(self) -> None:
        """Close every idle connection."""
        self._connections.close()

    def whole(self, ask: Ask, *, limit: int) -> Answer:
        """Send a request and read the answer's body, whatever its status.

        Raises:
            RegistryError: as ``opened``; UnexpectedAnswer too where the body is longer than ``limit`` bytes.
        """
        with self.opened(ask) as response:
            return self._read(ask, response, limit)

    @contextmanager
    def opened(self, ask: Ask) -> Iterator[BaseHTTPResponse]:
        """Send a request and give the answer with its body unread.

        Raises:
            RegistryError: unreachable, not trusted, cut, redirected too often or to plain HTTP.
        """
        url = urljoin(self.endpoint.url, ask.target)
        response = self._authorized(ask, url)
        try:
            for _ in range(_HOPS):
                if response.status not in _REDIRECTS or ask.method not in {"GET", "HEAD"}:
                    break
                _discard(response)
                url = self.follow(ask, url, response.headers.get("Location", ""))
                response = self._authorized(ask, url)
            else:
                raise UnexpectedAnswer(self.endpoint.address, str(ask), f"more than {_HOPS} redirects")
            with explained(url):
                yield response
        finally:
            _discard(response)

    def follow(self, ask: Ask, url: str, location: str) -> str:
        """Return the URL that ``location`` means, seen from ``url``.

        Raises:
            UnexpectedAnswer: there is none, or it leads from TLS to plain HTTP.
        """
        if not location:
            raise UnexpectedAnswer(self.endpoint.address, str(ask), "no Location header")
        try:
            following = urljoin(url, location)
            scheme, _, _ = origin(following)
        except ValueError as error:
            raise UnexpectedAnswer(self.endpoint.address, str(ask), str(error)) from error
        if (origin(url)[0], scheme) == ("https", "http"):
            raise UnexpectedAnswer(
                self.endpoint.address, str(ask), f"it leads from TLS to plain HTTP, {following}"
            )
        return following

    def error(self, ask: Ask, response: BaseHTTPResponse) -> Exception:
        """Return what is wrong with an answer of an unwanted status; reads the beginning of its body."""
        return self.status_error(ask, self._read(ask, response, _ERROR_BODY, cut=True))

    def status_error(self, ask: Ask, answer: Answer, *, realm: str | None = None) -> Exception:
        """As ``error``, for an answer that has been read; ``realm`` is the token service that gave it."""
        credentials = self.endpoint.credentials
        if answer.status == 401 and not realm and credentials and self._login.has_token:
            said = said_by(answer.body) or "its token service knows who asks, and gives no token for this"
            return Denied(self.endpoint.address, str(ask), said)
        return from_status(
            answer.status,
            realm if realm and answer.status != 401 else self.endpoint.address,
            str(ask),
            answer.body,
            user=credentials.user if credentials else None,
            after=answer.headers.get("Retry-After"),
        )

    def _authorized(self, ask: Ask, url: str) -> BaseHTTPResponse:
        """Send with what we know to say, and once more if the registry asks for something else."""
        if origin(url) != self._origin:
            return self._patient(ask, url, None)
        tried = self._login.header(ask.method, url)
        response = self._patient(ask, url, tried)
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status != 401 or not challenge:
            return response
        try:
            answer = self._login.answer(challenge, ask.method, url, tried)
            if answer is None:
                return response
        except BaseException:
            _discard(response)
            raise
        _discard(response)
        return self._patient(ask, url, answer)

    def _patient(self, ask: Ask, url: str, authorization: str | None) -> BaseHTTPResponse:
        """Send, and again after 429, 5xx or a cut where that is harmless, as long as patience lasts."""
        left = self._patience
        for tried in itertools.count(1):
            pause = _BACKOFF * 2**tried
            try:
                response = self._exchange(ask, url, authorization)
            except AnswerCut:
                if not ask.repeatable or tried == _TRIES:
                    raise
            else:
                pause = max(pause, _asked_pause(response))
                again = response.status == 429 or (response.status in _BUSY and ask.harmless)
                if not again or pause > left or tried == _TRIES:
                    return response
                _discard(response)
            time.sleep(pause)
            left -= pause
        raise AssertionError("counts for ever")

    def _exchange(self, ask: Ask, url: str, authorization: str | None) -> BaseHTTPResponse:
        """Send once."""
        headers = {"User-Agent": f"regsetup/{__version__}", "Accept-Encoding": "identity", **ask.headers}
        if authorization:
            headers["Authorization"] = authorization
        body = ask.body
        if body is not None and not isinstance(body, bytes):
            headers["Content-Length"] = str(body.seek(0, io.SEEK_END))
            body.seek(0)
        elif ask.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(len(body or b""))
        return self._connections.request(ask.method, url, headers, body)

    def _read(self, ask: Ask, response: BaseHTTPResponse, limit: int, *, cut: bool = False) -> Answer:
        """Read a body of at most ``limit`` bytes within the timeout; ``cut`` leaves the rest unread."""
        deadline = time.monotonic() + self._timeout
        body = bytearray()
        while piece := response.read1(limit + 1 - len(body), decode_content=False):
            body += piece
            if len(body) > limit:
                if cut:
                    break
                raise UnexpectedAnswer(self.endpoint.address, str(ask), f"more than {limit} bytes long")
            if time.monotonic() > deadline:
                raise AnswerCut(self.endpoint.address, f"not complete after {self._timeout:g} s")
        return Answer(response.status, response.headers, bytes(body))

    def _fetch_token(self, url: str, headers: Mapping[str, str], form: bytes | None) -> bytes:
        """Ask a token service, without following it anywhere; a ``form`` is posted."""
        ask = Ask("GET" if form is None else "POST", url, headers, form)
        response = self._patient(ask, url, None)
        try:
            with explained(url):
                answer = self._read(ask, response, _ERROR_BODY)
        finally:
            _discard(response)
        if answer.status != 200:
            raise self.status_error(ask, answer, realm=urlsplit(url).netloc)
        return answer.body


def _asked_pause(response: BaseHTTPResponse) -> float:
    """Read ``Retry-After`` in seconds, or a date (RFC 9110, 10.2.3); 0 where it is neither."""
    after = response.headers.get("Retry-After", "")
    if after.isascii() and after.isdigit():
        return float(after)
    try:
        return parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0


def _discard(response: BaseHTTPResponse) -> None:
    """Give the connection back if the rest of the body is short, else close it."""
    if response.length_remaining is not None and response.length_remaining <= _ERROR_BODY:
        response.drain_conn()
    else:
        response.close()
    response.release_conn()
