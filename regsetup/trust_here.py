"""The clients of this machine and the registries that regsetup made them trust.

Which files belong to which client is ``trust``'s to know; here they meet the engine that was found, what the
person allows, and ``trust.json``, the ledger of every file touched outside regsetup's own directories.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.deployment import Listen, Tls, Trust, is_loopback
from regsetup.errors import RegsetupError
from regsetup.host.engine import find
from regsetup.host.files import write_atomic
from regsetup.host.reload import Control
from regsetup.settings import is_hub
from regsetup.trust import rights
from regsetup.trust.base import Registry, Touched
from regsetup.trust.clients import every
from regsetup.trust.docker import DockerMirror
from regsetup.trust.install import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regsetup.deployment import Deployment, Paths
    from regsetup.trust.base import Client

    Confirm = Callable[[Sequence[str]], bool]

BY_UP = ("docker", "docker-mirror", "podman")  # told by `up` itself; others on request: `trust install --for`
VERSION = 1


class TrustLedgerDamaged(RegsetupError):
    """``trust.json`` can't be read."""

    code = "trust-ledger-damaged"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=cause,
            fix=f"look at it; without it regsetup can't take back what it told clients: mv {path} {path}.bad",
        )


class TrustFile:
    """The ledger on disk: one JSON file below regsetup's home, gone when it is empty."""

    def __init__(self, home: Path) -> None:
        self.path = home / "trust.json"

    def entries(self) -> Sequence[Touched]:
        """Return every entry, the oldest first.

        Raises:
            TrustLedgerDamaged: not what ``note`` writes.
        """
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            return [Touched.from_dict(one) for one in raw["touched"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrustLedgerDamaged(self.path, f"{type(error).__name__}: {error}") from error

    def note(self, entry: Touched) -> None:
        """Add an entry, or replace the one of the same client, address and path."""
        before = list(self.entries())
        places = [index for index, one in enumerate(before) if _same(one, entry)]
        if places:
            before[places[0]] = entry
        else:
            before.append(entry)
        self._write(before)

    def forget(self, entry: Touched) -> None:
        """Drop an entry."""
        self._write([one for one in self.entries() if not _same(one, entry)])

    def _write(self, entries: list[Touched]) -> None:
        if not entries:
            self.path.unlink(missing_ok=True)
            return
        content = {"version": VERSION, "touched": [one.as_dict() for one in entries]}
        write_atomic(self.path, json.dumps(content, indent=2) + "\n", mode=0o600)


def _same(one: Touched, other: Touched) -> bool:
    return (one.client, one.address, one.path) == (other.client, other.address, other.path)


def control(engine: str, wanted: Deployment, confirm: Confirm) -> Control:
    """Return the engine at ``engine`` (as in DOCKER_HOST), and what may be done to it.

    ``confirm`` is asked whether it may be restarted, given the containers that this would stop.
    """
    from regsetup.backends.engine_probe import EngineProbe

    probe = EngineProbe(engine)
    found = find(engine, probe.info(), home=Path.home())
    found = replace(found, config=wanted.daemon_json or found.config, certs_d=wanted.certs_d or found.certs_d)
    return Control(found, probe, wanted.daemon, confirm)


def clients(engine: str, wanted: Deployment, confirm: Confirm) -> tuple[Client, ...]:
    """Return every client that regsetup knows, with the engine that ``control`` finds."""
    return every(control(engine, wanted, confirm), Path.home())


def forget(known: Sequence[Client], address: str, home: Path) -> list[str]:
    """Take back what any client was told of ``address``; returns what is left for a person to do.

    Raises:
        CannotTakeBack: somebody has changed a file, and ours is not to be found in it.
    """
    ledger = TrustFile(home)
    return [note for client in known for note in remove(client, address, ledger).notes]


def no_restart(_stopped: Sequence[str]) -> bool:
    """Never allow a restart of the engine: nobody can be asked."""
    return False


def addresses(wanted: Deployment) -> tuple[str, ...]:
    """Return every ``host:port`` that clients must be told to trust; none on loopback or with a public CA."""
    if wanted.trust is Trust.NONE or is_loopback(wanted.bind):
        return ()
    if wanted.tls in (Tls.OWN, Tls.ACME) and wanted.trust is not Trust.INSECURE:
        return ()
    return tuple(str(Listen(host, wanted.port)) for host in wanted.hosts)


def why_no_mirror(wanted: Deployment) -> str | None:
    """Return why engines can't use this pull-through cache as a mirror; None if they can, or it is none."""
    if wanted.mirror_of is None:
        return None
    if not is_hub(wanted.mirror_of):
        return f"engines take mirrors of Docker Hub only: docker pull {wanted.address}/IMAGE asks this cache"
    return "engines send a mirror no password: up --no-auth makes it one" if wanted.auth else None


def told(wanted: Deployment) -> tuple[str, ...]:
    """Return every ``host:port`` that clients are told of: to trust it, or to use it as a mirror."""
    mirror = wanted.mirror_of is not None and wanted.trust is not Trust.NONE and not why_no_mirror(wanted)
    return tuple(dict.fromkeys((*addresses(wanted), *((wanted.address,) if mirror else ()))))


def registry(wanted: Deployment, paths: Paths, address: str) -> Registry:
    """Return what a client is told of ``address``: our CA, or that it speaks plain HTTP.

    Raises:
        FileNotFoundError: the CA is not made yet.
    """
    bare = _without_ca(wanted, address)
    if bare.known or wanted.tls is Tls.OFF or wanted.trust is Trust.INSECURE:
        return bare
    return replace(bare, ca=(paths.certs / "ca.crt").read_bytes())


def _without_ca(wanted: Deployment, address: str) -> Registry:
    mirror = wanted.mirror_of is not None and why_no_mirror(wanted) is None and address == wanted.address
    return Registry(
        address,
        None,
        mirror=f"{wanted.scheme}://{address}" if mirror else None,
        known=address not in addresses(wanted),
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What one client of this machine is to be told, and why; ``needed`` is False where nothing is to do."""

    client: str
    address: str
    needed: bool
    reason: str


def wishes(
    known: Sequence[Client], wanted: Deployment, paths: Paths, *, new_certificate: bool
) -> tuple[Wish, ...]:
    """Compare what the clients that ``up`` tells by itself know with what they are to know.

    Raises:
        NeedsRoot: a client's file is root's, and ``--trust`` insists on it.
        RegsetupError: a client's file can't be read or changed; nothing was.
    """
    found = []
    for client in known:
        if client.name in BY_UP and client.detect():
            found += [_wish(client, wanted, paths, one, new_certificate) for one in told(wanted)]
    refused = why_no_mirror(wanted)
    mirror = (Wish(DockerMirror.name, wanted.address, needed=False, reason=refused),) if refused else ()
    return (*(one for one in found if one is not None), *mirror)


def _wish(
    client: Client, wanted: Deployment, paths: Paths, address: str, new_certificate: bool
) -> Wish | None:
    bare = _without_ca(wanted, address)
    if not client.concerned(bare):
        ours = [one for one in TrustFile(paths.home).entries() if one.address == address]
        gone = any(one.client == client.name for one in ours)
        return Wish(client.name, address, needed=True, reason="not its any more") if gone else None
    fresh = new_certificate and client.needs_ca and wanted.trust is not Trust.INSECURE
    plan = client.plan(_to_plan(wanted, paths, address, fresh=fresh) if client.needs_ca else bare)
    if not plan.needed:
        return Wish(client.name, address, needed=False, reason=plan.reason or "told already")
    if closed := rights.closed(plan):
        command = rights.by_root(rights.named(paths.name), [client.name])
        if wanted.trust is not Trust.AUTO:
            raise rights.NeedsRoot([client.name], closed, command)
        return Wish(client.name, address, needed=False, reason=f"{closed[0]} {rights.NEEDED}{command}")
    if fresh:
        return Wish(client.name, address, needed=True, reason="its certificate is new")
    return Wish(client.name, address, needed=True, reason=", ".join(str(edit.path) for edit in plan.needed))


def _to_plan(wanted: Deployment, paths: Paths, address: str, *, fresh: bool) -> Registry:
    """Return what a client is to be told; a CA that is not made yet is empty."""
    if fresh:
        return replace(_without_ca(wanted, address), ca=b"")
    return registry(wanted, paths, address)
