"""Where a registry answers and as whom to ask it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from regsetup.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.secret import Secret

Origin = tuple[str, str, int]
"""Scheme, host and port: what has to be equal before a password is sent (RFC 6454)."""

IDENTITY = "<token>"
"""The user in whose place an identity token stands (docker-credential-helpers, "Development")."""

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(
    r"[\w.-]+(%\S+)?|[0-9a-f:.]+(%\S+)?", re.IGNORECASE
)  # a name, or an address of IPv6; no blanks


class BadEndpoint(UsageError):
    """A registry address that is no ``http://host[:port]`` or ``https://host[:port]``."""

    code = "bad-endpoint"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"{url!r} is no registry address: {reason}", fix="write it as https://registry.example:5000"
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the password that proves it; of the user ``<token>`` it is an identity token."""

    user: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry's address, such as ``http://127.0.0.1:5000``.

    Attributes:
        url: scheme, host and port; no path.
        ca: a PEM file of the authorities to trust instead of the system's.
        also: PEM files of authorities to trust besides those.
        certified_name: the name that the certificate is checked for, where it is not the one in ``url``:
            a registry asked on its loopback address has a certificate for the name that clients use.
        credentials: None asks as nobody.

    Raises:
        BadEndpoint: ``url`` has another scheme, no host, a path, a query or a password.
    """

    url: str
    ca: Path | None = None
    credentials: Credentials | None = None
    certified_name: str | None = None
    also: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no bare address."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise BadEndpoint(self.url, str(error)) from error
        if parts.username is not None or parts.password is not None:
            raise BadEndpoint(parts._replace(netloc=f"****@{parts.hostname}").geturl(), "it holds a password")
        if parts.scheme not in _PORTS:
            raise BadEndpoint(self.url, "it begins with neither http:// nor https://")
        if not parts.hostname or port == 0:
            raise BadEndpoint(self.url, "it names no host and port")
        if not _HOST.fullmatch(parts.hostname):
            raise BadEndpoint(self.url, f"{parts.hostname!r} is neither a name nor an address")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BadEndpoint(self.url, "it goes on after host and port")

    @property
    def address(self) -> str:
        """``host[:port]``, as it stands in front of an image's name."""
        return urlsplit(self.url).netloc


def origin(url: str) -> Origin:
    """Return scheme, lower-case host and port of an absolute http or https URL.

    Raises:
        ValueError: it is none, or its port is no number.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"no http or https URL: {url!r}")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` means this machine: ``localhost`` (RFC 6761), 127.0.0.0/8 or ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
