"""What a registry holds by name: its repositories and their tags, asked for in parallel."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from regsetup.client import Denied, NotFound, RegistryError, Unauthorized, UnexpectedAnswer, Unsupported
from regsetup.reference import is_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regsetup.client import RegistryClient

WORKERS = 8  # requests at once; measured in docs/performance.md, "Listing"
T = TypeVar("T")
R = TypeVar("R")


class NoCatalog(RegistryError):
    """The registry does not list its repositories, at least not to this user."""

    code = "no-catalog"

    def __init__(self, address: str, cause: str | None) -> None:
        super().__init__(
            f"{address} does not list its repositories",
            cause=cause,
            fix=f"name one: regsetup tags {address}/NAME",
        )


def repositories(client: RegistryClient) -> Iterator[str]:
    """Yield every repository's name.

    Raises:
        NoCatalog: it has no list (Docker Hub and others), or not for this user.
        RegistryError: it can't be asked.
    """
    try:
        yield from client.catalog()
    except (Denied, NotFound, Unsupported) as error:
        raise NoCatalog(client.endpoint.address, error.cause) from error
    except Unauthorized as error:
        if client.ping().status == 401:  # nobody, or a wrong password
            raise
        raise NoCatalog(client.endpoint.address, error.cause) from error


def askable(client: RegistryClient) -> Iterator[str]:
    """Yield every repository's name, for those who go on to ask what is in it.

    Raises:
        UnexpectedAnswer: it lists what can be no repository.
        NoCatalog, RegistryError: as ``repositories``.
    """
    for name in repositories(client):
        if not is_repository(name):
            reason = f"it lists {name!r}, which no repository can be called"
            raise UnexpectedAnswer(client.endpoint.address, "GET /v2/_catalog", reason)
        yield name


def tags(client: RegistryClient, names: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each repository with its tags, in the order given.

    One that was emptied meanwhile, or that registry:2 lists though it is empty, has none.

    Raises:
        RegistryError: the registry can't be asked.
    """

    def one(name: str) -> tuple[str, tuple[str, ...]]:
        try:
            return name, tuple(sorted(client.tags(name)))
        except NotFound:
            return name, ()

    yield from in_parallel(one, names)


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the results in the order of the items; the first error ends it, and no more is begun."""
    with ThreadPoolExecutor(WORKERS, "regsetup") as pool:
        waiting = deque(pool.submit(function, item) for item in items)
        try:
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
