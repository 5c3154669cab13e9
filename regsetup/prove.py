"""The whole proof of a registry on this machine: by its API, and through the engine where there is one.

Where users exist it enters as one made for the proof, ``regsetup-check``, with a password that nobody
knows; the line is taken out again, and a line that a killed proof left is replaced by the next.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from regsetup import users
from regsetup.backends.choice import users_carrier
from regsetup.backends.engine import connect
from regsetup.called import named
from regsetup.client import RegistryClient, RegistryError
from regsetup.deployment import Directory, Tls, is_loopback
from regsetup.errors import RegsetupError
from regsetup.host.files import Locked
from regsetup.probe import endpoint
from regsetup.reference import Digest
from regsetup.smoke import Check, Outcome, forget, prove, timed
from regsetup.smoke.image import PREFIX
from regsetup.trust_here import TrustFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.backends.engine import Engine
    from regsetup.client import Endpoint
    from regsetup.deployment import Deployment, Paths
    from regsetup.reference import Reference

PROOF_USER = "regsetup-check"
OWNER_USER = "regsetup-owner"
_OWNERS = 8  # commands at once; each edit of htpasswd by another may cost a bcrypt at the next request
LIVE_TIMEOUT = 5.0  # seconds for a changed htpasswd to be read again
_POLL = 0.05  # seconds between two questions


def prove_here(
    wanted: Deployment, paths: Paths, choice: Choice, told: Callable[[Check], None]
) -> tuple[Check, ...]:
    """Run every check; a failing one is returned, not raised.

    Args:
        told: called with each check when it has ended.
    """
    data = _local_data(wanted, choice)
    with entered(wanted, paths) as where:
        checks = prove(
            where,
            expects_auth=wanted.auth,
            no_pushes=wanted.no_proof,
            progress=told,
            cleanup=(lambda repository, digests: forget(data, repository, digests)) if data else None,
        )
        return (*checks, *_through_clients(wanted, paths, choice, where, told))


def prove_clients(
    wanted: Deployment, paths: Paths, choice: Choice, told: Callable[[Check], None]
) -> tuple[Check, ...]:
    """Push and pull by the engine, and by what else of this machine was told of the registry."""
    with entered(wanted, paths) as where:
        return _through_clients(wanted, paths, choice, where, told)


def _through_clients(
    wanted: Deployment, paths: Paths, choice: Choice, where: Endpoint, told: Callable[[Check], None]
) -> tuple[Check, ...]:
    data = _local_data(wanted, choice)
    through = []
    for run in (
        lambda: _through_engine(wanted, paths, choice, where, data),
        *_programs(wanted, paths, where, data),
    ):
        through.append(_named(run(), wanted.name))
        told(through[-1])
    return tuple(through)


def _named(check: Check, name: str) -> Check:
    """Let what mends it be for the registry of that name; no client knows it."""
    if check.error and check.error.fix:
        check.error.fix = named(check.error.fix, name)
    return check


def _programs(
    wanted: Deployment, paths: Paths, where: Endpoint, data: Path | None
) -> Iterator[Callable[[], Check]]:
    """Yield the proof of each program that is installed here and was told of the registry."""
    from regsetup.trust import proof_programs as proof

    files = {e.client: e.path for e in TrustFile(paths.home).entries() if e.address == wanted.address}
    if wanted.no_proof or wanted.machine or not wanted.hosts or not _resolves(wanted.hosts[0]):
        return
    ways: dict[str, Callable[[str], Reference]] = {}
    if "podman" in files and proof.has_podman():
        ways["podman"] = partial(_by_podman, wanted.address, where)
    if "containerd" in files and proof.has_ctr():
        ways["containerd"] = partial(_by_ctr, wanted.address, where, files["containerd"].parent.parent)
    for name, way in ways.items():
        yield partial(timed, name, partial(_pushed_and_taken_back, way, where, data))


def _by_podman(address: str, where: Endpoint, repository: str) -> Reference:
    from regsetup.trust.proof_programs import prove_podman

    return prove_podman(address, where.credentials, repository=repository)


def _by_ctr(address: str, where: Endpoint, certs_d: Path, repository: str) -> Reference:
    from regsetup.trust.proof_programs import prove_ctr

    return prove_ctr(address, where.credentials, repository=repository, certs_d=certs_d)


@contextlib.contextmanager
def entered(wanted: Deployment, paths: Paths) -> Iterator[Endpoint]:
    """Give the registry's address on this machine with leave to enter, where it asks for credentials."""
    if not wanted.auth:
        yield endpoint(wanted, paths)
        return
    carry = users_carrier(wanted, paths)
    with users.temporary(paths.htpasswd, PROOF_USER, carry=carry) as credentials:
        yield _live(endpoint(wanted, paths, credentials))


