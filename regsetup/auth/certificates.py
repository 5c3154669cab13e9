"""Certificates as values: names, summaries, what to do about them. No cryptography, no files.

A registry has its own certificate authority, whose certificate permits exactly the names it was made for
(RFC 5280 section 4.2.1.10), so that its key, if stolen, opens nothing else. The work with keys is in
``x509``, which loads the ``cryptography`` package; this module stays cheap to import.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Self

from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from regsetup.secret import Secret

CA_LIFETIME = timedelta(days=3650)  # replacing it means distributing it again
LEAF_LIFETIME = timedelta(days=825)  # the most that Apple's clients take below a CA of one's own (HT210176)
BACKDATE = timedelta(days=1)  # a client's clock that runs behind, or that took local time for UTC
RENEW_BEFORE = timedelta(days=30)  # ``status`` and ``check`` warn from here on, and ``up`` renews

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME = re.compile(
    rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*"
)  # RFC 1034 3.5, with the underscore that Go takes


class BadName(UsageError):
    """A host name or address that a certificate can't hold."""

    code = "bad-host-name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"not a host name or address: {name!r}",
            cause="names are letters, digits and hyphens in labels of at most 63, joined by dots",
            fix="give --host registry.lan or --host 10.0.0.5, without a scheme, port or path",
        )


class CertificateError(RegsetupError):
    """A certificate or key that can't be used; subclasses say why."""

    code = "certificate"


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate is for: DNS names in lower case and addresses, each once, in the order given."""

    dns: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Sort host names from addresses; brackets around an IPv6 address are taken off.

        Raises:
            BadName: neither a host name nor an address.
        """
        dns: dict[str, None] = {}
        addresses: dict[IPv4Address | IPv6Address, None] = {}
        for text in texts:
            try:
                addresses[ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))] = None
            except ValueError:
                dns[_checked(text)] = None
        return cls(tuple(dns), tuple(addresses))

    def __str__(self) -> str:
        return ", ".join(self.texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every name as text, DNS names first."""
        return (*self.dns, *(str(address) for address in self.addresses))

    def __add__(self, other: Names) -> Names:
        return Names(
            tuple(dict.fromkeys(self.dns + other.dns)),
            tuple(dict.fromkeys(self.addresses + other.addresses)),
        )

    def missing(self, wanted: Names) -> Names:
        """Return those of ``wanted`` that a certificate for these names does not cover.

        ``*.lan`` covers one label, as RFC 6125 section 6.4.3 has it.
        """
        return Names(
            tuple(name for name in wanted.dns if not self._covers(name)),
            tuple(address for address in wanted.addresses if address not in self.addresses),
        )

    def _covers(self, name: str) -> bool:
        return name in self.dns or f"*.{name.partition('.')[2]}" in self.dns

    def __bool__(self) -> bool:
        return bool(self.dns or self.addresses)


def _checked(text: str) -> str:
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _DNS_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        raise BadName(text)
    return name


@dataclass(frozen=True, slots=True)
class Constraints:
    """The names below a CA: a domain permits itself and what ends in it, a network its addresses."""

    domains: tuple[str, ...]
    networks: tuple[IPv4Network | IPv6Network, ...]

    def refused(self, wanted: Names) -> Names:
        """Return those of ``wanted`` that clients would refuse below this CA (RFC 5280 section 4.2.1.10)."""
        return Names(
            tuple(name for name in wanted.dns if self.domains and not self._permits(name)),
            tuple(
                address
                for address in wanted.addresses
                if self.networks and not any(address in network for network in self.networks)
            ),
        )

    def _permits(self, name: str) -> bool:
        return any(name == domain or name.endswith(f".{domain}") for domain in self.domains)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is worth knowing of one certificate.

    Attributes:
        fingerprint: SHA-256 as ``openssl x509 -fingerprint -sha256`` prints it.
        key_id, issuer_key_id: hex of the subject and authority key identifiers, empty if absent.
        constraints: of a CA, or None.
    """

    subject: str
    issuer: str
    names: Names
    not_before: datetime
    not_after: datetime
    fingerprint: str
    key_id: str = ""
    issuer_key_id: str = ""
    constraints: Constraints | None = None

    def days_left(self, now: datetime) -> int:
        """Return whole days until the end, negative after it."""
        return (self.not_after - now).days

    def ends_soon(self, now: datetime) -> bool:
        """Tell whether it has ended or will within ``RENEW_BEFORE``."""
        return self.not_after - now <= RENEW_BEFORE


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A PEM certificate, followed by its chain if there is one, and its PEM private key."""

    certificate: bytes
    key: Secret


class Renewal(Enum):
    """What to do about the certificates."""

    KEEP = "keep"
    RENEW_LEAF = "renew"  # clients notice nothing
    REPLACE_CA = "replace-ca"  # clients need the new CA


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about the certificates, and why."""

    action: Renewal
    reason: str


def choose_names(hosts: Names, machine: Names, ca: Certificate | None) -> Names:
    """Return the names for the next leaf: all of ``hosts``, and of ``machine`` what the CA permits.

    An address that the machine got since, and that nobody asked for, must not cost every client its trust.
    """
    if ca is None or ca.constraints is None:
        return hosts + machine
    refused = ca.constraints.refused(machine)
    return hosts + Names(
        tuple(name for name in machine.dns if name not in refused.dns),
        tuple(address for address in machine.addresses if address not in refused.addresses),
    )


def decide(wanted: Names, ca: Certificate | None, leaf: Certificate | None, now: datetime) -> Decision:
    """Decide whether the pairs on disk do for ``wanted``; None stands for one that is absent or damaged."""
    if ca is None:
        return Decision(Renewal.REPLACE_CA, "there is no CA yet")
    if ca.ends_soon(now):
        return Decision(Renewal.REPLACE_CA, f"the CA ends on {ca.not_after:%Y-%m-%d}")
    if ca.constraints is not None and (refused := ca.constraints.refused(wanted)):
        return Decision(Renewal.REPLACE_CA, f"the CA does not permit {refused}")
    if leaf is None:
        return Decision(Renewal.RENEW_LEAF, "there is no certificate yet")
    if leaf.issuer_key_id != ca.key_id:
        return Decision(Renewal.RENEW_LEAF, f"the certificate is from another CA: {leaf.issuer}")
    if missing := leaf.names.missing(wanted):
        return Decision(Renewal.RENEW_LEAF, f"the certificate does not name {missing}")
    if leaf.ends_soon(now):
        return Decision(Renewal.RENEW_LEAF, f"the certificate ends on {leaf.not_after:%Y-%m-%d}")
    return Decision(
        Renewal.KEEP, f"names every host, {leaf.days_left(now)} days left until {leaf.not_after:%Y-%m-%d}"
    )
