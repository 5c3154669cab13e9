"""What an engine or client says when it will not talk to a registry, explained: text in, error out.

The texts are Go's (crypto/x509, crypto/tls, net, net/http), docker's and containerd's; matching is by the
part that has stayed the same between versions (engine 20.10 to 29). Pure: asks nobody, changes nothing.
"""

from __future__ import annotations

from regsetup.errors import RegsetupError


class Refusal(RegsetupError):
    """An engine does not work with the registry, for a reason that is none of the known ones."""

    code = "engine-refused"
    fact = "the engine could not use it"
    why: str | None = None
    remedy: str | None = "regsetup doctor"

    def __init__(self, address: str, said: str) -> None:
        cause = f"{self.why}; the engine said: {said}" if self.why else f"the engine said: {said}"
        super().__init__(f"{address}: {self.fact}", cause=cause, fix=self.remedy)
        self.address = address
        self.said = said


class PlainHttpRefused(Refusal):
    """The registry speaks plain HTTP, and the engine insists on TLS for this address."""

    code = "engine-wants-tls"
    fact = "the engine wants TLS, and the registry speaks plain HTTP"
    why = "the address is not among the engine's insecure-registries"
    remedy = "sudo regsetup trust install, or regsetup up --tls self-signed"


class TlsRefused(Refusal):
    """The registry speaks TLS, and the engine was told to use plain HTTP."""

    code = "engine-uses-plain-http"
    fact = "the registry speaks TLS, and the engine tried plain HTTP"
    why = "the address is among the engine's insecure-registries"
    remedy = "sudo regsetup trust remove, then sudo regsetup trust install"


class UnknownAuthority(Refusal):
    """The certificate was signed by a CA that the engine does not know."""

    code = "engine-unknown-ca"
    fact = "the engine does not trust its certificate"
    why = "the CA is not in the engine's certs.d for this address, nor in the system's store"
    remedy = "sudo regsetup trust install"


class NameNotInCertificate(Refusal):
    """The certificate is for other names than the one in the address."""

    code = "engine-wrong-name"
    fact = "its certificate is for another name"
    why = "clients compare the name they type with the names in the certificate"
    remedy = "regsetup up --host NAME, once for each name or address that clients use"


class CertificateNotValidNow(Refusal):
    """The certificate has expired or is not valid yet, by the engine's clock."""

    code = "engine-certificate-time"
    fact = "its certificate is not valid at the engine's time"
    why = "it has expired, or a clock is wrong"
    remedy = "compare `date -u` on both machines; then regsetup up, which renews the certificate"


class EngineUnauthorized(Refusal):
    """The registry does not accept the user name and password that the engine sent."""

    code = "engine-unauthorized"
    fact = "the registry refused the user name or the password"
    remedy = "regsetup passwd NAME sets a new password; regsetup users lists the names"


class ProxyInTheWay(Refusal):
    """The engine goes through a proxy that does not reach the registry."""

    code = "engine-proxy"
    fact = "the engine asked a proxy for it, and the proxy failed"
    why = "HTTP_PROXY or HTTPS_PROXY is set for the engine, and NO_PROXY lacks this address"
    remedy = "add the address to NO_PROXY in the engine's settings and restart the engine"


class NameUnknown(Refusal):
    """The engine's machine can't resolve the name."""

    code = "engine-unknown-name"
    fact = "the engine can't resolve the name"
    why = "neither DNS nor /etc/hosts on the engine's machine knows it"
    remedy = "add it to DNS or to /etc/hosts there, or use an address: regsetup up --host ADDRESS"


class Unreachable(Refusal):
    """Nothing answers at the address, seen from the engine."""

    code = "engine-unreachable"
    fact = "the engine can't reach it"
    why = "no registry listens there, a firewall drops the packets, or the engine runs on another machine"
    remedy = "regsetup status; regsetup up --bind ADDRESS opens it beyond loopback"


# The first that matches counts: wrapped errors hold several texts, so the specific stand above the general.
_KNOWN: tuple[tuple[type[Refusal], tuple[str, ...]], ...] = (
    (ProxyInTheWay, ("proxyconnect",)),
    (
        PlainHttpRefused,
        ("server gave HTTP response to HTTPS client", "first record does not look like a TLS handshake"),
    ),
    (TlsRefused, ("sent an HTTP request to an HTTPS server",)),
    (UnknownAuthority, ("certificate signed by unknown authority", "certificate is not trusted")),
    (
        NameNotInCertificate,
        (
            "x509: certificate is valid for",
            "x509: certificate is not valid for any names",
            "x509: cannot validate certificate for",
            "x509: certificate relies on legacy Common Name",
        ),
    ),
    (CertificateNotValidNow, ("x509: certificate has expired or is not yet valid",)),
    (
        EngineUnauthorized,
        ("401 Unauthorized", "unauthorized:", "no basic auth credentials", "authentication required"),
    ),
    (NameUnknown, ("no such host", "server misbehaving", "Temporary failure in name resolution")),
    (
        Unreachable,
        (
            "connection refused",
            "connection reset",
            "no route to host",
            "network is unreachable",
            "timeout",  # i/o timeout, Client.Timeout exceeded, TLS handshake timeout
            "timed out",
            "deadline exceeded",
        ),
    ),
)


def explain(said: str, address: str) -> Refusal:
    """Return the error that explains what a client ``said`` about the registry at ``address``."""
    folded = said.casefold()
    for kind, texts in _KNOWN:
        if any(text.casefold() in folded for text in texts):
            return kind(address, said.strip())
    return Refusal(address, said.strip())
