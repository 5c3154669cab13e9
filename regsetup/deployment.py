"""What is wanted: one frozen value that says everything about a registry on this machine.

Values here are complete and checked; ``load`` makes them from flags, environment and YAML.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_NAME = "registry"
DEFAULT_IMAGE = "registry:2"
DEFAULT_PORT = 5000  # TCP; the port of every registry tutorial, and of distribution's default config


class Backend(StrEnum):
    """What runs the registry."""

    AUTO = "auto"
    DOCKER = "docker"
    EMBEDDED = "embedded"


class Tls(StrEnum):
    """Where the certificate comes from."""

    OFF = "off"
    SELF_SIGNED = "self-signed"
    OWN = "own"
    ACME = "acme"


class Trust(StrEnum):
    """How the engine on this machine is made to trust the registry."""

    AUTO = "auto"
    INSECURE = "insecure"
    CA = "ca"
    NONE = "none"


class Daemon(StrEnum):
    """What may be done to the engine so that it takes a change of its settings."""

    AUTO = "auto"
    RELOAD = "reload"
    RESTART = "restart"
    NEVER = "never"


class RestartPolicy(StrEnum):
    """When the registry is started again; Docker's own names."""

    NO = "no"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and a TCP port, written ``host:port``; IPv6 in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Directory:
    """Images are stored in a directory of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Volume:
    """Images are stored in a named volume of the engine."""

    name: str

    def __str__(self) -> str:
        return f"volume:{self.name}"


Storage: TypeAlias = Directory | Volume


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the files of one registry lie; ``root`` is ``<home>/<name>``."""

    home: Path
    name: str

    @property
    def root(self) -> Path:
        """The directory of this registry."""
        return self.home / self.name

    @property
    def deployment(self) -> Path:
        """What was asked for, so that the next ``up`` without flags means the same."""
        return self.root / "deployment.yaml"

    @property
    def state(self) -> Path:
        """What was applied, and the ledger."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the one command that may change this registry."""
        return self.home / f".{self.name}.lock"

    @property
    def content_lock(self) -> Path:
        """Held while blobs must stay, or are deleted: by a backup, by a collection of a container."""
        return self.home / f".{self.name}.content.lock"

    @property
    def history(self) -> Path:
        """What ``status`` remembers: samples of the disk, the last backup, the last collection."""
        return self.root / "history.json"

    @property
    def auth(self) -> Path:
        """The directory that is mounted, so that an atomic rename of ``htpasswd`` is seen inside."""
        return self.root / "auth"

    @property
    def htpasswd(self) -> Path:
        """The users."""
        return self.auth / "htpasswd"

    @property
    def certs(self) -> Path:
        """What the server and its clients need: ``ca.crt``, ``tls.crt``, ``tls.key``."""
        return self.root / "certs"

    @property
    def acme(self) -> Path:
        """What the registry keeps of its own dealings with Let's Encrypt: account, keys, certificates."""
        return self.root / "acme"

    @property
    def authority(self) -> Path:
        """The key of the registry's own CA, which no container sees."""
        return self.root / "ca"

    @property
    def config(self) -> Path:
        """The registry's own configuration."""
        return self.root / "config.yml"

    @property
    def http_secret(self) -> Path:
        """The key that signs upload sessions; stable, so that uploads outlive a replaced container."""
        return self.root / "http.secret"

    @property
    def data(self) -> Path:
        """Where images are stored unless ``--data`` says otherwise."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the bundled registry says where no journal takes it."""
        return self.root / "registry.log"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One registry as it is wanted.

    Attributes:
        port: TCP port on this machine; ``bind`` is the address it is opened on.
        machine: the one whose engine runs it, as it is reached from here; None for this one.
        listen: what the registry listens on inside its container (``REGISTRY_HTTP_ADDR``).
        hosts: the names and addresses by which clients reach it, the first one preferred.
        bundle: where the image comes from unless it is here; then nothing is pulled.
        users: must exist when done; others stay.
        auth: whether credentials are asked for.
        acme_email: whom Let's Encrypt may write to.
        daemon_json, certs_d: instead of the engine's own ``daemon.json`` and ``certs.d``.
        env: further variables of the container, sorted by name.
        immutable_tags, allow_sparse, min_free, upload_ttl: as ``serve`` has them; the bundled registry only.
    """

    name: str
    storage: Storage
    backend: Backend = Backend.AUTO
    image: str = DEFAULT_IMAGE
    image_archive: Path | None = None
    bundle: Path | None = None
    port: int = DEFAULT_PORT
    bind: str = "127.0.0.1"
    listen: Listen = Listen("0.0.0.0", DEFAULT_PORT)  # noqa: S104  inside the container's own network
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    auth: bool = False
    realm: str = "Registry"
    tls: Tls = Tls.OFF
    cert: Path | None = None
    key: Path | None = None
    acme_email: str | None = None
    insecure: bool = False
    trust: Trust = Trust.AUTO
    daemon: Daemon = Daemon.AUTO
    daemon_json: Path | None = None
    certs_d: Path | None = None
    restart_policy: RestartPolicy = RestartPolicy.UNLESS_STOPPED
    env: tuple[tuple[str, str], ...] = ()
    mirror_of: str | None = None
    machine: str | None = None
    read_only: bool = False
    immutable_tags: tuple[str, ...] = ()
    allow_sparse: bool = False
    min_free: str | None = None
    upload_ttl: str | None = None

    @property
    def only_bundled(self) -> tuple[str, ...]:
        """The settings that were given and that registry:2 has nothing like, by their flags."""
        given = {
            "--immutable-tags": self.immutable_tags,
            "--allow-sparse": self.allow_sparse,
            "--min-free": self.min_free,
            "--upload-ttl": self.upload_ttl,
        }
        return tuple(flag for flag, value in given.items() if value)

    @property
    def no_proof(self) -> str | None:
        """Why nothing can be pushed to it and taken back, as a proof does; None where it can."""
        if self.mirror_of:
            return "a pull-through cache takes no pushes"
        if self.read_only:
            return "it is read-only"
        return "what is pushed may have to stay: --immutable-tags" if self.immutable_tags else None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.tls is Tls.OFF else "https"

    @property
    def keeps_pair(self) -> bool:
        """Whether certificate and key are files that regsetup keeps, and not the registry itself."""
        return self.tls in (Tls.SELF_SIGNED, Tls.OWN)

    @property
    def address(self) -> str:
        """``host:port`` as people type it in front of an image name."""
        return str(Listen(self.hosts[0] if self.hosts else "localhost", self.port))

    @property
    def local(self) -> Listen:
        """Where this machine itself reaches the registry, without a name that only clients resolve."""
        if self.machine:
            return Listen(self.machine, self.port)
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return Listen(wildcard.get(self.bind, self.bind), self.port)


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach ``address`` (an IP address, RFC 1122 and RFC 4291)."""
    return ipaddress.ip_address(address).is_loopback
