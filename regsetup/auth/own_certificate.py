"""Checks a certificate and key that somebody brings (``--cert``, ``--key``) before anything is changed.

What Go's crypto/x509 and OpenSSL would refuse at a client is refused here, with the reason. Reads no files.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from regsetup.auth.certificates import Certificate, CertificateError, KeyPair, Names
from regsetup.auth.pem import KeyMismatch, chain, private_key, same_key, summary

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

RSA_BITS = 2048  # OpenSSL's security level 2, that of Debian and RHEL
CURVES = ("secp256r1", "secp384r1", "secp521r1")  # crypto/tls: P-256, P-384, P-521
WEAK_HASHES = ("md5", "sha1")
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
        entries = ", ".join(f"IP:{one}" for one in missing.addresses if str(one) in present.dns)
        if entries:
            cause = "it has the address as a DNS name, and clients look for an address among the IP entries"
        elif present:
            cause = f"it names {present}"
        else:
            cause = "it has no subjectAltName, and clients no longer look at CN"
        wanted = f"subjectAltName={entries}" if entries else "these names in subjectAltName"
        super().__init__(
            f"the certificate does not name {missing}",
            cause=cause,
            fix=f"request a certificate with {wanted}, or give --host a name that it has",
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


class CertificateWeak(CertificateError):
    """A certificate's key or signature is of a kind that clients refuse."""

    code = "certificate-weak"

    def __init__(self, subject: str, cause: str) -> None:
        super().__init__(
            f"clients would refuse the certificate of {subject}",
            cause=cause,
            fix="request one with a P-256 or RSA key of 2048 bits, signed with SHA-256",
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
        _check_strength(certificate)
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


def _check_strength(certificate: x509.Certificate) -> None:
    if cause := _key_weakness(certificate.public_key()) or _signature_weakness(certificate):
        raise CertificateWeak(certificate.subject.rfc4514_string(), cause)


def _key_weakness(key: CertificatePublicKeyTypes) -> str | None:
    """Return why clients refuse a key: OpenSSL's security level 2 a short one, Go what it does not know."""
    if isinstance(key, rsa.RSAPublicKey):
        short = key.key_size < RSA_BITS
        return f"its RSA key has {key.key_size} bits, and OpenSSL wants {RSA_BITS}" if short else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        known = key.curve.name in CURVES
        return None if known else f"its key is on the curve {key.curve.name}, which Go does not know"
    return None if isinstance(key, ed25519.Ed25519PublicKey) else "its key is of a kind that Go does not know"


def _signature_weakness(certificate: x509.Certificate) -> str | None:
    """Return why clients refuse a signature; that of a root is nobody's business."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        return f"it is signed in a way that clients do not know: {error}"
    if algorithm is None or algorithm.name not in WEAK_HASHES or certificate.issuer == certificate.subject:
        return None
    return f"it is signed with {algorithm.name.upper()}, which Go (from 1.18 on) and OpenSSL refuse"


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
