"""What a client says when it will not talk to a registry, explained: text in, error out.

The texts are Go's (crypto/x509, crypto/tls, net, net/http), docker's, containerd's, OpenSSL's and curl's;
matching is by the part that has stayed the same between versions (engine 20.10 to 29). Pure: asks nobody.
"""

from __future__ import annotations

import re
from typing import ClassVar

from regsetup.called import exporting, trusting
from regsetup.errors import RegsetupError

_NAME = re.compile(
    r"(?:, not |wanted to match |validate certificate for |matche?s? target [a-z0-9 ]+ '|not valid for '"
    r"|IP address |DNS name matching |Certificate for <)([^\s,'>]+)"
)
# What shows that a text is of a client of registries, and not of some other program that found a port closed.
_NETWORK = r"(https?://|dial tcp|read tcp|write tcp|connect: |HTTPS?Connection|curl: \()"


class Refusal(RegsetupError):
    """A client does not work with the registry, for a reason that is none of the known ones."""

    code = "engine-refused"
    marks: ClassVar[tuple[str, ...]] = ()  # regular expressions, of which one is in the text; case is nothing
    fact = "the client could not use it"
    why: str | None = None
    remedy = "regsetup doctor"

    def __init__(self, address: str, said: str) -> None:
        cause = f"{self.why}; it said: {said}" if self.why else f"it said: {said}"
        super().__init__(f"{address}: {self.fact}", cause=cause, fix=self.remedy)
        self.address = address
        self.said = said


class ProxyInTheWay(Refusal):
    """The client goes through a proxy that does not reach the registry."""

    code = "engine-proxy"
    marks = (
        "proxyconnect",
        # Go says no more than the status of what answered CONNECT
        r'"https://[^"]+": (Forbidden|Service Unavailable|Bad Gateway|Proxy Auth.*|Gateway Time-?out)',
        "from proxy after CONNECT",
        "CONNECT tunnel failed",
        "could not resolve proxy",
        "Cannot connect to proxy",
        "socks connect tcp",
    )
    fact = "the client asked a proxy for it, and the proxy failed"
    why = "HTTP_PROXY or HTTPS_PROXY is set for the client, and NO_PROXY lacks this address"
    remedy = "add the address to NO_PROXY in the client's settings; an engine needs a restart then"


class PlainHttpRefused(Refusal):
    """The registry speaks plain HTTP, and the client insists on TLS for this address."""

    code = "engine-wants-tls"
    marks = (
        "server gave HTTP response to HTTPS client",
        "first record does not look like a TLS handshake",
        "wrong version number",  # OpenSSL, which takes the "H" of "HTTP/1.1" for a version
        "packet length too long",
        "unexpected TLS packet was received",  # GnuTLS: curl and git of Debian
        "SEC_E_INVALID_TOKEN",  # Windows
    )
    fact = "the client wants TLS, and it speaks plain HTTP"
    why = "the address is not among those that the client may use without TLS"

    def __init__(self, address: str, said: str) -> None:
        self.remedy = f"{trusting()}, or regsetup up --tls self-signed; podman: --tls-verify=false"
        super().__init__(address, said)


class TlsRefused(Refusal):
    """The registry speaks TLS, and the client was told to use plain HTTP."""

    code = "engine-uses-plain-http"
    marks = (
        "sent an HTTP request to an HTTPS server",
        r'malformed HTTP (response|status code) "\\x15',  # a TLS alert
        "plain HTTP request was sent to HTTPS port",
        "Received HTTP/0.9 when not allowed",  # curl of the same alert
    )
    fact = "it speaks TLS, and the client tried plain HTTP"
    why = "the address is written with http://, or is among the client's insecure-registries"

    def __init__(self, address: str, said: str) -> None:
        self.remedy = f"https:// in front; {trusting()} takes back what an earlier one allowed"
        super().__init__(address, said)


class NameNotInCertificate(Refusal):
    """The certificate is for other names than the one in the address."""

    code = "engine-wrong-name"
    marks: ClassVar[tuple[str, ...]] = (
        "x509: certificate is valid for",
        "x509: certificate is not valid for any names",
        "x509: cannot validate certificate for",
        "no alternative certificate subject name matches",  # curl
        "does not match target host name",
        "SEC_E_WRONG_PRINCIPAL",  # Windows
        "does(n't| not) match any of the subject alternative names",  # Java
        "no subject alternative (names|DNS name) matching",
        "(hostname|IP address) mismatch, certificate is not valid for",  # OpenSSL, Python
    )
    fact = "its certificate is for another name"
    why = "clients compare the name they type with the names in the certificate"
    remedy = "regsetup up --host NAME, once for each name or address that clients use"

    def __init__(self, address: str, said: str) -> None:
        name = _NAME.search(said)
        if name:
            self.remedy = f"regsetup up --host {name[1]}, beside the other names that clients use"
        super().__init__(address, said)


class NameInCommonNameOnly(NameNotInCertificate):
    """The certificate has its name in CN, where clients no longer look."""

    marks = ("certificate relies on legacy Common Name",)
    fact = "its certificate has its name in CN only"
    why = "clients look at subjectAltName alone (Go from 1.15 on)"
    remedy = "request a certificate with subjectAltName, or: regsetup up --tls self-signed"


