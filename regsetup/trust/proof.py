"""The proof by the engine itself: it logs in, pushes and pulls, as `docker` would, and keeps nothing.

Only a push and a pull through the engine prove that it trusts the registry: `docker info` can list the
address while a push still fails (moby#51080, with the containerd image store). Docker Engine API: /auth,
/images/create?fromSrc, /images/{name}/push, /images/create?fromImage. Writes no ~/.docker/config.json.
"""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests.exceptions

from regsetup.errors import RegsetupError
from regsetup.host.signals import held
from regsetup.reference import Digest, Reference
from regsetup.trust.refusals import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regsetup.client import Credentials

_NOISE = (
    2048  # bytes that no other image has: nothing the engine or registry holds already can stand in for them
)


class EngineGaveAnotherImage(RegsetupError):
    """What the engine pulled is not what it pushed."""

    code = "engine-other-image"

    def __init__(self, reference: Reference, pushed: Digest, pulled: Digest) -> None:
        super().__init__(
            f"{reference}: the engine pushed {pushed} and pulled {pulled}",
            cause="something between engine and registry answers for it: a mirror, a proxy or a cache",
            fix="docker info lists registry-mirrors and proxies",
        )


class EngineLost(RegsetupError):
    """The engine itself, not the registry, stopped answering."""

    code = "engine-lost"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the engine stopped answering while it proved {address}",
            cause=reason,
            fix="start the engine, then: regsetup check",
        )


def prove_engine(
    client: docker.DockerClient, address: str, credentials: Credentials | None, *, repository: str
) -> Reference:
    """Log in, push an image of a few kB to ``address`` and pull it back, all by the engine.

    Args:
        client: the engine.
        address: ``host[:port]`` as it stands in front of image names.
        credentials: None for a registry without users.
        repository: where the image goes. It stays in the registry, and is the caller's to delete.

    Returns:
        What was pushed, with tag and digest.

    Raises:
        Refusal: a subclass names the cause; see ``regsetup.trust.refusals``.
        EngineLost: the engine went away.
        EngineGaveAnotherImage: the pull gave other content than the push.
    """
    reference = Reference(address, repository, f"proof-{secrets.token_hex(4)}")
    auth = _auth(credentials)
    with _explained(address):
        if credentials is not None:
            client.api.login(auth["username"], auth["password"], registry=address, reauth=True)
        try:
            with held():  # the engine goes on when it is not listened to any more, and has the image then
                _make_image(client, reference)
            _push(client, reference, auth)
            pushed = _digest(client, reference)
            _remove(client, reference)
            _pull(client, reference, auth)
            pulled = _digest(client, reference)
        finally:
            _remove(client, reference)
    if pulled != pushed:
        raise EngineGaveAnotherImage(reference, pushed, pulled)
    return Reference(address, repository, reference.tag, pushed)


def _auth(credentials: Credentials | None) -> dict[str, str]:
    """Return what X-Registry-Auth says; never None, for which the SDK takes the person's own credentials."""
    if credentials is None:
        return {}
    return {"username": credentials.user, "password": credentials.password.reveal()}


def _make_image(client: docker.DockerClient, reference: Reference) -> None:
    """Make the image in the engine, tagged ``reference``."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        entry = tarfile.TarInfo("regsetup-proof")
        entry.size = _NOISE
        tar.addfile(entry, io.BytesIO(secrets.token_bytes(_NOISE)))
    answer = client.api.import_image_from_data(raw.getvalue(), repository=_name(reference), tag=reference.tag)
    _lines(json.loads(line) for line in answer.splitlines() if line)


def _name(reference: Reference) -> str:
    return f"{reference.registry}/{reference.repository}"


def _push(client: docker.DockerClient, reference: Reference, auth: dict[str, str]) -> None:
    _lines(client.api.push(_name(reference), reference.tag, stream=True, decode=True, auth_config=auth))


def _digest(client: docker.DockerClient, reference: Reference) -> Digest:
    """Return the manifest's digest, which the engine knows once it has pushed or pulled the image.

    Not taken from the push's progress: with the containerd image store, engine 26.1 does not say it there.
    """
    (known,) = client.images.get(str(reference)).attrs["RepoDigests"]
    return Digest.parse(known.rpartition("@")[2])


def _pull(client: docker.DockerClient, reference: Reference, auth: dict[str, str]) -> None:
    _lines(client.api.pull(_name(reference), reference.tag, stream=True, decode=True, auth_config=auth))


def _lines(stream: Iterable[dict[str, object]]) -> None:
    """Read the engine's progress to its end, so that the connection is given back; then raise its error.

    Its errors stand in a line, for the status 200 was sent before.
    """
    for line in list(stream):
        if "error" in line:
            raise docker.errors.DockerException(line["error"])


def _remove(client: docker.DockerClient, reference: Reference) -> None:
    """Remove the tag, and with its last tag the image; it may be gone already."""
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(str(reference), force=True)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Translate what the SDK raises, once."""
    try:
        yield
    except docker.errors.APIError as error:
        raise explain(str(error.explanation or error), address) from error
    except docker.errors.DockerException as error:
        raise explain(str(error), address) from error
    except requests.exceptions.RequestException as error:
        raise EngineLost(address, str(error)) from error
