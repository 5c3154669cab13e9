"""Connections: TLS, proxies, and what urllib3's errors mean. Loopback is never asked through a proxy."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from regsetup.client.endpoint import Endpoint, is_loopback, origin
from regsetup.client.errors import AnswerCut, BadAuthority, Unreachable, from_connect, from_tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

CHUNK = 1 << 20  # bytes read or sent at once
_KEPT = 16  # idle connections
_CONNECT = (
    10.0  # seconds for a connection, at most: who waits long for an answer waits for a peer that is there
)


class Connections:
    """Connections to any host, kept for the next request; safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        """Open nothing yet.

        Args:
            endpoint: whose authorities and certified name count.
            timeout: seconds for a connection and for silence.
        """
        self._endpoint = endpoint
        self._timeout = timeout
        self._pools: dict[tuple[str, str | None, str], PoolManager] = {}
        self._making = threading.Lock()

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.clear()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO | None
    ) -> BaseHTTPResponse:
        """Send one request and return the answer with its body unread; follows and repeats nothing.

        Raises:
            RegistryError: unreachable, not trusted, cut.
        """
        with explained(url):
            return self._pool(url).request(
                method,
                url,
                headers=headers,
                body=body,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )

    def _pool(self, url: str) -> PoolManager:
        """Return the connections for ``url``: direct, or through the proxy that the environment names."""
        proxy = _proxy_for(url)
        name = self._endpoint.certified_name if origin(url) == origin(self._endpoint.url) else None
        kind = (proxy, name, urlsplit(url).scheme)
        with self._making:
            if kind not in self._pools:
                self._pools[kind] = self._new_pool(*kind)
            return self._pools[kind]

    def _new_pool(self, proxy: str, name: str | None, scheme: str) -> PoolManager:
        import urllib3

        timeout = urllib3.Timeout(connect=min(self._timeout, _CONNECT), read=self._timeout)
        context = self._tls() if scheme == "https" else None  # the system's authorities take 25 ms to load
        if not proxy:
            return urllib3.PoolManager(
                timeout=timeout,
                ssl_context=context,
                maxsize=_KEPT,
                blocksize=CHUNK,
                server_hostname=name,
            )
        parts = urlsplit(proxy)
        login = f"{parts.username}:{parts.password or ''}" if parts.username else None
        return urllib3.ProxyManager(
            proxy,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
            timeout=timeout,
            ssl_context=context,
            maxsize=_KEPT,
            blocksize=CHUNK,
        )

    def _tls(self) -> ssl.SSLContext:
        """Trust the given authorities and no other, or the system's, and those that come besides."""
        path = self._endpoint.ca
        try:
            context = ssl.create_default_context(cafile=path)
            for path in self._endpoint.also:
                context.load_verify_locations(path)
        except OSError as error:
            raise BadAuthority(str(path), error.strerror or str(error)) from error
        # Python 3.13 refuses CAs without an authority key identifier, which Go's clients accept: same on all.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        # What was given is trusted, be it an intermediate or the server's own: also as Go's clients have it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Translate urllib3's errors while talking to ``url``.

    Raises:
        RegistryError: Unreachable, TlsUntrusted, PlainHttp or AnswerCut.
    """
    import urllib3.exceptions as http

    address = urlsplit(url).netloc
    try:
        yield
    except http.SSLError as error:
        raise from_tls(address, error.args[0]) from error
    except http.NewConnectionError as error:
        raise from_connect(address, error.__cause__ or error) from error
    except http.TimeoutError as error:
        raise from_connect(address, TimeoutError()) from error
    except http.ProxyError as error:
        raise Unreachable(
            f"{address} can't be reached through the proxy",
            cause=str(error.args[-1]),
            fix="check HTTP_PROXY and HTTPS_PROXY, or add the host to NO_PROXY",
        ) from error
    except http.HTTPError as error:
        raise AnswerCut(address, str(error)) from error


def _proxy_for(url: str) -> str:
    """Return the proxy's URL that the environment names for ``url``; empty for none, and for loopback."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""
