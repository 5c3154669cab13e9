"""The options that lead to a registry, and the way there: shared by all commands that talk to one."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from regsetup.cli import completion, options, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.client import Credentials, Manifest, RegistryClient
    from regsetup.reference import Reference
    from regsetup.remote import Place

P = ParamSpec("P")

_PATIENCE = 30.0  # seconds that a registry may ask to wait, at least

Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="HOST:PORT",
        help="Ask this registry, host:port or URL (default: the one in the reference, else this machine's).",
    ),
]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak plain HTTP with it.")]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Trust the authorities in this PEM file, and no others."),
]
User = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER", help="Enter as this user (default: as docker does)."),
]

Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="An image: NAME, NAME:TAG or NAME@DIGEST, with HOST:PORT/ in front for another registry.",
        autocompletion=completion.reference,
    ),
]

Repository = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A repository, with HOST:PORT/ in front for another registry.",
        autocompletion=completion.repository,
    ),
]
Platform = Annotated[
    str | None,
    typer.Option("--platform", metavar="OS/ARCH", help="The image for this platform, such as linux/arm64."),
]


@dataclass(frozen=True, slots=True)
class Reached:
    """A registry that can be asked, and what it is."""

    client: RegistryClient
    place: Place

    def repository(self, reference: Reference) -> str:
        """Return the name of the reference's repository there."""
        return self.place.repository(reference.repository)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a registry that can be asked: its repository there, and its manifest."""

    reached: Reached
    repository: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Way:
    """What the options of ``reaching`` say."""

    registry: str | None
    plain_http: bool
    ca: Path | None
    user: str | None
    password_stdin: bool
    password_file: Path | None
    name: str

    @contextlib.contextmanager
    def to(self, reference: Reference | None = None, timeout: float = 10.0) -> Iterator[Reached]:
        """Give the registry that the reference leads to, or without one that of the options.

        Args:
            timeout: seconds of silence that it is given; as long, at least, is a wait that it asks for.

        Raises:
            RegsetupError: no such registry, or no way into it.
        """
        from regsetup import remote
        from regsetup.client import RegistryClient

        given, place = self.credentials(), self.place(reference)
        ask = prompt if sys.stdin.isatty() and not render.style.json else None
        within = place.repository(reference.repository) if reference else ""
        with (
            remote.entered(place, given, ask, within) as where,
            RegistryClient(where, timeout, patience=max(timeout, _PATIENCE)) as client,
        ):
            yield Reached(client, place)

    @contextlib.contextmanager
    def to_image(self, ref: str, platform: str | None) -> Iterator[Image]:
        """Give the image that ``ref`` leads to; of several platforms the one that is wanted.

        Raises:
            RegsetupError: no reference, no platform, no such registry or image, or no way to it.
        """
        from regsetup.contents import inspection
        from regsetup.image import platform as platforms
        from regsetup.reference import Reference

        reference = Reference.parse(ref)
        wanted = platforms.Platform.parse(platform) if platform is not None else None
        with self.to(reference) as reached:
            repository = reached.repository(reference)
            target = reference.digest or reference.target
            manifest = inspection.fetch(reached.client, repository, target)
            if wanted:
                manifest = inspection.for_platform(reached.client, repository, manifest, wanted)
            yield Image(reached, repository, manifest)

    def place(self, reference: Reference | None = None) -> Place:
        """Return where the reference leads."""
        from regsetup import remote

        wish = remote.Wish(self.registry, self.name, self.plain_http, self.ca)
        named = reference.registry if reference else None
        elsewhere = self.registry is not None or named is not None
        return remote.find(wish, options.find_paths(self.name, any_user=elsewhere).home, named)

    def credentials(self) -> Credentials | None:
        """Return what ``--user`` says, with a password read or asked for; None without it."""
        from regsetup.cli.passwords import Source
        from regsetup.client import Credentials

        source = Source(self.password_stdin, self.password_file)
        if self.user is None:
            source.refuse_if_given()
            return None
        return Credentials(self.user, source.known(self.user))


def _shared(
    registry: Registry = None,
    plain_http: PlainHttp = False,
    ca: CaFile = None,
    user: User = None,
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """What ``reaching`` adds to a command."""


def reaching(function: Callable[Concatenate[Way, P], render.Outcome]) -> Callable[..., render.Outcome]:
    """Give a command the options that lead to a registry; its first parameter is the ``Way`` they make.

    They follow the command's own, with ``--name``, ``--json`` and ``-q``.
    """
    shared = inspect.signature(_shared, eval_str=True).parameters
    _, *own = inspect.signature(function, eval_str=True).parameters.values()

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> render.Outcome:
        way = {key: kwargs.pop(key) for key in shared}
        del way["as_json"], way["quiet"]
        return function(Way(**way), *args, **kwargs)

    parameters = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def prompt(address: str) -> Credentials | None:
    """Ask a person who they are; nothing typed means nobody."""
    import getpass

    from regsetup.client import Credentials
    from regsetup.secret import Secret

    user = typer.prompt(f"User for {address}", default="", show_default=False, err=True)
    return Credentials(user, Secret(getpass.getpass(f"Password for {user}: "))) if user else None
