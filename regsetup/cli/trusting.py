"""What the ``trust`` commands share: their options, the registry and the clients that these name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.deployment import Deployment, Paths
    from regsetup.trust.base import Client, Registry
    from regsetup.trust.install import Done

Host = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="HOST:PORT", help="Another registry than --name's; with --ca or --insecure."
    ),
]
Ca = Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="The CA of that registry, PEM.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="It speaks plain HTTP.")]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="It is a cache of Docker Hub, that the engine is to ask first.")
]
For = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        metavar="CLIENT",
        help="docker, docker-mirror, podman, containerd, buildkit, k3s, system or all;"
        " repeatable (default: those here).",
        autocompletion=options.one_of(
            "docker", "docker-mirror", "podman", "containerd", "buildkit", "k3s", "system", "all"
        ),
    ),
]
Daemon = Annotated[
    str,
    typer.Option(
        "--daemon",
        metavar="MODE",
        help="What may be done to Docker: auto, reload, restart or never.",
        autocompletion=options.one_of(*options.DAEMON),
    ),
]
DaemonJson = Annotated[
    Path | None,
    typer.Option("--daemon-json", metavar="FILE", help="Instead of the engine's own daemon.json."),
]
CertsD = Annotated[
    Path | None, typer.Option("--certs-d", metavar="DIR", help="Instead of the engine's own certs.d.")
]


class NeedsNoTrust(UsageError):
    """The registry is one that every client trusts without being told."""

    code = "needs-no-trust"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"clients need not be told of {name}: it is on loopback, or its certificate is yours or from "
            "Let's Encrypt",
            fix="regsetup trust install --host HOST:PORT --ca FILE tells them of another registry",
        )


class HowToTrust(UsageError):
    """``--host`` without saying how that registry is to be trusted, or with both ways."""

    code = "how-to-trust"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"how is {host} to be trusted?", fix="give either --ca FILE, or --insecure for plain HTTP"
        )


class PrivateKeyInside(UsageError):
    """``--ca`` names a file with a private key, which every user of this machine could read then."""

    code = "private-key-inside"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds a private key",
            cause="a CA's file is copied to where everybody can read it",
            fix=f"openssl x509 -in {path} -out ca.pem, then --ca ca.pem",
        )


class NoMirror(UsageError):
    """``--mirror`` for a registry that engines can't use as one."""

    code = "no-mirror"

    def __init__(self, name: str, reason: str | None) -> None:
        super().__init__(
            f"{name} can't be a mirror of an engine",
            cause=reason or "it is no pull-through cache",
            fix="regsetup up --mirror-of docker.io --no-auth",
        )


def told_registries(
    paths: Paths, host: str | None, ca: Path | None, *, insecure: bool, mirror: bool
) -> tuple[Registry, ...]:
    """Return the registry that the options name, once for each address that clients reach it by.

    Raises:
        NeedsNoTrust: clients need not be told of it.
        HowToTrust: ``--host`` without one of ``--ca`` and ``--insecure``, or with both.
        NoMirror: ``--mirror``, and it is no pull-through cache of Docker Hub.
    """
    from regsetup import trust_here
    from regsetup.client import Endpoint
    from regsetup.trust.base import Registry

    if host is None:
        wanted = _asked_for(deployed(paths))
        if mirror and (wanted.mirror_of is None or trust_here.why_no_mirror(wanted)):
            raise NoMirror(paths.name, trust_here.why_no_mirror(wanted))
        addresses = trust_here.told(wanted)
        if not addresses:
            raise NeedsNoTrust(paths.name)
        return tuple(trust_here.registry(wanted, paths, address) for address in addresses)
    Endpoint(f"http://{host}")  # refuses what is no host:port
    if insecure is (ca is not None):
        raise HowToTrust(host)
    url = f"{'https' if ca else 'http'}://{host}" if mirror else None
    return (Registry(host, _authority(ca) if ca else None, mirror=url),)


