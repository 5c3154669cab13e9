"""Makes X.509 certificates with the ``cryptography`` package: values in, bytes out, no files.

RFC 5280 (profile, name constraints), RFC 8446 by way of what Go and OpenSSL accept: P-256 keys, SHA-256
signatures, names in subjectAltName only. Import it where it is used: ``cryptography`` costs 50 ms.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from regsetup.auth.certificates import (
    BACKDATE,
    CA_LIFETIME,
    LEAF_LIFETIME,
    KeyPair,
    Names,
)
from regsetup.auth.pem import KeyUnreadable, chain, private_key
from regsetup.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

LOCAL = Names.of(["localhost", "127.0.0.1", "::1"])  # always in: the machine itself is a client


def new_ca(name: str, permitted: Names, now: datetime) -> KeyPair:
    """Return a new authority for the registry ``name``, good for ``permitted`` and this machine only.

    Its subject carries the first digits of its key's identifier, so that a client that meets an old and a
    new authority of the same registry tells them apart.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = _subject(f"{name[:32]} registry CA {key_id.digest.hex()[:8]}")
    usage = _usage(digital_signature=False, key_cert_sign=True)
    builder = (
        _builder(subject, subject, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_constraints(LOCAL + permitted), critical=True)
        .add_extension(key_id, critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def new_leaf(ca: KeyPair, names: Names, now: datetime) -> KeyPair:
    """Return a new server certificate for ``names`` and this machine; it ends before ``ca`` does.

    Raises:
        CertificateError: ``ca`` is damaged.
    """
    authority = chain(ca.certificate)[0]
    ca_key = private_key(ca.key)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise KeyUnreadable("the CA's key is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    names = LOCAL + names
    sans = [x509.DNSName(name) for name in names.dns] + [
        x509.IPAddress(address) for address in names.addresses
    ]
    lifetime = min(LEAF_LIFETIME, authority.not_valid_after_utc - now)
    usage = _usage(digital_signature=True, key_cert_sign=False)
    builder = (
        _builder(_subject("registry"), authority.subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )
    return _pair(builder.sign(ca_key, hashes.SHA256()), key)


def _constraints(permitted: Names) -> x509.NameConstraints:
    networks = [ipaddress.ip_network(str(address)) for address in permitted.addresses]  # /32 and /128
    return x509.NameConstraints(
        [x509.DNSName(name.removeprefix("*.")) for name in permitted.dns]
        + [x509.IPAddress(network) for network in networks],
        excluded_subtrees=None,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now - BACKDATE + lifetime)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "regsetup"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), Secret(pem.decode()))