class CertificateNotValidNow(Refusal):
    """The certificate has expired or is not valid yet, by the client's clock."""

    code = "engine-certificate-time"
    marks = (
        "certificate has expired",
        "certificate is not yet valid",
        "certificate (is )?expired",
        "expired certificate",  # Go's name of the TLS alert
        "SEC_E_CERT_EXPIRED",  # Windows
    )
    fact = "its certificate is not valid at the client's time"
    why = "it has expired, or a clock is wrong"
    remedy = "compare `date -u` on both machines; then regsetup cert renew"


class UnknownAuthority(Refusal):
    """The certificate was signed by a CA that the client does not know."""

    code = "engine-unknown-ca"
    marks = (
        "certificate signed by unknown authority",
        "certificate is not trusted",
        "unable to get (local )?issuer certificate",  # OpenSSL
        "unable to verify the first certificate",
        "self[- ]signed certificate",
        "server certificate verification failed",  # GnuTLS: curl and git of Debian
        "SEC_E_UNTRUSTED_ROOT",  # Windows
        "PKIX path building failed",  # Java
        "unable to find valid certification path",
        "remote error: tls: (bad|unknown) certificate",  # the registry's log
        "alert unknown ca",  # OpenSSL's word for it
    )
    fact = "the client does not trust its certificate"
    why = "its CA is neither where the client looks for this address, nor in the system's store"

    def __init__(self, address: str, said: str) -> None:
        self.remedy = f"{trusting()}; for another machine: {exporting()}"
        super().__init__(address, said)


class EngineUnauthorized(Refusal):
    """The registry does not accept the user name and password that the client sent, or it sent none."""

    code = "engine-unauthorized"
    marks = (
        "401 Unauthorized",
        "unauthorized: ",
        "no basic auth credentials",
        "basic credential not found",  # oras
        "authentication required",
        "invalid username/password",
        "incorrect username or password",
        "returned error: 401",  # curl -f
    )
    fact = "it refused the user name or the password, or got none"
    remedy = (
        "docker login HOST:PORT, as every client does for itself; regsetup users lists the names, "
        "regsetup passwd NAME sets a new password"
    )


class NameUnknown(Refusal):
    """The client's machine can't resolve the name."""

    code = "engine-unknown-name"
    marks = (
        "no such host",
        "server misbehaving",
        "Temporary failure in name resolution",
        "Name or service not known",
        "Name does not resolve",  # musl: Alpine
        "no address associated with hostname",
        "could not resolve host",
        r"lookup \S+( on \S+)?: .*(i/o timeout|connection refused)",  # the DNS server does not answer
    )
    fact = "the client can't resolve the name"
    why = "neither DNS nor /etc/hosts on the client's machine knows it"
    remedy = "add it to DNS or to /etc/hosts there, or use an address: regsetup up --host ADDRESS"


class Unreachable(Refusal):
    """Nothing answers at the address, seen from the client."""

    code = "engine-unreachable"
    marks = (
        rf"{_NETWORK}.*((connection|operation) (refused|reset|timed out)|deadline exceeded|host is down)",
        "target machine actively refused it",  # Windows
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        r"Client\.Timeout",
        "TLS handshake timeout",
        "request canceled while waiting for connection",
        r"curl: \((7|28)\)",
    )
    fact = "the client can't reach it"
    why = "no registry listens there, a firewall drops the packets, or the client runs on another machine"
    remedy = "regsetup status; regsetup up --bind ADDRESS opens it beyond loopback"


AROUND = 300  # characters before what explains a log; the address stands there

# The first that matches counts: wrapped errors hold several texts, so the specific stand above the general.
KNOWN: tuple[type[Refusal], ...] = (
    ProxyInTheWay,
    PlainHttpRefused,
    TlsRefused,
    NameNotInCertificate,
    NameInCommonNameOnly,
    CertificateNotValidNow,
    UnknownAuthority,
    EngineUnauthorized,
    NameUnknown,
    Unreachable,
)


def explain(said: str, address: str) -> Refusal:
    """Return the error that explains what a client ``said`` about the registry at ``address``."""
    return kind_of(said)(address, said.strip())


def kind_of(said: str) -> type[Refusal]:
    """Return the error that explains what a client ``said``; ``Refusal`` itself if none does."""
    return next((kind for kind in KNOWN if says(said, kind.marks)), Refusal)


def excerpt(said: str, marks: tuple[str, ...]) -> str:
    """Return what a client ``said``; of a whole log, what stands around the first of ``marks``."""
    folded = " ".join(said.split())
    found = next(filter(None, (re.search(mark, folded, re.IGNORECASE) for mark in marks)), None)
    if found is None or len(folded) <= 2 * AROUND:
        return said.strip()
    start, end = max(0, found.start() - AROUND), found.end() + AROUND // 2
    return f"{'... ' if start else ''}{folded[start:end]}{' ...' if end < len(folded) else ''}"


def says(text: str, marks: tuple[str, ...]) -> bool:
    """Tell whether one of the regular expressions is in ``text``; line ends count as blanks."""
    folded = " ".join(text.split())
    return any(re.search(mark, folded, re.IGNORECASE) for mark in marks)
