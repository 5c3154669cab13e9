"""``--tls acme``: the registry in a container gets its certificates from Let's Encrypt by itself.

registry:2.8 and 3 hold Go's autocert (distribution: registry/registry.go). It knows one challenge,
tls-alpn-01 (RFC 8737), for which the authority connects to port 443 of each name; it orders at the first TLS
handshake for a name, keeps account, keys and certificates in a directory, and renews 30 days before the end.
It answers no handshake that names no host. Pure: what may be asked for, what a person must know, what its log
says.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from regsetup.deployment import Tls
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regsetup.deployment import Deployment

PORT = 443  # TCP; where tls-alpn-01 is asked (RFC 8737 section 3)
TIMEOUT = 90.0  # seconds; an order takes Let's Encrypt a few, and more on a bad day
LATE = 14  # days; it should have been renewed 16 days before
# Reserved (RFC 6761, 6762, 7686, 9476, ICANN's .internal), or in use inside and delegated to nobody.
_PRIVATE = frozenset(
    {"alt", "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local"}
    | {"localdomain", "localhost", "mail", "onion", "private", "test"}
)
_LABEL = re.compile(r"[a-z0-9-]+", re.IGNORECASE)  # no underscore: the CA/Browser Forum forbids it
_REFUSAL = re.compile(r"TLS handshake error from \S+ (?P<why>.*(?:acme|\"https?://).*)")
# Handshakes that are no order: without a name, for another one, and what follows a failed order for a minute.
_NO_ORDER = ("missing server name", "HostWhitelist", "missing certificate")


class NoAcme(UsageError):
    """``--tls acme`` for the bundled registry, which has no ACME client."""

    code = "no-acme"

    def __init__(self, why_bundled: str) -> None:
        super().__init__(
            "the bundled registry gets no certificate from Let's Encrypt by itself",
            cause=f"only registry:2 and 3 in a container do, and the bundled one is taken: {why_bundled}",
            fix="--backend docker; or certbot certonly -d NAME --deploy-hook 'regsetup cert renew', then "
            "regsetup up --host NAME --cert /etc/letsencrypt/live/NAME/fullchain.pem "
            "--key /etc/letsencrypt/live/NAME/privkey.pem",
        )


class NotPublic(UsageError):
    """``--tls acme`` for a name that no public authority certifies, or for none."""

    code = "not-public"

    def __init__(self, host: str | None) -> None:
        message = "--tls acme needs a name" if host is None else f"no public authority certifies {host}"
        super().__init__(
            message,
            cause="Let's Encrypt certifies names of the public DNS, after it has reached them",
            fix="--host registry.example.org, a name whose DNS entry leads to this machine; without one: "
            "--tls self-signed",
        )


class NotCertified(RegsetupError):
    """The registry runs and has no certificate that clients would take; what ran before is back."""

    code = "not-certified"

    def __init__(self, host: str, cause: str) -> None:
        super().__init__(
            f"the registry got no certificate for {host}",
            cause=cause,
            fix=f"see that {host} leads here and, from the Internet, its port {PORT} to the registry; "
            "then regsetup up again. Let's Encrypt takes five failures an hour: "
            "https://letsencrypt.org/docs/rate-limits/",
        )


def require_public(hosts: Iterable[str]) -> None:
    """Refuse names that can't be certified.

    Raises:
        NotPublic: names the first; None where there is no name at all.
    """
    names = tuple(hosts)
    for name in names or (None,):
        if name is None or not _is_public(name):
            raise NotPublic(name)


def _is_public(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        labels = name.lower().split(".")
        return len(labels) > 1 and labels[-1] not in _PRIVATE and all(map(_LABEL.fullmatch, labels))
    return False


def notes(wanted: Deployment) -> tuple[str, ...]:
    """Return what a person must see to, since regsetup can't; nothing without ``--tls acme``."""
    if wanted.tls is not Tls.ACME:
        return ()
    names = ", ".join(wanted.hosts)
    reached = f"Let's Encrypt asks {names} on port {PORT}, from the Internet"
    if wanted.port != PORT:
        reached += f": forward it, TLS untouched, to port {wanted.port} here"
    return (reached, "clients need no file: every system knows that authority")


def refusal(lines: Iterable[str]) -> str | None:
    """Return why the last order of a certificate failed, by the registry's log; None if it does not say."""
    found = [match["why"] for line in lines if (match := _REFUSAL.search(line))]
    orders = [one for one in found if not any(mark in one for mark in _NO_ORDER)]
    return orders[-1] if orders else None
