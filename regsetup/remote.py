"""Where a reference leads and who one is there: this machine's registry, another one, Docker Hub.

The host part of a reference by Docker's rule; without one ``--registry``; without that the registry of this
machine. Scheme and authorities are those that the clients of this machine were told.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup import credentials
from regsetup.client import (
    AnswerCut,
    BadAuthority,
    BadEndpoint,
    Endpoint,
    NotARegistry,
    PlainHttp,
    RegistryClient,
    RegistryError,
    TlsUntrusted,
    UnexpectedAnswer,
)
from regsetup.credentials.auth_file import is_hub
from regsetup.deployment import Listen, Paths
from regsetup.errors import RegsetupError, UsageError
from regsetup.host.files import CannotWrite
from regsetup.probe import TIMEOUT, endpoint
from regsetup.reference import is_registry
from regsetup.trust.known import authorities, is_insecure
from regsetup.users import UsersUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.client import Credentials
    from regsetup.deployment import Deployment

    Ask = Callable[[str], Credentials | None]

_HUB_API = "registry-1.docker.io"  # docker.io itself has no registry (distribution/reference, docker/cli)


class NoRegistryNamed(RegsetupError):
    """No registry is named, and there is none of this machine."""

    code = "no-registry-named"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no registry named {name} on this machine, and no other is named",
            fix=f"name one: HOST:PORT/NAME or --registry HOST:PORT; or regsetup up --name {name}",
        )


class TwoRegistries(UsageError):
    """The reference names one registry and ``--registry`` another."""

    code = "two-registries"

    def __init__(self, reference: str, option: str) -> None:
        super().__init__(
            f"the reference leads to {reference}, and --registry to {option}", fix="leave out one of them"
        )


class CaWithoutTls(UsageError):
    """An authority is named for a registry that is spoken with over plain HTTP, where none is asked."""

    code = "ca-without-tls"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"--ca names whom to trust, and {address} would be spoken with over plain HTTP",
            fix="leave --ca out, or name the registry as https://HOST:PORT",
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says of the registry to ask.

    Attributes:
        registry: ``host[:port]`` or a URL; None for that of the reference, or of this machine.
        name: which registry of this machine.
        ca: a file of authorities instead of what this machine knows.
    """

    registry: str | None = None
    name: str = "registry"
    plain_http: bool = False
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """A registry that regsetup set up on this machine."""

    wanted: Deployment
    paths: Paths

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every ``host:port`` by which this machine may call it; the one that people type first."""
        names = [*self.wanted.hosts, self.wanted.local.host]
        if self.wanted.local.host in ("127.0.0.1", "::1"):
            names += ["localhost", "127.0.0.1"]
        listed = (self.wanted.address, *(str(Listen(name, self.wanted.port)) for name in names))
        return tuple(dict.fromkeys(listed))


@dataclass(frozen=True, slots=True)
class Place:
    """A registry and the way to it.

    Attributes:
        address: ``host[:port]`` as it stands in a reference.
        endpoint: without credentials.
        local: what it is, if it is one of this machine.
    """

    address: str
    endpoint: Endpoint
    local: Local | None = None

    def repository(self, name: str) -> str:
        """Return the name of a repository there: Docker Hub keeps ``alpine`` as ``library/alpine``."""
        return f"library/{name}" if is_hub(self.address) and "/" not in name else name


def find(wish: Wish, home: Path, registry: str | None = None) -> Place:
    """Return where a reference with this host part leads.

    Args:
        home: regsetup's, which knows the registries of this machine.
        registry: the reference's ``host[:port]``, None where it has none.

    Raises:
        TwoRegistries, BadEndpoint, CaWithoutTls: what was asked for can't be meant.
        NoRegistryNamed: nothing is named, and nothing is here.
    """
    place = _find(wish, home, registry)
    if wish.ca and place.endpoint.url.startswith("http:"):
        raise CaWithoutTls(place.address)
    return place


def _find(wish: Wish, home: Path, registry: str | None) -> Place:
    scheme, address = _split(wish.registry) if wish.registry is not None else (None, None)
    if registry and address and registry != address:
        raise TwoRegistries(registry, address)
    address = registry or address
    local = _local(wish, home, address)
    if local:
        where = endpoint(local.wanted, local.paths)
        return Place(address or local.wanted.address, replace(where, ca=wish.ca or where.ca), local)
    if address is None:
        raise NoRegistryNamed(wish.name)
    host = _HUB_API if is_hub(address) else address
    also = () if wish.ca else authorities(address)
    if wish.plain_http:
        scheme = "http"
    elif scheme is None:
        scheme = "https" if wish.ca else _scheme(host, also)  # who names an authority wants TLS
    return Place(address, Endpoint(f"{scheme}://{host}", ca=wish.ca, also=also))


def addresses(wish: Wish, home: Path) -> tuple[str, ...]:
    """Return the addresses that credentials for a registry may be kept under, without asking it.

    Raises:
        BadEndpoint, NoRegistryNamed: as ``find``.
    """
    if wish.registry is not None:
        return (_split(wish.registry)[1],)
    local = _local(wish, home, None)
    if local is None:
        raise NoRegistryNamed(wish.name)
    return local.addresses


@contextlib.contextmanager
def entered(
    place: Place, given: Credentials | None, ask: Ask | None, repository: str = ""
) -> Iterator[Endpoint]:
    """Give the registry's address with leave to enter, as far as there is any.

    In this order: the credentials that were given; those that docker or podman keep for it; on a registry of
    this machine the right of its owner, a user for this one command; what a person answers.

    Args:
        ask: asks for credentials for an address; None where nobody can be asked.
        repository: podman may keep credentials for a part of a registry.

    Raises:
        AuthFileUnreadable, HelperFailed, ProgramMissing: what is kept can't be had.
        RegistryError: the registry of this machine can't be asked.
    """
    if given or (place.local and not place.local.wanted.auth):
        yield replace(place.endpoint, credentials=given)
        return
    called = place.local.addresses if place.local else (place.address,)
    found = next(filter(None, (credentials.find(one, repository) for one in called)), None)
    known = replace(place.endpoint, credentials=found.credentials if found else None)
    if found and (place.local is None or _enters(known)):
        yield known
        return
    with contextlib.ExitStack() as stack:
        if place.local:
            from regsetup.prove import entered_as_owner

            with contextlib.suppress(CannotWrite, UsersUnreadable):
                known = stack.enter_context(entered_as_owner(place.local.wanted, place.local.paths))
                ask = None
        if ask and _wants_password(known):
            known = replace(known, credentials=ask(place.address))
        yield known


def _split(text: str) -> tuple[str | None, str]:
    """Return scheme, None where it is not said, and ``host[:port]``."""
    if "://" in text:
        where = Endpoint(text)
        return where.url.partition(":")[0], where.address
    if not is_registry(text):
        raise BadEndpoint(text, "it is neither host[:port] nor a URL")
    return None, text


def _local(wish: Wish, home: Path, address: str | None) -> Local | None:
    """Return the registry of this machine that is asked for, by name or by address."""
    if address is None:
        return _remembered(Paths(home, wish.name))
    names = sorted(path.parent.name for path in home.glob("*/state.json"))
    for name in names:
        with contextlib.suppress(RegsetupError):  # a damaged one hides no other
            found = _remembered(Paths(home, name))
            if found and address in found.addresses:
                return found
    return None


def _remembered(paths: Paths) -> Local | None:
    from regsetup.load import insist_on_rights, load

    insist_on_rights(paths)
    if not paths.state.exists():
        return None
    return Local(load({"name": paths.name}, {}, None, paths.home, cwd=paths.root).deployment, paths)


def _scheme(address: str, also: tuple[Path, ...]) -> str:
    """Return how a registry is spoken with: over TLS, but where plain HTTP is allowed by what it speaks."""
    if not is_insecure(address):
        return "https"
    try:
        _ping(Endpoint(f"http://{address}"))
    except (AnswerCut, NotARegistry, PlainHttp, UnexpectedAnswer):
        try:
            _ping(Endpoint(f"https://{address}", also=also))
        except (BadAuthority, TlsUntrusted):  # it speaks TLS; the request itself says what is wrong
            return "https"
        except RegistryError:
            return "http"
        return "https"
    except RegistryError:  # said again by the request itself
        return "http"
    return "http"


def _ping(where: Endpoint) -> int:
    with RegistryClient(where, timeout=TIMEOUT, patience=0) as client:
        return client.ping().status


def _enters(where: Endpoint) -> bool:
    """Tell whether a registry of this machine still takes what is kept for it."""
    with RegistryClient(where) as client:
        return client.ping().status == 200


def _wants_password(where: Endpoint) -> bool:
    """Tell whether a person must be asked; a token service may let nobody read, too."""
    with RegistryClient(where) as client:
        answer = client.ping()
    return answer.status == 401 and "basic" in answer.headers.get("WWW-Authenticate", "").lower()
