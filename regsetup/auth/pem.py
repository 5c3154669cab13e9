"""Reads certificates and private keys from PEM (RFC 7468): bytes in, values out, no files.

Import it where it is used: ``cryptography`` costs 50 ms.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from regsetup.auth.certificates import Certificate, CertificateError, Constraints, KeyPair, Names

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from regsetup.secret import Secret

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)  # RFC 7468, PKCS 1
E = TypeVar("E", bound=x509.ExtensionType)


class CertificateUnreadable(CertificateError):
    """The bytes hold no PEM certificate."""

    code = "certificate-unreadable"

    def __init__(self, detail: str) -> None:
        super().__init__(
            "the certificate can't be read",
            cause=detail,
            fix="give a PEM file that begins with -----BEGIN CERTIFICATE-----; from DER: "
            "openssl x509 -inform DER -in FILE -out FILE.pem",
        )


class KeyUnreadable(CertificateError):
    """The bytes hold no PEM private key."""

    code = "key-unreadable"

    def __init__(self, detail: str) -> None:
        super().__init__(
            "the private key can't be read",
            cause=detail,
            fix="give a PEM file that begins with -----BEGIN PRIVATE KEY-----; from DER: "
            "openssl pkey -inform DER -in FILE -out FILE.pem",
        )


class KeyEncrypted(CertificateError):
    """The private key needs a passphrase, and nobody is there to type it when the registry starts."""

    code = "key-encrypted"

    def __init__(self) -> None:
        super().__init__(
            "the private key is encrypted",
            cause="a registry starts without a person who could type the passphrase",
            fix="openssl pkey -in FILE -out FILE.plain, then chmod 600 FILE.plain and --key FILE.plain",
        )


class KeyMismatch(CertificateError):
    """Certificate and key do not belong together."""

    code = "key-mismatch"

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"the private key does not belong to the certificate of {subject}",
            cause="their public keys differ",
            fix="give the key that the certificate was requested with",
        )


def read(pem: bytes) -> Certificate:
    """Return the summary of the first certificate in ``pem``.

    Raises:
        CertificateUnreadable: there is none.
    """
    return summary(chain(pem)[0])


def read_pair(pair: KeyPair) -> Certificate:
    """Return the summary of a pair whose key belongs to its first certificate.

    Raises:
        CertificateError: one of them can't be read, or they do not match.
    """
    leaf = chain(pair.certificate)[0]
    if not same_key(private_key(pair.key), leaf):
        raise KeyMismatch(leaf.subject.rfc4514_string())
    return summary(leaf)


def chain(pem: bytes) -> list[x509.Certificate]:
    """Return every certificate in ``pem``, in file order.

    Raises:
        CertificateUnreadable: there is none, or one is damaged.
    """
    if _CERTIFICATE not in pem:
        raise CertificateUnreadable(f"{_CERTIFICATE.decode()} is not in it")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateUnreadable(_first_line(error)) from error


def only_certificates(pem: bytes) -> bytes:
    """Return the certificates of ``pem`` without what else stands there: comments, or even the key.

    Raises:
        CertificateUnreadable: there is none, or one is damaged.
    """
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain(pem))


def only_key(text: str) -> str:
    """Return the first private key in ``text`` without what else stands there; ``text`` if there is none."""
    found = _KEY.search(text)
    return f"{found[0]}\n" if found else text


def private_key(key: Secret) -> PrivateKeyTypes:
    """Return the key itself.

    Raises:
        KeyEncrypted: it needs a passphrase.
        KeyUnreadable: it is not a PEM private key.
    """
    pem = key.reveal()
    if not _KEY.search(pem):
        raise KeyUnreadable("-----BEGIN PRIVATE KEY----- is not in it")
    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise KeyEncrypted from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnreadable(_first_line(error)) from error


def same_key(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    """Tell whether ``certificate`` was made for ``key``.

    Raises:
        CertificateUnreadable: its key is of a kind that nobody here knows.
    """
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateUnreadable(_first_line(error)) from error
    return key.public_key().public_bytes(*form) == public.public_bytes(*form)


def summary(certificate: x509.Certificate) -> Certificate:
    """Return what is worth knowing of ``certificate``."""
    constraints = _extension(certificate, x509.NameConstraints)
    own = _extension(certificate, x509.SubjectKeyIdentifier)
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=_names(_extension(certificate, x509.SubjectAlternativeName)),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        key_id=own.digest.hex() if own else "",
        issuer_key_id=(authority.key_identifier or b"").hex() if authority else "",
        constraints=_read_constraints(constraints) if constraints else None,
    )


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _names(san: x509.SubjectAlternativeName | None) -> Names:
    if san is None:
        return Names()
    addresses = [
        address
        for address in san.get_values_for_type(x509.IPAddress)
        if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return Names(tuple(name.lower() for name in san.get_values_for_type(x509.DNSName)), tuple(addresses))


def _read_constraints(constraints: x509.NameConstraints) -> Constraints:
    values = [general.value for general in constraints.permitted_subtrees or []]
    return Constraints(
        tuple(value for value in values if isinstance(value, str)),
        tuple(value for value in values if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network)),
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
