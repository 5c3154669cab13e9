"""Asks an engine, through the Docker SDK, what ``host.reload`` must know while its settings change."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.host.docker_info import Info

_TIMEOUT = 10  # seconds per request; the engine may be starting
_REFUSED = (docker.errors.DockerException, requests.RequestException)


class EngineProbe:
    """Speaks to the engine at ``url``, anew each time: it may be restarting."""

    def __init__(self, url: str) -> None:
        self.url = url

    def info(self) -> Info | None:
        """Return ``docker info``, or None if the engine does not answer."""
        if not _listens(self.url):
            return None
        try:
            with closing(docker.DockerClient(base_url=self.url, timeout=_TIMEOUT)) as client:
                found: Info = client.info()
        except _REFUSED:
            return None
        return found

    def running(self) -> Sequence[str]:
        """Return the names of running containers; none if the engine does not answer."""
        if not _listens(self.url):
            return []
        try:
            with closing(docker.DockerClient(base_url=self.url, timeout=_TIMEOUT)) as client:
                return [str(container.name) for container in client.containers.list(ignore_removed=True)]
        except _REFUSED:
            return []

    def reloaded(self, since: float) -> bool:
        """Tell whether the engine reported ``daemon reload`` since then; False if it does not answer.

        Waits for the second to end: the engine closes the stream at ``until``, a whole second.
        """
        if not _listens(self.url):
            return False
        try:
            with closing(docker.DockerClient(base_url=self.url, timeout=_TIMEOUT)) as client:
                stream = client.events(
                    since=int(since), until=int(time.time()) + 1, decode=True, filters={"type": "daemon"}
                )
                reloads = [event["timeNano"] for event in stream if event["Action"] == "reload"]
        except _REFUSED:
            return False
        return any(nanoseconds >= since * 1e9 for nanoseconds in reloads)


def _listens(url: str) -> bool:
    """Look at a local socket first: the SDK leaves one open when it can't connect."""
    path = url.removeprefix("unix://")
    if path == url:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
