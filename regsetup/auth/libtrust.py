"""Signatures in schema 1 manifests: libtrust's JSON signature, a JWS with its payload around it.

RFC 7515 and 7518 (ES256) inside Docker's "Image Manifest Version 2, Schema 1": the protected header says how
many bytes of the document were signed (``formatLength``) and what followed them (``formatTail``). The key
stands in the manifest itself, and registry:2 makes a new one at each start: this proves that the bytes are
whole, never who made them.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from regsetup.errors import RegsetupError

_COORDINATE = 32  # bytes of x, y, r and s on P-256 (RFC 7518, 3.4 and 6.2.1)


class BadSignature(RegsetupError):
    """A schema 1 manifest whose signature does not hold, or can't be read."""

    code = "bad-signature"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "the signature of a schema 1 manifest does not hold",
            cause=reason,
            fix="push the image again, with a client from after 2016: those need no signature",
        )


def signed_payload(content: bytes) -> bytes:
    """Return what was signed; the manifest's digest is that of these bytes.

    Raises:
        BadSignature: there is no signature, or one that does not hold.
    """
    try:
        signatures = json.loads(content)["signatures"]
        payloads = {_verified(content, signature) for signature in signatures}
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise BadSignature(f"it can't be read: {type(error).__name__}: {error}") from error
    if len(payloads) != 1:
        raise BadSignature("it has none" if not payloads else "its signatures are for different contents")
    return payloads.pop()


def _verified(content: bytes, signature: dict[str, Any]) -> bytes:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    header, protected = signature["header"], signature["protected"]
    jwk = header["jwk"]
    if (header["alg"], jwk["kty"], jwk["crv"]) != ("ES256", "EC", "P-256"):
        raise BadSignature(f"it is of an unknown kind, {header['alg']!r}")
    described = json.loads(_decode(protected))
    payload = content[: int(described["formatLength"])] + _decode(described["formatTail"])
    numbers = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1())
    raw = _decode(signature["signature"])
    if len(raw) != 2 * _COORDINATE:
        raise BadSignature(f"it has {len(raw)} bytes, not {2 * _COORDINATE}")
    pair = utils.encode_dss_signature(
        int.from_bytes(raw[:_COORDINATE], "big"), int.from_bytes(raw[_COORDINATE:], "big")
    )
    try:
        signed = f"{protected}.{_encode(payload)}".encode()
        numbers.public_key().verify(pair, signed, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise BadSignature("the bytes are not those that were signed") from error
    return payload


def _number(text: str) -> int:
    return int.from_bytes(_decode(text), "big")


def _decode(text: str) -> bytes:
    """Read base64url without padding (RFC 7515, 2)."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