@contextlib.contextmanager
def entered_as_owner(wanted: Deployment, paths: Paths) -> Iterator[Endpoint]:
    """As ``entered``, for several commands at once: each has the first name that no other has.

    Raises:
        UsersUnreadable, MalformedFile, Locked, CannotWrite: this user does not own the registry, or not now.
    """
    carry = users_carrier(wanted, paths)
    with contextlib.ExitStack() as stack:
        for number in range(1, _OWNERS + 1):
            try:
                turn = users.temporary(paths.htpasswd, f"{OWNER_USER}-{number}", turn=0, carry=carry)
                credentials = stack.enter_context(turn)
                break
            except Locked:
                if number == _OWNERS:
                    raise
        yield _live(endpoint(wanted, paths, credentials))


def _live(where: Endpoint) -> Endpoint:
    """Wait until the registry has read the changed htpasswd."""
    _wait_until_live(where)
    return where


def _wait_until_live(where: Endpoint) -> None:
    """Both registries read htpasswd again when it has changed; the checks say it if they do not."""
    deadline = time.monotonic() + LIVE_TIMEOUT
    with RegistryClient(where) as client, contextlib.suppress(RegistryError):
        while client.ping().status != 200 and time.monotonic() < deadline:
            time.sleep(_POLL)


def _local_data(wanted: Deployment, choice: Choice) -> Path | None:
    """Return the data directory if this process can reach it; a volume's is root's."""
    if isinstance(wanted.storage, Directory):
        return wanted.storage.path
    from regsetup.backends import volumes

    return volumes.mountpoint(choice.docker(), wanted.storage.name)


def _through_engine(
    wanted: Deployment, paths: Paths, choice: Choice, where: Endpoint, data: Path | None
) -> Check:
    """Push and pull by the engine of this machine, at an address that it trusts."""
    name = "engine"
    if wanted.no_proof:
        return Check(name, Outcome.SKIPPED, 0.0, wanted.no_proof)
    try:
        engine = choice.engine or connect()
    except RegsetupError as error:
        return Check(name, Outcome.SKIPPED, 0.0, error.message)
    try:
        if engine.elsewhere is not bool(wanted.machine):
            there = f"the engine at {engine.address} is on another machine"
            return Check(name, Outcome.SKIPPED, 0.0, there)
        address = _engine_address(wanted, paths, engine)
        if address is None:
            why = f"the engine is not told to trust {wanted.address}"
            if wanted.tls is Tls.ACME:  # it answers to its names only, not on loopback
                why = f"{wanted.hosts[0]} does not lead to an address of this machine"
            return Check(name, Outcome.SKIPPED, 0.0, why)
        way = partial(_by_engine, engine, address, where)
        return timed(name, partial(_pushed_and_taken_back, way, where, data))
    finally:
        if choice.engine is None:
            engine.client.close()


def _engine_address(wanted: Deployment, paths: Paths, engine: Engine) -> str | None:
    """Return an address at which the engine, of this machine or the registry's, trusts the registry.

    Docker takes 127.0.0.0/8 and ::1 as insecure registries without being told, podman does not.
    """
    client = "podman" if engine.podman else "docker"
    told = {one.address for one in TrustFile(paths.home).entries() if one.client == client}
    if wanted.address in told and not wanted.machine and _resolves(wanted.hosts[0]):
        return wanted.address
    if wanted.tls is Tls.ACME:
        return wanted.address if _leads_here(wanted.hosts[0]) else None
    there = replace(wanted, machine=None).local  # as the engine's own machine calls it
    return str(there) if is_loopback(there.host) and not engine.podman else None


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _leads_here(host: str) -> bool:
    """Tell whether a name is this machine; behind a NAT it need not come back to it."""
    from regsetup.host.names import machine_names

    own = {str(address) for address in machine_names().addresses}
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found & own)


def _by_engine(engine: Engine, address: str, where: Endpoint, repository: str) -> Reference:
    from regsetup.trust.proof import prove_engine

    return prove_engine(engine.client, address, where.credentials, repository=repository)


def _pushed_and_taken_back(way: Callable[[str], Reference], where: Endpoint, data: Path | None) -> str:
    repository = f"{PREFIX}/{secrets.token_hex(8)}"
    try:
        pushed = way(repository)
    finally:
        _take_back(where, repository, data)
    return f"pushed and pulled {pushed}"


def _take_back(where: Endpoint, repository: str, data: Path | None) -> None:
    """Delete what the engine pushed, as far as it came."""
    digests: list[Digest] = []
    with RegistryClient(where) as client, contextlib.suppress(RegistryError):
        for tag in list(client.tags(repository)):
            manifest = client.get_manifest(repository, tag)
            content = json.loads(manifest.content)
            blobs = [Digest.parse(one["digest"]) for one in (content["config"], *content["layers"])]
            digests += [manifest.digest, *blobs]
            client.delete_manifest(repository, manifest.digest)
            for blob in blobs:
                client.delete_blob(repository, blob)
    if data:
        forget(data, repository, digests)
