"""The Docker engine: which one, whether it answers, and its errors in our words.

DOCKER_HOST wins over DOCKER_CONTEXT, this over the current context of ``~/.docker/config.json``, as in
Docker's own command line.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from regsetup.backends import context
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
CONNECT_TIMEOUT = 5  # seconds; a socket that nobody accepts on must not hold `up` for a minute
TIMEOUT = 120  # seconds; stopping a container may take its whole grace period


class EngineDown(RegsetupError):
    """No engine answers at its address."""

    code = "engine-down"

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"no Docker engine answers at {address}",
            cause=cause,
            fix="sudo systemctl start docker, or regsetup up --backend embedded to do without Docker",
        )


class EngineNoRights(RegsetupError):
    """The engine's socket is there, and this user may not use it."""

    code = "engine-no-rights"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"no rights on the Docker engine's socket {address}",
            cause="this user is neither root nor in the group docker",
            fix="run it with sudo, or: sudo usermod -aG docker $USER, and log in again",
        )


class EngineElsewhere(RegsetupError):
    """The engine runs on another machine, where directories of this one can't be mounted."""

    code = "engine-elsewhere"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the Docker engine at {address} is on another machine",
            cause="users, configuration and images are directories of this machine",
            fix="run regsetup on that machine, or unset DOCKER_HOST and choose a local docker context",
        )


class EngineError(RegsetupError):
    """The engine refused a request; the cause is its own words."""

    code = "engine-error"


@dataclass(frozen=True)
class Engine:
    """A connection to an engine that answered.

    Attributes:
        address: as in DOCKER_HOST.
    """

    address: str
    client: docker.DockerClient

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The engine's own description, as ``docker info`` shows it."""
        with translated():
            described: Mapping[str, Any] = self.client.info()
            return described

    @property
    def rootless(self) -> bool:
        """Whether root in a container is an ordinary user outside."""
        return any("rootless" in option for option in self.info.get("SecurityOptions") or ())

    @property
    def selinux(self) -> bool:
        """Whether mounted directories need a label."""
        return any("selinux" in option for option in self.info.get("SecurityOptions") or ())


def find_address(environ: Mapping[str, str]) -> tuple[str, Any]:
    """Return the engine's address and the TLS settings of its context (None without TLS).

    Raises:
        BadContext: DOCKER_CONTEXT or the current context does not exist.
    """
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"], None
    address, tls = context.read(environ, context.chosen(environ))
    return address or DEFAULT_ENGINE, tls


def of_this_shell(environ: Mapping[str, str]) -> str:
    """Return the address of the engine that people here use; the default one if their context is broken."""
    try:
        return find_address(environ)[0]
    except context.BadContext:
        return DEFAULT_ENGINE


def connect(address: str | None = None) -> Engine:
    """Connect to the engine at ``address``, or to the one that environment and contexts name.

    Raises:
        EngineDown, EngineNoRights, EngineElsewhere, BadContext.
    """
    import docker
    from docker.errors import DockerException

    found, tls = (address, None) if address else find_address(os.environ)
    try:
        _refuse_elsewhere(found)
        if found == os.environ.get("DOCKER_HOST"):
            client = docker.DockerClient.from_env(version="auto", timeout=CONNECT_TIMEOUT)
        else:
            client = docker.DockerClient(
                base_url=_local(found), version="auto", timeout=CONNECT_TIMEOUT, tls=tls or False
            )
    except (DockerException, ValueError) as error:  # ValueError: it is no URL at all
        raise _why_no_answer(found, error) from error
    client.api.timeout = TIMEOUT
    return Engine(found, client)


def _local(address: str) -> str:
    """``http+unix`` is what the SDK makes of ``unix``; a context may carry it already."""
    return address.replace("http+unix://", "unix://")


def _refuse_elsewhere(address: str) -> None:
    url = urlsplit(address)
    if url.scheme in ("unix", "http+unix", "npipe", ""):
        return
    if url.scheme != "ssh" and url.hostname in ("localhost", "127.0.0.1", "::1"):
        return
    raise EngineElsewhere(address)


def _why_no_answer(address: str, error: BaseException) -> RegsetupError:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PermissionError) or "Permission denied" in str(seen):
            return EngineNoRights(address)
        if isinstance(seen, FileNotFoundError):
            return EngineDown(address, "there is no such socket")
        if isinstance(seen, ConnectionRefusedError):
            return EngineDown(address, "nothing listens there")
        seen = seen.__cause__ or seen.__context__
    return EngineDown(address, str(error))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the SDK's exceptions into ``EngineError``, here and nowhere else.

    Raises:
        EngineError: with the engine's own words as its cause.
    """
    import requests
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        raise EngineError("the engine refused", cause=str(error.explanation or error)) from error
    except (DockerException, requests.RequestException) as error:
        raise EngineError("the engine did not answer properly", cause=str(error)) from error
