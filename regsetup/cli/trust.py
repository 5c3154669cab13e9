"""``regsetup trust install``, ``remove``, ``status`` and ``export``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    ),
]
Daemon = Annotated[
    str, typer.Option("--daemon", metavar="auto|reload|restart|never", help="What may be done to Docker.")
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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        cls=render.Group, help="Make the clients of this machine trust the registry.", no_args_is_help=True
    )
    for name, function in (("install", install), ("remove", remove), ("status", status), ("export", export)):
        render.command(family, name, family="trust")(function)
    app.add_typer(family, name="trust")


def install(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    daemon: Daemon = "auto",
    daemon_json: DaemonJson = None,
    certs_d: CertsD = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not prove that it works.")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Give the clients of this machine the registry's CA, or leave to use plain HTTP.

    Of a cache of Docker Hub the engine is told, too, that it is a mirror.
    Every file is noted before it is changed, so that remove gives it back as it was.
    Of a registry of this machine, docker, podman and ctr then push and pull to prove
    it. Exits with 3 if one can't. What only root may write is named, with the
    command that does it; the rest is done.
    """
    from regsetup.trust import install as work
    from regsetup.trust import rights
    from regsetup.trust_here import TrustFile

    paths = options.find_paths(name)
    told = _registries(paths, host, ca, insecure=insecure, mirror=mirror)
    with _locked(paths):
        chosen = _clients(paths, clients, daemon, daemon_json, certs_d)
        ledger = TrustFile(paths.home)
        plans = [(one, each, rights.closed(one.plan(each))) for one, each in _pairs(chosen, told)]
        done = [(each.address, work.install(one, each, ledger)) for one, each, closed in plans if not closed]
    outcome = _done(done, "wrote")
    shut: dict[str, list[Path]] = {}
    for one, _, closed in plans:
        if closed:
            shut.setdefault(one.name, []).extend(closed)
    if shut:
        arguments = _arguments(paths, host, ca, insecure=insecure, mirror=mirror)
        return _for_root(
            outcome, shut, rights.by_root(arguments, tuple(shut)), insist=bool(clients) or not done
        )
    return outcome if host or no_check else _proven(outcome, paths)


def _for_root(
    outcome: render.Outcome, shut: Mapping[str, Sequence[Path]], command: str, *, insist: bool
) -> render.Outcome:
    """Say which files are root's; an error where they were asked for, or the engine's are among them."""
    from regsetup.trust.rights import NeedsRoot

    error = NeedsRoot(tuple(shut), [path for paths in shut.values() for path in paths], command)
    data = {**outcome.data, "needs_root": {"clients": list(shut), "command": command}}
    if insist or "docker" in shut:
        return replace(outcome, data=data, code=1, errors=(error,))
    return replace(outcome, data=data, lines=(*outcome.lines, error.message, f"  to do     {command}"))


def _arguments(
    paths: Paths, host: str | None, ca: Path | None, *, insecure: bool, mirror: bool
) -> tuple[str, ...]:
    """Return what names the registry to another ``trust`` command."""
    from regsetup.trust.rights import named

    about = (*(("--host", host) if host else named(paths.name)), *(("--ca", str(ca)) if ca else ()))
    return (*about, *(("--insecure",) if insecure else ()), *(("--mirror",) if mirror else ()))


def _proven(outcome: render.Outcome, paths: Paths) -> render.Outcome:
    """Let the clients push and pull, if the registry runs."""
    from regsetup.backends.choice import reopen
    from regsetup.cli.check import failed, table, tell
    from regsetup.probe import answers, endpoint
    from regsetup.prove import prove_clients
    from regsetup.state import read

    state, wanted = read(paths.state), _wanted(paths)
    if state is None or not answers(endpoint(wanted, paths)):
        return replace(outcome, lines=(*outcome.lines, "not proven: the registry does not answer"))
    checks = prove_clients(wanted, paths, reopen(paths, state), tell)
    errors = failed(checks)
    return replace(
        outcome,
        data={**outcome.data, "checks": [one.as_dict() for one in checks]},
        lines=(*outcome.lines, table(checks)),
        code=3 if errors else 0,
        errors=errors,
    )


