"""``regsetup cert status`` and ``regsetup cert renew``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from regsetup.cli import options, render
from regsetup.cli.status import NoRegistry
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from regsetup.auth.certificates import Certificate
    from regsetup.deployment import Deployment, Paths


_BY_ITSELF = "the registry gets and renews it by itself, 30 days before the end"


class NoTls(UsageError):
    """The registry speaks plain HTTP."""

    code = "no-tls"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} speaks plain HTTP and has no certificate",
            fix=f"regsetup up --name {name} --tls self-signed",
        )


class OwnCertificate(UsageError):
    """The certificate was given with ``--cert``; regsetup can't sign another."""

    code = "own-certificate"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the certificate of {name} is your own, and its files are those in use",
            fix=f"regsetup up --name {name} --cert FILE --key FILE, with the new pair",
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        cls=render.Group, help="Look at the registry's certificate, and renew it.", no_args_is_help=True
    )
    render.command(family, "status", family="cert")(status)
    render.command(family, "renew", family="cert")(renew)
    app.add_typer(family, name="cert")


def status(
    name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """Show the certificate and its CA. Exits with 3 if one ends within 30 days."""
    from regsetup.certify import ending, look
    from regsetup.deployment import Tls

    paths, wanted = _find(name)
    found = look(wanted, paths)
    pairs = {"CA": found.ca, "certificate": found.leaf}
    there = {what: one for what, one in pairs.items() if one}
    now = datetime.now(UTC)
    errors = ending(wanted, paths, now)
    data = {what.lower(): _data(one, now) for what, one in there.items()}
    lines = [line for what, one in there.items() for line in _lines(what, one, now)]
    if wanted.tls is Tls.ACME:
        lines.append(_BY_ITSELF if there else f"no certificate yet; {_BY_ITSELF}")
    return render.Outcome(data, tuple(lines), code=3 if errors else 0, errors=errors)


def renew(
    name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """Make a new certificate from the same CA; clients notice nothing.

    A certificate of your own is read again from the files given to up. With --tls acme
    there is nothing to do: the registry renews it.

    The old one comes back if the registry does not answer with the new one.
    """
    from regsetup import deploy
    from regsetup.cli.progress import Steps
    from regsetup.cli.summary import finished
    from regsetup.deployment import Tls
    from regsetup.load import load

    paths, wanted = _find(name)
    if wanted.tls is Tls.ACME:
        return render.Outcome(lines=(f"nothing to do: {_BY_ITSELF}",))
    own = wanted.tls is Tls.OWN
    loaded = load({"name": name}, {}, None, paths.home, cwd=paths.root)
    with Steps() as reporter:
        manner = deploy.Manner(renew_certificate=not own)
        done = deploy.deploy(loaded, paths, lambda _users: {}, reporter, manner)
    if own and not done.changed:
        raise OwnCertificate(name)
    return finished(done, loaded, check=True)


def _find(name: str) -> tuple[Paths, Deployment]:
    from regsetup.deployment import Tls
    from regsetup.status import remembered

    paths = options.find_paths(name)
    if not paths.state.exists():
        raise NoRegistry(name)
    wanted = remembered(paths)
    if wanted.tls is Tls.OFF:
        raise NoTls(name)
    return paths, wanted


def _data(one: Certificate, now: datetime) -> dict[str, object]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "names": list(one.names.texts),
        "not_after": one.not_after.isoformat(),
        "days_left": one.days_left(now),
        "fingerprint": one.fingerprint,
    }


def _lines(what: str, one: Certificate, now: datetime) -> list[str]:
    names = [f"  names     {', '.join(one.names.texts)}"] if one.names else []
    return [
        f"{what} {one.subject}",
        *names,
        f"  issuer    {one.issuer}",
        f"  until     {one.not_after:%Y-%m-%d}, {one.days_left(now)} days",
        f"  SHA-256   {one.fingerprint}",
    ]
