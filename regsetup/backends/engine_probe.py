"""Asks an engine what ``host.reload`` must know while its settings change. It may be restarting meanwhile.

Engine API, unversioned: ``GET /info``, ``/containers/json``, ``/events``. On a local socket it does without
the SDK, which leaves a socket open when the engine goes away between two looks (docker-py 7.1).
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.host.docker_info import Info

_SDK_VERSION = "1.41"  # named so that the SDK does not ask for one; it is not sent
_TIMEOUT = 10  # seconds per request; the engine may be starting


class EngineProbe:
    """Speaks to the engine at ``url``, anew each time."""

    def __init__(self, url: str) -> None:
        self.url = url

    def info(self) -> Info | None:
        """Return ``docker info``, or None if the engine does not answer."""
        answer = self._get("/info")
        if answer is None:
            return None
        found: Info = json.loads(answer)
        return found

    def running(self) -> Sequence[str]:
        """Return the names of running containers; none if the engine does not answer."""
        answer = self._get("/containers/json")
        return [str(one["Names"][0]).removeprefix("/") for one in json.loads(answer or b"[]")]

    def reloaded(self, since: float) -> bool:
        """Tell whether the engine reported ``daemon reload`` since then; False if it does not answer.

        Waits for the second to end: the engine closes the stream at ``until``, a whole second.
        """
        query = {
            "since": int(since),
            "until": int(time.time()) + 1,
            "filters": json.dumps({"type": ["daemon"], "event": ["reload"]}),
        }
        answer = self._get(f"/events?{urlencode(query)}") or b""
        return any(json.loads(line)["timeNano"] >= since * 1e9 for line in answer.splitlines())

    def _get(self, path: str) -> bytes | None:
        local = self.url.removeprefix("unix://")
        return _over_network(self.url, path) if local == self.url else _over_socket(local, path)


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


def _over_socket(socket_path: str, path: str) -> bytes | None:
    try:
        with closing(_SocketConnection(socket_path)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as answer:
                return answer.read() if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None


def _over_network(url: str, path: str) -> bytes | None:
    import docker
    import docker.errors
    import requests

    try:
        with closing(docker.APIClient(base_url=url, version=_SDK_VERSION, timeout=_TIMEOUT)) as client:
            answer = client.get(f"{client.base_url}{path}", timeout=_TIMEOUT)
            answer.raise_for_status()
    except (docker.errors.DockerException, requests.RequestException):
        return None
    return answer.content
