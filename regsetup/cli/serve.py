"""``regsetup serve``: the bundled registry in the foreground."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup import amounts
from regsetup.cli import options, render
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class MissingUsers(UsageError):
    """Beyond loopback the registry is not opened to everybody unless that is said."""

    code = "missing-users"

    def __init__(self, bind: str) -> None:
        super().__init__(
            f"on {bind} everybody who reaches this machine could push and pull",
            fix="regsetup serve --htpasswd FILE, or --no-auth if that is meant",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "serve")(serve)


def serve(
    port: Annotated[str, typer.Option("--port", metavar="PORT", help="Port to listen on.")] = "5000",
    bind: Annotated[
        str, typer.Option("--bind", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where images are stored (default: --name's)."),
    ] = None,
    name: options.Name = "registry",
    htpasswd: Annotated[
        Path | None,
        typer.Option("--htpasswd", metavar="FILE", help="Users who may enter (default: --name's)."),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody in.")] = False,
    realm: Annotated[
        str, typer.Option("--realm", metavar="TEXT", help="What a password prompt names.")
    ] = "Registry",
    cert: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="Certificate chain, PEM; with --key: TLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its private key, PEM.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse pushes and deletes.")] = False,
    immutable: Annotated[
        list[str] | None,
        typer.Option(
            "--immutable-tags", metavar="PATTERN", help="Tags that can't be moved or deleted. Repeatable."
        ),
    ] = None,
    allow_sparse: Annotated[
        bool, typer.Option("--allow-sparse", help="Take manifests whose layers are not stored here.")
    ] = False,
    min_free: Annotated[
        str, typer.Option("--min-free", metavar="SIZE", help="What pushes leave free of the disk.")
    ] = "64MiB",
    upload_ttl: Annotated[
        str,
        typer.Option("--upload-ttl", metavar="DURATION", help="When a push that stands still is dropped."),
    ] = "7d",
    mirror_of: Annotated[
        str | None,
        typer.Option("--mirror-of", metavar="URL", help="Be a pull-through cache of that registry."),
    ] = None,
    mirror_credentials: Annotated[
        Path | None,
        typer.Option("--mirror-credentials", metavar="FILE", help="user:password for that registry."),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", metavar="FILE", help="Log there: 10 MiB, and two older files as large."),
    ] = None,
) -> render.Outcome:
    """Run the bundled registry in the foreground, without Docker; Ctrl-C stops it.

    It serves the same users and the same data directory as the container does.
    """
    from regsetup.host.files import CannotWrite
    from regsetup.registry.server import serve as run
    from regsetup.registry.settings import Settings

    paths = options.find_paths(name)
    if htpasswd is None and not no_auth and paths.htpasswd.is_file():
        htpasswd = paths.htpasswd
    address, number = _where(bind, port)
    _check(address, cert, key, closed=htpasswd is not None, no_auth=no_auth)
    root = (data or paths.data).absolute()
    made = [one for one in (root, *root.parents) if not one.exists()]
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(root, error) from error
    settings = Settings(
        root=root,
        host=address,
        port=number,
        htpasswd=None if no_auth else htpasswd,
        realm=realm,
        tls_cert=cert,
        tls_key=key,
        read_only=read_only,
        immutable_tags=_patterns(immutable or ()),
        allow_sparse=allow_sparse,
        min_free=_amount("--min-free", min_free, amounts.size, "a size, such as 64MiB or 2GiB"),
        upload_ttl=_amount("--upload-ttl", upload_ttl, amounts.seconds, "a number with s, m, h or d"),
        mirror_of=_upstream(mirror_of, mirror_credentials),
        mirror_credentials=mirror_credentials,
        log_file=log_file.absolute() if log_file else None,
    )
    try:
        return render.Outcome(code=run(settings))
    except RegsetupError:
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise


def _where(bind: str, port: str) -> tuple[str, int]:
    from regsetup import settings
    from regsetup.given import BadSetting

    try:
        address = settings.bind(bind, Path())
    except settings.BadValue as error:
        raise BadSetting("--bind", bind, str(error)) from None
    try:
        return address, settings.port(port, Path())
    except settings.BadValue as error:
        raise BadSetting("--port", port, str(error)) from None


def _patterns(given: Sequence[str]) -> tuple[str, ...]:
    """Read patterns of tags; one text may hold several, with commas between."""
    from regsetup import settings
    from regsetup.given import BadSetting

    try:
        return tuple(settings.pattern(one, Path()) for text in given for one in text.split(","))
    except settings.BadValue as error:
        raise BadSetting("--immutable-tags", ",".join(given), str(error)) from None


def _amount(flag: str, text: str, read: Callable[[str], int | None], expected: str) -> int:
    from regsetup.given import BadSetting

    amount = read(text)
    if amount is None:
        raise BadSetting(flag, text, expected)
    return amount


def _upstream(url: str | None, credentials: Path | None) -> str | None:
    from regsetup import settings
    from regsetup.given import BadSetting

    if url is None:
        if credentials is not None:
            raise UsageError("--mirror-credentials belongs to --mirror-of", fix="give both, or neither")
        return None
    try:
        return settings.mirror(url, Path())
    except settings.BadValue as error:
        raise BadSetting("--mirror-of", url, str(error)) from None


def _check(address: str, cert: Path | None, key: Path | None, *, closed: bool, no_auth: bool) -> None:
    from regsetup.deployment import is_loopback

    if (cert is None) != (key is None):
        raise UsageError("--cert and --key belong together", fix="give both, or neither")
    if closed and no_auth:
        raise UsageError("--htpasswd and --no-auth exclude each other", fix="leave one of them out")
    if not closed and not no_auth and not is_loopback(address):
        raise MissingUsers(address)
