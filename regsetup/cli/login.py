"""``regsetup login`` and ``logout``: credentials into and out of the place where docker keeps them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, remote, render
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from regsetup.client import Credentials, Endpoint

Address = Annotated[
    str | None,
    typer.Argument(metavar="[HOST:PORT]", help="Which registry (default: that of this machine)."),
]


class NobodyNamed(UsageError):
    """A login without a user, and nobody to ask."""

    code = "nobody-named"

    def __init__(self, address: str) -> None:
        super().__init__(
            "it is not said who logs in, and there is no terminal to ask on",
            fix=f"regsetup login {address} --user USER --password-stdin < FILE",
        )


class NotProvenLogin(RegsetupError):
    """The registry asks nobody for a password, so whether this one is right is not known."""

    code = "login-not-proven"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} lets everybody in, so this password is kept without proof",
            fix="regsetup adduser USER closes a registry of this machine",
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "login")(login)
    render.command(app, "logout")(logout)


@remote.reaching
def login(way: remote.Way, address: Address = None) -> render.Outcome:
    """Try a user's password at a registry, and keep it where docker and podman find it.

    That is the credential helper that Docker's config.json names, else config.json itself.
    """
    from regsetup import credentials

    way = replace(way, registry=address or way.registry)
    given = way.credentials()
    place = way.place()
    who = given or _asked(place.address)
    proven = _enters(replace(place.endpoint, credentials=who))
    kept = credentials.store(place.address, who)
    open_ = "" if kept.startswith("docker-credential-") else " (Base64, not encrypted)"
    return render.Outcome(
        {"registry": place.address, "user": who.user, "kept": kept, "proven": proven},
        (f"{who.user} {'enters' if proven else 'may enter'} {place.address}; kept in {kept}{open_}",),
        changed=True,
        warnings=() if proven else (NotProvenLogin(place.address),),
    )


def _asked(address: str) -> Credentials:
    who = remote.prompt(address) if sys.stdin.isatty() and not render.style.json else None
    if who is None:
        raise NobodyNamed(address)
    return who


def _enters(where: Endpoint) -> bool:
    """Tell whether the credentials were asked for and let in.

    Raises:
        Unauthorized: they were refused.
    """
    from regsetup.client import RegistryClient, Unauthorized

    with RegistryClient(where) as client:
        if client.ping().status != 200:
            raise Unauthorized(where.address, where.credentials.user if where.credentials else None, "")
        return client.asked


def logout(
    registry: Address = None,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Forget the credentials for a registry, wherever docker and podman keep them.

    Example: regsetup logout registry.example:5000
    """
    from regsetup import credentials
    from regsetup import remote as places

    wish = places.Wish(registry, name)
    addresses = places.addresses(wish, options.find_paths(name).home)
    erased = {address: kept for address in addresses if (kept := credentials.erase(address))}
    lines = [f"forgot {address} in {', '.join(kept)}" for address, kept in erased.items()]
    return render.Outcome(
        {"registry": addresses[0], "erased": {address: list(kept) for address, kept in erased.items()}},
        tuple(lines) or (f"nothing to do: no credentials for {addresses[0]} are kept",),
        changed=bool(erased),
    )
