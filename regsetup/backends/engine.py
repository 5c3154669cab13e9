"""The Docker engine: which one, whether it answers, and its errors in our words.

DOCKER_HOST wins over DOCKER_CONTEXT, this over the current context of ``~/.docker/config.json``, as in
Docker's own command line.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from regsetup.backends import context
from regsetup.errors import RegsetupError
from regsetup.host import ssh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import docker

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
_NETWORK = ("tcp", "http", "https")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FIRST_VERSION = "1.24"  # for the question which one the engine speaks, which is asked without any
CONNECT_TIMEOUT = 5  # seconds; a socket that nobody accepts on must not hold `up` for a minute
SSH_TIMEOUT = 20  # seconds; ssh itself gives up after 10, and then the engine over there has to answer
TIMEOUT = 120  # seconds; stopping a container may take its whole grace period


class EngineDown(RegsetupError):
    """No engine answers at its address."""

    code = "engine-down"

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"no Docker engine answers at {address}",
            cause=cause,
            fix="start it over there, or mend DOCKER_HOST or the docker context"
            if is_elsewhere(address)
            else "sudo systemctl start docker, or regsetup up --backend embedded to do without Docker",
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


class EngineTls(RegsetupError):
    """The engine's TLS and the files at hand do not fit."""

    code = "engine-tls"

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(
            f"no TLS connection to the engine at {address}",
            cause=cause,
            fix="DOCKER_CERT_PATH, or the docker context, must hold ca.pem, cert.pem and key.pem for it",
        )


class EngineError(RegsetupError):
    """The engine refused a request; the cause is its own words."""

    code = "engine-error"


class EngineGone(EngineError):
    """The engine, or the way to it, went away in the middle."""

    code = "engine-gone"

    def __init__(self, cause: str) -> None:
        super().__init__(
            "the engine stopped answering",
            cause=cause,
            fix="when it answers again, repeat the command: it looks at what is there and goes on",
        )


@dataclass(frozen=True)
class Engine:
    """A connection to an engine that answered.

    Attributes:
        address: as in DOCKER_HOST.
        tls: the directory of TLS files that it is reached with.
    """

    address: str
    client: docker.DockerClient
    tls: Path | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether it runs on another machine, which has no files of this one."""
        return is_elsewhere(self.address)

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The engine's own description, as ``docker info`` shows it."""
        with translated():
            described: Mapping[str, Any] = self.client.info()
            return described

    @property
    def rootless(self) -> bool:
        """Whether root in a container is an ordinary user outside; podman says so by a key of its own."""
        options = self.info.get("SecurityOptions") or ()
        return bool(self.info.get("Rootless")) or any("rootless" in option for option in options)

    @cached_property
    def podman(self) -> bool:
        """Whether it is podman, by its Docker-compatible API."""
        with translated():
            parts = self.client.version().get("Components") or ()
        return any(part.get("Name") == "Podman Engine" for part in parts)

    @property
    def selinux(self) -> bool:
        """Whether mounted directories need a label."""
        return any("selinux" in option for option in self.info.get("SecurityOptions") or ())


def find_address(environ: Mapping[str, str]) -> tuple[str, Path | None]:
    """Return the engine's address, and the directory of TLS files that it is reached with (None without TLS).

    Raises:
        BadContext: DOCKER_CONTEXT or the current context does not exist.
    """
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"], _tls_directory(environ)
    address, tls = context.read(environ, context.chosen(environ))
    return address or _own_socket(environ) or DEFAULT_ENGINE, tls


def untold(environ: Mapping[str, str]) -> str | None:
    """Return the rootless engine that is found here, and not by the docker command, which looks in no XDG."""
    with contextlib.suppress(context.BadContext):
        own = _own_socket(environ)
        return own if own and find_address(environ)[0] == own != environ.get("DOCKER_HOST") else None
    return None


def _own_socket(environ: Mapping[str, str]) -> str | None:
    """Return the socket of this person's rootless engine, where the machine's is not for this person."""
    own = Path(environ.get("XDG_RUNTIME_DIR") or "/nonexistent", "docker.sock")
    if os.access(DEFAULT_ENGINE.removeprefix("unix://"), os.W_OK) or not own.is_socket():
        return None
    return f"unix://{own}"


def of_this_machine(own: str | None, environ: Mapping[str, str]) -> str:
    """Return the address of the engine that people here use: the registry's ``own``, or their context's.

    The default one where their context is broken, or leads to another machine.
    """
    if own and not is_elsewhere(own):
        return own
    try:
        address, _ = find_address(environ)
    except context.BadContext:
        return DEFAULT_ENGINE
    return DEFAULT_ENGINE if is_elsewhere(address) else address


