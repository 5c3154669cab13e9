"""Every setting of ``up``: its key, how its text is read, and what is wrong with a bad one.

One table serves the flags (``--image-archive``), the environment (``REGSETUP_IMAGE_ARCHIVE``) and
``regsetup.yaml`` (``image_archive``), so a value means the same wherever it was written.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from regsetup import amounts
from regsetup.deployment import Backend, Daemon, Directory, Listen, RestartPolicy, Storage, Trust, Volume
from regsetup.reference import BadReference, Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

# Docker's container and volume names (moby: daemon/names/names.go), cut to what a unit and a host name take.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}")
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")  # an anonymous one has 64 hex digits
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # RFC 1123 section 2.1; _ is met in the field
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EMAIL = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+")  # ASCII, as RFC 8555 section 7.3 has it
_PATTERN = re.compile(r"[\w.*?\[\]!-]{1,128}", re.ASCII)  # what a tag may hold, and what fnmatch reads
HUB = "https://registry-1.docker.io"
# docker.io leads to a web page; /v1/ is in the address that Docker names it by (docker/cli, IndexServer)
_HUB = re.compile(
    r"(?:https?://)?(?:docker\.io|index\.docker\.io|registry-1\.docker\.io)(?::443)?(?:/|/v[12]/?)?",
    re.IGNORECASE,
)
_PART = 255  # bytes; NAME_MAX of Linux's file systems
_PORT = re.compile(r"[0-9]{1,9}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_OWN_FLAG = {
    "REGISTRY_HTTP_ADDR": "--listen",
    "REGISTRY_HTTP_SECRET": "nothing: regsetup keeps it stable",
    "REGISTRY_AUTH": "--user or --no-auth",
    "REGISTRY_PROXY_REMOTEURL": "--mirror-of",
}

E = TypeVar("E", bound="StrEnum")


class BadValue(ValueError):
    """The text does not say what this setting needs; the message says what it needs."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting.

    Attributes:
        read: turns the text into the value, given the directory that relative paths start from.
        many: may be given several times (a list in YAML, comma-separated in the environment).
        saved: is remembered for the next ``up``.
    """

    key: str
    read: Callable[[str, Path], object]
    many: bool = False
    saved: bool = True
    plural: str | None = None

    @property
    def flag(self) -> str:
        """The flag of the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "REGSETUP_" + self.key.upper()


def name(text: str, _base: Path) -> str:
    """Read a name for container, unit and directory."""
    if not _NAME.fullmatch(text):
        raise BadValue("2 to 63 letters, digits, '_', '.' and '-', starting with a letter or digit")
    return text


def port(text: str, _base: Path) -> int:
    """Read a TCP port, 1 to 65535."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise BadValue("a whole number from 1 to 65535")
    return int(text)


def bind(text: str, _base: Path) -> str:
    """Read an IP address of this machine."""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return _address(text)
    except BadValue:
        raise
    except ValueError:
        raise BadValue("an IP address of this machine, such as 127.0.0.1 or 0.0.0.0") from None


def _address(text: str) -> str:
    """Read an IP address; a zone (RFC 4007) means nothing to another machine, nor to an engine.

    Raises:
        ValueError: not an address; BadValue for one with a zone.
    """
    address = ipaddress.ip_address(text.strip("[]"))
    if address.version == 6 and address.scope_id:
        raise BadValue("an IP address without a zone (%...)")
    return str(address)


def listen(text: str, base: Path) -> Listen:
    """Read ``[host]:port``; an empty host means every address, as in distribution's ``http.addr``."""
    host, colon, number = text.rpartition(":")
    if not colon:
        raise BadValue("an address and a port, such as 0.0.0.0:5000 or :5000")
    return Listen(bind(host or "0.0.0.0", base), port(number, base))  # noqa: S104


