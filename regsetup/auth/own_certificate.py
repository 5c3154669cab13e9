"""Checks a certificate and key that somebody brings (``--cert``, ``--key``) before anything is changed.

What Go's crypto/x509 and OpenSSL would refuse at a client is refused here, with the reason. Reads no files.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from regsetup.auth.certificates import Certificate, CertificateError, KeyPair, Names
from regsetup.auth.x509 import KeyMismatch, chain, private_key, same_key, summary

if TYPE_CHECKING:
    from datetime import datetime

OPEN_BITS = 0o027  # group may read (Debian's ssl-cert group), not write; others nothing


class ChainDisordered(CertificateError):
    """The file's certificates are not leaf first, each signed by the next."""

    code = "certificate-chain"

    def __init__(self, cause: str) -> None:
        super().__init__(
            "the certificate chain is out of order",
            cause=cause,
            fix="cat server.crt intermediate.crt > chain.crt, the server's own certificate first",
        )


class NamesNotCovered(CertificateError):
    """The certificate is for other names than those that clients will use."""

    code = "certificate-names"

    def __init__(self, missing: Names, present: Names) -> None:
        super().__init__(
            f"the certificate does not name {missing}",
            cause=f"it names {present}"
            if present
            else "it has no subjectAltName, and clients no longer look at CN",
            fix="request a certificate with these names in subjectAltName, or give --host a name that it has",
        )


class CertificateExpired(CertificateError):
    """A certificate's time is over."""

    code = "certificate-expired"

    def __init__(self, found: Certificate, now: datetime) -> None:
        super().__init__(
            f"the certificate of {found.subject} ended on {found.not_after:%Y-%m-%d %H:%M} UTC",
            cause=f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC",
            fix="request a new one; if it is not over yet, set this machine's clock",
        )


class CertificateNotYetValid(CertificateError):
    """A certificate's time has not begun."""

    code = "certificate-not-yet-valid"

    def __init__(self, found: Certificate, now: datetime) -> None:
        super().__init__(
            f"the certificate of {found.subject} begins on {found.not_before:%Y-%m-%d %H:%M} UTC",
            cause=f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC",
            fix="set this machine's clock, or wait",
        )


class NotForServers(CertificateError):
    """The certificate's extended key usage leaves servers out."""

    code = "certificate-usage"

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"the certificate of {subject} is not for servers",
            cause="its extended key usage has no serverAuth (RFC 5280 section 4.2.1.12)",
            fix="request a server certificate",
        )


class KeyExposed(CertificateError):
    """The private key's file can be read or changed by people who should not."""

    code = "key-exposed"

    def __init__(self, path: str, mode: int) -> None:
        super().__init__(
            f"{path} has mode {mode:04o}",
            cause="others on this machine could read or change the private key",
            fix=f"chmod 600 {path}",
        )


def check_own(pair: KeyPair, hosts: Names, now: datetime) -> Certificate:
    """Return the summary of a pair that clients of ``hosts`` will accept, given that they know its root.

    Raises:
        CertificateError: the subclass names what is wrong; the first thing found, most basic first.
    """
    certificates = chain(pair.certificate)
    key = private_key(pair.key)
    leaf = certificates[0]
    if not same_key(key, leaf):
        if any(same_key(key, other) for other in certificates[1:]):
            raise ChainDisordered("the server's own certificate is not the first in the file")
        raise KeyMismatch(leaf.subject.rfc4514_string())
    _check_order(certificates)
    for certificate in certificates:
        _check_dates(summary(certificate), now)
    _check_usage(leaf)
    found = summary(leaf)
    if missing := found.names.missing(hosts):
        raise NamesNotCovered(missing, found.names)
    return found


def check_key_mode(path: str, mode: int) -> None:
    """Refuse a key file that more than its owner and a reading group may use.

    Raises:
        KeyExposed: names the file and its mode.
    """
    if mode & OPEN_BITS:
        raise KeyExposed(path, mode & 0o7777)


def _check_order(certificates: list[x509.Certificate]) -> None:
    for child, parent in pairwise(certificates):
        try:
            child.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ChainDisordered(
                f"{child.subject.rfc4514_string()} is followed by {parent.subject.rfc4514_string()}, "
                f"but was issued by {child.issuer.rfc4514_string()}"
            ) from error


def _check_dates(found: Certificate, now: datetime) -> None:
    if now > found.not_after:
        raise CertificateExpired(found, now)
    if now < found.not_before:
        raise CertificateNotYetValid(found, now)


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise NotForServers(leaf.subject.rfc4514_string())