def _authority(path: Path) -> bytes:
    """Return a file of certificates; whatever else it is must not get where everybody can read it.

    Raises:
        CannotRead: it can't be read.
        CertificateUnreadable: there is no certificate in it.
        PrivateKeyInside: there is a key in it.
    """
    from regsetup.auth.pem import chain
    from regsetup.trust.base import CannotRead

    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CannotRead(path, error) from error
    if b"PRIVATE KEY-----" in pem:
        raise PrivateKeyInside(path)
    chain(pem)
    return pem


def _asked_for(wanted: Deployment) -> Deployment:
    """``up --trust none`` tells nobody by itself; who types ``trust install`` or ``export`` means it."""
    from regsetup.deployment import Trust

    return replace(wanted, trust=Trust.AUTO) if wanted.trust is Trust.NONE else wanted


def naming_arguments(
    paths: Paths, host: str | None, ca: Path | None, *, insecure: bool, mirror: bool
) -> tuple[str, ...]:
    """Return what names the registry to another ``trust`` command."""
    from regsetup.trust.rights import named

    about = (*(("--host", host) if host else named(paths.name)), *(("--ca", str(ca)) if ca else ()))
    return (*about, *(("--insecure",) if insecure else ()), *(("--mirror",) if mirror else ()))


def told_addresses(paths: Paths) -> tuple[str, ...]:
    """Return every address of the registry that a client may have been told."""
    from regsetup.state import Kind, read
    from regsetup.trust_here import told

    state = read(paths.state)
    before = state.of(Kind.TRUST) if state else ()
    return tuple(dict.fromkeys((*told(_asked_for(deployed(paths))), *before)))


def deployed(paths: Paths) -> Deployment:
    """Return what ``--name`` was set up as.

    Raises:
        NoRegistry: there is none of that name.
    """
    from regsetup.cli.status import NoRegistry
    from regsetup.status import remembered

    if not paths.deployment.exists():
        raise NoRegistry(paths.name)
    return remembered(paths)


def chosen_clients(
    paths: Paths,
    names: Sequence[str] | None,
    daemon: str,
    daemon_json: Path | None,
    certs_d: Path | None,
    *,
    installed: bool = True,
) -> tuple[Client, ...]:
    """Return the clients that ``--for`` asks for, by default all, or all that are ``installed`` here."""
    from regsetup.backends.engine import find_address
    from regsetup.given import BadSetting
    from regsetup.settings import FIELDS, BadValue
    from regsetup.status import remembered
    from regsetup.trust.clients import ALL, choose
    from regsetup.trust_here import clients

    try:
        policy: Any = FIELDS["daemon"].read(daemon, Path())
    except BadValue as error:
        raise BadSetting("--daemon", daemon, str(error)) from None
    wanted = remembered(paths)
    wanted = replace(
        wanted,
        daemon=policy,
        daemon_json=daemon_json or wanted.daemon_json,
        certs_d=certs_d or wanted.certs_d,
    )
    engine, _ = find_address(os.environ)
    known = clients(engine, wanted, options.may_restart)
    every = not installed and ALL in (names or (ALL,))
    return known if every else choose(known, names or ())


def concerned_pairs(chosen: Sequence[Client], told: Sequence[Registry]) -> list[tuple[Client, Registry]]:
    """Return each client with each registry that it has anything to be told of."""
    return [(client, each) for client in chosen for each in told if client.concerned(each)]


def summed_up(done: Sequence[tuple[str, Done]], verb: str) -> render.Outcome:
    """Say what was done to which client, for which address."""
    data = [
        {"client": one.client, "address": address, "files": [str(path) for path in one.paths],
         "reason": one.reason, "to_do": list(one.notes)}
        for address, one in done
    ]  # fmt: skip
    lines = [
        line
        for address, one in done
        for line in (
            f"{one.client:<15}{address}  {one.reason}",
            *(f"  {verb:<10}{path}" for path in one.paths),
            *(f"  {'to do':<10}{note}" for note in one.notes),
        )
    ]
    return render.Outcome({"clients": data}, tuple(lines), changed=any(one.paths for _, one in done))