def host(text: str, _base: Path) -> str:
    """Read a DNS name or an IP address by which clients reach the registry."""
    try:
        return _address(text)
    except BadValue:
        raise
    except ValueError:
        pass
    labels = text.removesuffix(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise BadValue("a DNS name such as registry.lan, or an IP address; no scheme, port or path")
    return text


def storage(text: str, base: Path) -> Storage:
    """Read a directory, or ``volume:NAME``."""
    prefix, colon, volume = text.partition(":")
    if colon and prefix == "volume":
        if not _VOLUME.fullmatch(volume):
            raise BadValue("after 'volume:' a volume name: two or more letters, digits, '_', '.' and '-'")
        return Volume(volume)
    return Directory(path(text, base))


def path(text: str, base: Path) -> Path:
    """Read a path; a relative one starts from ``base``, ``~`` is the user's home."""
    if not text or "\0" in text:
        raise BadValue("a path")
    try:
        start = Path(base, Path(text).expanduser())
    except RuntimeError:  # pathlib: a user without an entry in passwd(5)
        raise BadValue(f"a path; there is no home directory {text.partition('/')[0]}") from None
    if any(len(os.fsencode(part)) > _PART for part in start.parts):
        raise BadValue(f"a path, each part of it at most {_PART} bytes long")
    return Path(os.path.realpath(start))  # Path.resolve raises at a loop of links, by Python's version


def link(text: str, base: Path) -> Path:
    """Read a path and keep its links: what certbot renews is another file behind the same link."""
    path(text, base)
    return Path(os.path.abspath(Path(base, Path(text).expanduser())))  # noqa: PTH100  resolve() follows links


def image(text: str, _base: Path) -> str:
    """Read an image reference, such as ``registry:2``."""
    try:
        Reference.parse(text)
    except BadReference as error:
        raise BadValue(f"an image such as registry:2 ({error.message})") from None
    return text


def env(text: str, _base: Path) -> tuple[str, str]:
    """Read ``KEY=VALUE``."""
    key, equals, value = text.partition("=")
    if not equals or not _ENV_KEY.fullmatch(key) or "\0" in value:
        raise BadValue("KEY=VALUE, KEY of letters, digits and '_'")
    if key in _OWN_FLAG:
        raise BadValue(f"{key} is regsetup's to set; use {_OWN_FLAG[key]}")
    return key, value


def mirror(text: str, _base: Path) -> str:
    """Read the URL of the registry that this one is a pull-through cache of, Docker Hub by any name."""
    if is_hub(text):
        return HUB
    bad = BadValue("a URL such as https://registry-1.docker.io, without user, password and query")
    try:
        url = urlsplit(text)
        possible = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # brackets without an IPv6 address, a port beyond 65535
        raise bad from None
    if not possible or url.username is not None or url.query or url.fragment:
        raise bad
    return text.rstrip("/")


def is_hub(text: str) -> bool:
    """Tell whether a URL, or a bare name, is Docker Hub's: only one of its hosts answers as a registry."""
    return _HUB.fullmatch(text) is not None


def realm(text: str, _base: Path) -> str:
    """Read the name that a client's password prompt shows (RFC 7235 section 2.2)."""
    if not text.isprintable() or '"' in text or "\\" in text or not text:
        raise BadValue("printable characters, no quotes or backslashes")
    return text


def email(text: str, _base: Path) -> str:
    """Read an address that mail goes to; only its form is looked at."""
    if not _EMAIL.fullmatch(text):
        raise BadValue("an address such as admin@example.org")
    return text


def pattern(text: str, _base: Path) -> str:
    """Read a shell pattern of tags."""
    if not _PATTERN.fullmatch(text):
        raise BadValue("a pattern of tags, such as 'v*' or '[0-9]*'")
    return text


def size(text: str, _base: Path) -> str:
    """Read a size; it stays as it was written."""
    if amounts.size(text) is None:
        raise BadValue("a size, such as 64MiB or 2GiB")
    return text


def duration(text: str, _base: Path) -> str:
    """Read a duration; it stays as it was written."""
    if amounts.seconds(text) is None:
        raise BadValue("a number with s, m, h or d")
    return text


def boolean(text: str, _base: Path) -> bool:
    """Read true or false."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadValue("true or false")


def choice(kind: type[E]) -> Callable[[str, Path], E]:
    """Return a reader of one of the words of ``kind``."""

    def read(text: str, _base: Path) -> E:
        try:
            return kind(text)
        except ValueError:
            raise BadValue("one of " + ", ".join(kind)) from None

    return read


def tls(text: str, _base: Path) -> str:
    """Read where the certificate comes from; ``auto`` is decided when the rest is known."""
    if text not in ("auto", "off", "self-signed", "acme"):
        raise BadValue("one of auto, off, self-signed, acme")
    return text


FIELDS = {
    field.key: field
    for field in (
        Field("name", name, saved=False),
        Field("backend", choice(Backend)),
        Field("image", image),
        Field("image_archive", path, saved=False),
        Field("bundle", path, saved=False),
        Field("port", port),
        Field("bind", bind),
        Field("listen", listen),
        Field("host", host, many=True, plural="hosts"),
        Field("data", storage),
        Field("user", lambda text, _base: text, many=True, saved=False, plural="users"),
        Field("auth", boolean),
        Field("realm", realm),
        Field("tls", tls),
        Field("cert", link),
        Field("key", link),
        Field("acme_email", email),
        Field("insecure", boolean),
        Field("trust", choice(Trust)),
        Field("daemon", choice(Daemon)),
        Field("daemon_json", path),
        Field("certs_d", path),
        Field("restart_policy", choice(RestartPolicy)),
        Field("env", env, many=True),
        Field("mirror_of", mirror),
        Field("machine", host),
        Field("read_only", boolean),
        Field("immutable_tags", pattern, many=True),
        Field("allow_sparse", boolean),
        Field("min_free", size),
        Field("upload_ttl", duration),
    )
}
