"""What can go wrong between a client and a registry, each explained by its cause."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from regsetup.called import exporting, trusting
from regsetup.client.endpoint import is_loopback
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from regsetup.reference import Digest

_EXPIRED, _NOT_YET, _NAME, _ADDRESS = 10, 9, 62, 64  # X509_V_ERR_*, openssl/x509_vfy.h
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH",
)


class RegistryError(RegsetupError):
    """A registry did not do what it was asked."""

    code = "registry-error"


class Unreachable(RegistryError):
    """Nothing answers at the address: refused, unknown name, no route, or silence."""

    code = "registry-unreachable"


class AnswerCut(RegistryError):
    """The connection broke before the answer was whole."""

    code = "answer-cut"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"{address} broke off its answer",
            cause=reason,
            fix="try again; if it stays, look at the registry's log: regsetup logs",
        )


class TooSlow(RegistryError):
    """The registry sends, but so slowly that it is no use to wait."""

    code = "too-slow"

    def __init__(self, address: str, came: int, seconds: float) -> None:
        super().__init__(
            f"{address} sends too slowly",
            cause=f"{came} bytes came in {seconds:.0f} s, less than 1 KiB a second",
            fix="look at the line and at what the registry gets its blobs from; "
            "then try again: a pull into a directory goes on where it was",
        )


class PlainHttp(RegistryError):
    """One side speaks TLS and the other plain HTTP."""

    code = "tls-expected"

    def __init__(self, address: str, wanted: str, spoken: str) -> None:
        super().__init__(
            f"{address} does not speak {wanted}",
            cause=f"it answers in {spoken}",
            fix=f"use {'http' if wanted == 'TLS' else 'https'}://{address}",
        )


class TlsUntrusted(RegistryError):
    """TLS failed: the certificate is of an unknown authority, for another name, or out of date."""

    code = "tls-untrusted"


class BadAuthority(RegistryError):
    """The file of certificate authorities can't be read, or holds none."""

    code = "bad-authority"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} can't be used as a certificate authority",
            cause=reason,
            fix="name a readable PEM file, such as the registry's ca.crt",
        )


class NotARegistry(RegistryError):
    """Something answers, and it is not a registry."""

    code = "no-registry-there"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"{address} is not a registry",
            cause=reason,
            fix="check host and port; regsetup status shows where the registry listens",
        )


class Unauthorized(RegistryError):
    """401: no credentials, or wrong ones."""

    code = "unauthorized"

    def __init__(self, address: str, user: str | None, said: str) -> None:
        if user is None:
            message, fix = f"{address} wants a login", f"regsetup login {address}, or regsetup adduser NAME"
        else:
            message, fix = (
                f"{address} refuses {user!r} with this password",
                f"regsetup login {address} --user {user}; on the registry's machine regsetup passwd {user}",
            )
        super().__init__(message, cause=said or "it answered 401", fix=fix)


class Denied(RegistryError):
    """403: known, but not allowed."""

    code = "denied"

    def __init__(self, address: str, asked: str, said: str) -> None:
        super().__init__(
            f"{address} denies {asked}",
            cause=said or "it answered 403",
            fix="ask as a user who may, or ask the registry's administrator",
        )


class NotFound(RegistryError):
    """404: the registry has no such repository, tag, manifest or blob."""

    code = "not-found"

    def __init__(self, address: str, asked: str, said: str) -> None:
        super().__init__(
            f"{address} has nothing for {asked}",
            cause=said or "it answered 404",
            fix=f"regsetup catalog --registry {address}",
        )


class Unsupported(RegistryError):
    """405: the registry does not do this, such as deleting where deletes are off."""

    code = "unsupported"

    def __init__(self, address: str, asked: str, said: str) -> None:
        super().__init__(
            f"{address} does not do {asked}",
            cause=said or "it answered 405",
            fix="REGISTRY_STORAGE_DELETE_ENABLED=true lets it delete (regsetup up sets it)"
            if asked.startswith("DELETE")
            else "ask another registry, or a newer version of this one",
        )


class TooLarge(RegistryError):
    """413: what is sent is larger than the registry takes, or more often the proxy in front of it."""

    code = "too-large"

    def __init__(self, address: str, asked: str, said: str) -> None:
        super().__init__(
            f"{address} refuses {asked}: it is too large",
            cause=said
            or "it answered 413; a proxy in front of a registry takes a megabyte, if nobody says more",
            fix="in the proxy's settings lift the limit: client_max_body_size 0; for nginx",
        )