def remove(
    name: options.Name = "registry",
    host: Host = None,
    clients: For = None,
    daemon: Daemon = "auto",
    daemon_json: DaemonJson = None,
    certs_d: CertsD = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Take back what trust install, or up, told the clients of this machine."""
    from regsetup.trust import install as work
    from regsetup.trust_here import TrustFile

    paths = options.find_paths(name)
    addresses = [host] if host else _addresses(paths)
    with _locked(paths):
        ledger = TrustFile(paths.home)
        chosen = _clients(paths, clients, daemon, daemon_json, certs_d, installed=False)
        done = [(address, work.remove(one, address, ledger)) for one in chosen for address in addresses]
    touched = [(address, one) for address, one in done if one.paths]
    outcome = _done(touched, "gave back")
    if not touched:
        outcome = replace(outcome, lines=("nothing to do: no client was told of it",))
    return replace(outcome, lines=(*outcome.lines, *_by_script(paths, host, addresses)))


def _by_script(paths: Paths, host: str | None, addresses: Sequence[str]) -> list[str]:
    """Say how to take back what the exported script told this machine's clients."""
    from regsetup.trust.base import Registry

    ledger = Path("/var/lib/regsetup-trust")
    if not any((ledger / Registry(one, None).slug).exists() for one in addresses):
        return []
    words = " ".join(_arguments(paths, host, None, insecure=host is not None, mirror=False))
    command = f"regsetup trust export{words and f' {words}'} | sudo sh -s -- --remove"
    return [f"root's clients were told by the exported script: {command}"]


def _done(done: Sequence[tuple[str, Done]], verb: str) -> render.Outcome:
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


def status(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Show how each client of this machine stands to the registry. Exits with 3 if one does not trust it."""
    from rich.table import Column, Table

    from regsetup.trust import install as work

    paths = options.find_paths(name)
    told = _registries(paths, host, ca, insecure=insecure, mirror=mirror)
    chosen = _clients(paths, clients, "auto", None, None)
    found = [(work.status(one, each), each) for one, each in _pairs(chosen, told)]
    client, state = (Column(one, no_wrap=True) for one in ("client", ""))
    address, detail = (Column(one, overflow="fold") for one in ("registry", ""))
    table = Table(client, address, state, detail, box=None, pad_edge=False)
    for one, each in found:
        table.add_row(one.client, each.address, one.state.value, one.detail)
    data = [
        {"client": one.client, "address": each.address, "state": one.state.value, "detail": one.detail}
        for one, each in found
    ]
    lacking = any(one.state is work.State.DIFFERS for one, _ in found)
    return render.Outcome({"clients": data}, (table,), code=3 if lacking else 0)


def export(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Print a shell script that does the same elsewhere: regsetup trust export | ssh HOST sudo sh.

    With --remove it gives every file back as it was: ... | ssh HOST sudo sh -s -- --remove.
    It tells the clients that are installed there, unless --for names them.
    """
    import sys
    from datetime import UTC, datetime

    from regsetup.trust.export import script

    told = _registries(options.find_paths(name), host, ca, insecure=insecure, mirror=mirror)
    elsewhere = [each for each in told if not each.known]
    if not elsewhere:
        raise NeedsNoTrust(name)
    text = script(elsewhere, datetime.now(UTC), clients or ())
    if not as_json:
        sys.stdout.write(text)
    return render.Outcome({"addresses": [each.address for each in elsewhere], "script": text})


def _pairs(chosen: Sequence[Client], told: Sequence[Registry]) -> list[tuple[Client, Registry]]:
    return [(client, each) for client in chosen for each in told if client.concerned(each)]


def _registries(
    paths: Paths, host: str | None, ca: Path | None, *, insecure: bool, mirror: bool
) -> tuple[Registry, ...]:
    from regsetup import trust_here
    from regsetup.client import Endpoint
    from regsetup.trust.base import Registry

    if host is None:
        wanted = _asked_for(_wanted(paths))
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
    from regsetup.auth import x509
    from regsetup.trust.base import CannotRead

    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CannotRead(path, error) from error
    if b"PRIVATE KEY-----" in pem:
        raise PrivateKeyInside(path)
    x509.chain(pem)
    return pem


def _asked_for(wanted: Deployment) -> Deployment:
    """``up --trust none`` tells nobody by itself; who types ``trust install`` or ``export`` means it."""
    from regsetup.deployment import Trust

    return replace(wanted, trust=Trust.AUTO) if wanted.trust is Trust.NONE else wanted


def _addresses(paths: Paths) -> tuple[str, ...]:
    """Return every address of the registry that a client may have been told."""
    from regsetup.state import Kind, read
    from regsetup.trust_here import told

    state = read(paths.state)
    before = state.of(Kind.TRUST) if state else ()
    return tuple(dict.fromkeys((*told(_asked_for(_wanted(paths))), *before)))


def _wanted(paths: Paths) -> Deployment:
    from regsetup.cli.status import NoRegistry
    from regsetup.status import remembered

    if not paths.deployment.exists():
        raise NoRegistry(paths.name)
    return remembered(paths)


def _clients(
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


def _locked(paths: Paths) -> Any:
    from regsetup.state import exclusive

    return exclusive(paths)