def _tls_directory(environ: Mapping[str, str]) -> Path | None:
    """As Docker's own command does, but for DOCKER_CERT_PATH alone, which it passes over in silence."""
    given = environ.get("DOCKER_CERT_PATH")
    if not given and not environ.get("DOCKER_TLS_VERIFY"):
        return None
    return Path(given).absolute() if given else Path.home() / ".docker"


def is_elsewhere(address: str) -> bool:
    """Tell whether the engine runs on another machine, which has no files of this one."""
    with contextlib.suppress(ValueError):  # no URL at all: who connects says so
        url = urlsplit(address)
        return url.scheme == "ssh" or (url.scheme in _NETWORK and url.hostname not in _LOOPBACK)
    return False


def machine(address: str) -> str | None:
    """Return the name by which the engine's machine is reached, None where it is this one."""
    host = urlsplit(address).hostname if is_elsewhere(address) else None
    return ssh.real_name(host) if host and address.startswith("ssh:") else host


def connect(address: str | None = None, tls: Path | None = None) -> Engine:
    """Connect to the engine at ``address``, or to the one that environment and contexts name.

    Args:
        tls: the directory of TLS files for ``address``.

    Raises:
        EngineDown, EngineNoRights, EngineTls, SshFailed, ProgramMissing, BadContext.
    """
    import requests
    from docker.errors import DockerException

    if address is None:
        address, tls = find_address(os.environ)
    try:
        client = _over_ssh(address) if address.startswith("ssh://") else _client(address, tls)
    except requests.exceptions.SSLError as error:
        raise EngineTls(address, str(error)) from error
    # ValueError: it is no URL at all
    except (DockerException, requests.RequestException, ValueError) as error:
        raise _why_no_answer(address, error) from error
    client.api.timeout = TIMEOUT
    return Engine(address, client, tls)


def _over_ssh(address: str) -> docker.DockerClient:
    import requests

    from regsetup.backends import ssh_transport

    ssh.command(address)
    adapter = ssh_transport.SshAdapter(address, TIMEOUT)
    try:
        return ssh_transport.client(adapter, SSH_TIMEOUT)
    except requests.RequestException as error:
        said = adapter.last_words()
        adapter.close()
        raise ssh.SshFailed(address, str(error) if said is None else said) from error


def _client(address: str, tls: Path | None) -> docker.DockerClient:
    import docker

    if tls and not address.startswith(("unix://", "http+unix://")):
        return _verified(address, _tls(address, tls))
    url = address.replace("http+unix://", "unix://")  # as the SDK writes it in a context
    return docker.DockerClient(base_url=url, version="auto", timeout=CONNECT_TIMEOUT)


def _verified(address: str, tls: Any) -> docker.DockerClient:
    """Make a client that takes nothing from the environment.

    REQUESTS_CA_BUNDLE would be believed instead of the engine's own CA (requests 2.32).
    """
    import docker

    def made(version: str) -> docker.DockerClient:
        client = docker.DockerClient(base_url=address, version=version, timeout=CONNECT_TIMEOUT, tls=tls)
        client.api.trust_env = False
        return client

    with contextlib.closing(made(_FIRST_VERSION)) as first:
        answer = first.api.version(api_version=False)
    return made(str(answer["ApiVersion"]))


def _tls(address: str, directory: Path) -> Any:
    """Return the SDK's TLS settings; the engine is always verified, without ca.pem by the system's CAs.

    Raises:
        EngineTls: only one of certificate and key is there, or one can't be read.
    """
    from docker.errors import TLSParameterError
    from docker.tls import TLSConfig

    ca, cert, key = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    pair = (cert, key) if Path(cert).exists() or Path(key).exists() else None
    try:
        return TLSConfig(client_cert=pair, ca_cert=ca if Path(ca).exists() else None, verify=True)
    except TLSParameterError as error:
        raise EngineTls(address, f"{directory}: {error.msg}") from error


def _why_no_answer(address: str, error: BaseException) -> RegsetupError:
    if "SSLError" in str(error) or "HTTPS server" in str(error):
        return EngineTls(address, str(error))
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
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise EngineGone(str(error)) from error
    except (DockerException, requests.RequestException) as error:
        raise EngineError("the engine did not answer properly", cause=str(error)) from error