class TooManyRequests(RegistryError):
    """429, and the wait it asks for is longer than we wait."""

    code = "too-many-requests"

    def __init__(self, address: str, after: str | None) -> None:
        super().__init__(
            f"{address} is asked too often",
            cause=f"it answered 429, Retry-After: {after}" if after else "it answered 429",
            fix="try again later",
        )


class UnexpectedAnswer(RegistryError):
    """An answer that the specification does not know, or that is too long."""

    code = "unexpected-answer"

    def __init__(self, address: str, asked: str, reason: str) -> None:
        super().__init__(
            f"{address} gave no usable answer to {asked}",
            cause=reason,
            fix="look at the registry's log: regsetup logs",
        )


class DigestMismatch(RegistryError):
    """Content that is not what its digest says: damaged, cut, or replaced."""

    code = "digest-mismatch"

    def __init__(self, what: str, wanted: Digest, got: Digest) -> None:
        super().__init__(
            f"{what} has the digest {got}, not {wanted}",
            cause="it is damaged in storage or was changed on its way",
            fix="push the image again, then regsetup verify",
        )


def from_status(status: int, address: str, asked: str, body: bytes, **known: str | None) -> RegistryError:
    """Return the error for an answer outside 2xx; ``known`` may have ``user`` and ``after`` (Retry-After)."""
    said = said_by(body)
    match status:
        case 401:
            return Unauthorized(address, known.get("user"), said)
        case 403:
            return Denied(address, asked, said)
        case 404:
            return NotFound(address, asked, said)
        case 405:
            return Unsupported(address, asked, said)
        case 413:
            return TooLarge(address, asked, said)
        case 429:
            return TooManyRequests(address, known.get("after"))
        case 400 if b"HTTP request to an HTTPS server" in body:  # Go, net/http/server.go
            return PlainHttp(address, "plain HTTP", "TLS")
    return UnexpectedAnswer(address, asked, f"status {status}" + (f": {said}" if said else ""))


def said_by(body: bytes) -> str:
    """Return what the error body says, ``CODE message`` (spec, "Error Codes"), or nothing."""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(f"{error['code']} {error.get('message', '')}".strip() for error in errors)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""


def from_tls(address: str, error: BaseException) -> RegistryError:
    """Explain a failed handshake."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # a registry that ends, or has just begun
        return AnswerCut(address, f"the connection ended in the middle of the TLS handshake: {error}")
    if not isinstance(error, ssl.SSLCertVerificationError):
        text = f"{getattr(error, 'reason', None) or ''} {error}".upper().replace(" ", "_")
        if any(mark in text for mark in _NO_TLS):
            return PlainHttp(address, "TLS", "plain HTTP")
        return TlsUntrusted(f"TLS with {address} failed", cause=str(error), fix="regsetup doctor")
    if error.verify_code in {_NAME, _ADDRESS}:
        return TlsUntrusted(
            f"{address} shows a certificate for another name",
            cause=error.verify_message,
            fix="use a name that stands in the certificate, or regsetup up --host NAME",
        )
    if error.verify_code in {_EXPIRED, _NOT_YET}:
        return TlsUntrusted(
            f"{address} shows a certificate that is not valid now",
            cause=error.verify_message,
            fix="check the clock (date); renew the certificate: regsetup cert renew",
        )
    return TlsUntrusted(
        f"{address} shows a certificate of an authority that is not trusted",
        cause=error.verify_message,
        fix=f"{trusting()}, or --ca with the registry's ca.crt; for another machine: {exporting()}",
    )


def from_connect(address: str, error: BaseException) -> RegistryError:
    """Explain a connection that did not come about."""
    if isinstance(error, ConnectionRefusedError):
        here = is_loopback(urlsplit(f"//{address}").hostname or "")
        return Unreachable(
            f"{address} refuses the connection",
            cause="nothing listens there",
            fix="regsetup status; regsetup up starts it"
            if here
            else "check host and port, and that the registry runs there",
        )
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"{address} is no known name",
            cause=error.strerror or str(error),
            fix="check the spelling, DNS and /etc/hosts",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{address} does not answer",
            cause="no answer within the time allowed",
            fix="check the firewall, and whether the registry runs",
        )
    return Unreachable(f"{address} can't be reached", cause=str(error), fix="regsetup doctor")
