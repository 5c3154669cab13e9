"""What a registry's container is made of, before an engine or a file says it in its own words.

One value for all: ``up`` gives it to the engine, ``render`` writes it for compose, quadlet and Kubernetes.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.backends.distribution import own_variables
from regsetup.deployment import Directory, Listen, Tls
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.deployment import Deployment, Paths, RestartPolicy
    from regsetup.secret import Secret

LABEL_NAME = "io.regsetup.name"
DATA = "/var/lib/registry"
FILES = "/etc/regsetup"
AUTH = f"{FILES}/auth"
CERTS = f"{FILES}/certs"
ACME = f"{FILES}/acme"
HEALTH_INTERVAL = 10  # seconds between two probes
HEALTH_TIMEOUT = 5  # seconds
HEALTH_RETRIES = 3
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}  # of the driver json-file, which keeps all without them
_INSIDE = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104


class OnlyBundled(UsageError):
    """A setting of the bundled registry, for a container: registry:2 has nothing like it."""

    code = "only-bundled"

    def __init__(self, flags: tuple[str, ...]) -> None:
        super().__init__(
            f"registry:2 has nothing like {', '.join(flags)}",
            cause="only the bundled registry can do that",
            fix="regsetup up --backend embedded; for one that runs: regsetup migrate --to embedded first",
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of this machine that a registry reads: a directory of users, one of certificates.

    In ``acme`` it keeps those that it gets by itself.
    """

    config: Path
    auth: Path
    certs: Path
    acme: Path

    @classmethod
    def of(cls, paths: Paths) -> Sources:
        """Return where ``up`` keeps them."""
        return cls(paths.config, paths.auth, paths.certs, paths.acme)


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be known of image and engine.

    Attributes:
        config_path: the file that the image's own command reads its configuration from.
        probe: program and options in the image that ask an URL, None where it has none.
        selinux: whether mounted directories need a label.
        user: ``uid:gid`` the registry runs as, None for the image's own.
    """

    config_path: str
    probe: tuple[str, ...] | None
    selinux: bool = False
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of this machine, or a volume's name, at a path of the container; "" is a volume of its own."""

    source: str
    target: str
    read_only: bool
    volume: bool = False
    relabel: bool = False

    def __str__(self) -> str:
        """Write it as ``docker run -v`` takes it; ``z`` shares the label that SELinux asks for."""
        return f"{self.source}:{self.target}:{'ro' if self.read_only else 'rw'}{',z' if self.relabel else ''}"


@dataclass(frozen=True, slots=True)
class Container:
    """One registry's container.

    Attributes:
        port: TCP port inside; ``publish`` is where it is on this machine.
        health: a command, its first word the program; None where the image has no program to ask with.
    """

    name: str
    image: str
    user: str | None
    port: int
    publish: Listen
    scheme: str
    env: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    health: tuple[str, ...] | None
    restart: RestartPolicy


def describe(wanted: Deployment, sources: Sources | None, facts: Facts) -> Container:
    """Return the container of a deployment; without ``sources`` its files are put into volumes of its own."""
    return Container(
        name=wanted.name,
        image=wanted.image,
        user=facts.user,
        port=wanted.listen.port,
        publish=Listen(wanted.bind, wanted.port),
        scheme=wanted.scheme,
        env=(("REGISTRY_HTTP_ADDR", str(wanted.listen)), *own_variables(facts.config_path, wanted.env)),
        labels=((LABEL_NAME, wanted.name),),
        mounts=_mounts(wanted, sources, facts),
        health=_health(wanted, facts),
        restart=wanted.restart_policy,
    )


def _mounts(wanted: Deployment, sources: Sources | None, facts: Facts) -> tuple[Mount, ...]:
    def mount(source: Path, target: str) -> Mount:
        return Mount(str(source), target, read_only=True, relabel=facts.selinux)

    volume = not isinstance(wanted.storage, Directory)
    where = str(wanted.storage.path) if isinstance(wanted.storage, Directory) else wanted.storage.name
    data = Mount(where, DATA, read_only=False, volume=volume, relabel=facts.selinux)
    is_acme = wanted.tls is Tls.ACME
    if sources is None:
        own = (posixpath.dirname(facts.config_path), FILES)
        kept = (Mount(acme_volume(wanted.name), ACME, read_only=False, volume=True),) if is_acme else ()
        return (data, *(Mount("", target, read_only=False, volume=True) for target in own), *kept)
    mounts = [data, mount(sources.config, facts.config_path)]
    if wanted.auth:  # the directory: a mounted file keeps its old inode when it is replaced
        mounts.append(mount(sources.auth, AUTH))
    if wanted.keeps_pair:
        mounts.append(mount(sources.certs, CERTS))
    if is_acme:
        mounts.append(Mount(str(sources.acme), ACME, read_only=False, relabel=facts.selinux))
    return tuple(mounts)


def acme_volume(name: str) -> str:
    """Return the volume of an engine elsewhere that outlives the container, with what Let's Encrypt gave."""
    return f"{name}.regsetup-acme"


def _health(wanted: Deployment, facts: Facts) -> tuple[str, ...] | None:
    """Ask the registry from inside, with what the image has; an image without a program gets none.

    Docker's first probe comes after one interval; ``up`` itself asks from outside and much sooner. None with
    ``--tls acme``: such a registry answers only who names its host, which these programs do not on loopback,
    and each probe of one without a certificate would order it anew, against Let's Encrypt's limit.
    """
    if facts.probe is None or wanted.tls is Tls.ACME:
        return None
    address = Listen(_INSIDE.get(wanted.listen.host, wanted.listen.host), wanted.listen.port)
    return (*facts.probe, f"{wanted.scheme}://{address}/")


def config_text(wanted: Deployment, http_secret: Secret) -> str:
    """Return ``config.yml``; it holds the secret.

    Raises:
        OnlyBundled: it was told something that registry:2 can't do.
    """
    from regsetup.templating import render

    if wanted.only_bundled:
        raise OnlyBundled(wanted.only_bundled)

    return render(
        "config.yml.j2",
        {
            "name": wanted.name,
            "listen": str(wanted.listen),
            "http_secret": http_secret.reveal(),
            "tls": wanted.keeps_pair,
            "acme": {"directory": ACME, "email": wanted.acme_email, "hosts": list(wanted.hosts)}
            if wanted.tls is Tls.ACME
            else None,
            "realm": wanted.realm if wanted.auth else None,
            "mirror_of": wanted.mirror_of,
            "read_only": wanted.read_only,
        },
    )
