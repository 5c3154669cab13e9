"""The certificate of a registry: why it must be made or replaced, and doing so.

Decides by ``auth.certificates``; the files are ``host.certificate_files``. The names of a self-signed one are
those of ``--host``, the machine's own and loopback, so that this machine needs no DNS to prove it. With
``--tls acme`` the registry does all of it, and its certificates are only looked at.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import acme
from regsetup.auth.certificates import CertificateError, KeyPair, Names, Renewal
from regsetup.deployment import DEFAULT_NAME, Tls
from regsetup.errors import RegsetupError
from regsetup.host.certificate_files import CertificateFiles, CertificatesHidden, Found
from regsetup.secret import Secret

if TYPE_CHECKING:
    from regsetup.auth.certificates import Certificate
    from regsetup.deployment import Deployment, Paths

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ASKING = 5.0  # seconds; for what another machine shows


class PairUnreadable(RegsetupError):
    """``--cert`` or ``--key`` can't be read."""

    code = "certificate-file-unreadable"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path} can't be read", cause=cause, fix="give readable PEM files, or use sudo")


class EndsSoon(RegsetupError):
    """The certificate or its CA ends within 30 days, or has ended."""

    code = "certificate-ends-soon"
    exit_code = 3

    def __init__(self, what: str, one: Certificate, now: datetime, fix: str) -> None:
        left = one.days_left(now)
        ends = "has ended" if left < 0 else f"ends in {left} days"
        super().__init__(f"the {what} {ends}", cause=f"it is valid until {one.not_after:%Y-%m-%d}", fix=fix)


def ending(wanted: Deployment, paths: Paths, now: datetime) -> tuple[EndsSoon, ...]:
    """Return a warning for each certificate of the registry that ends soon or has ended.

    Raises:
        CertificatesHidden: they are another user's.
    """
    if wanted.tls is Tls.OFF:
        return ()
    found = look(wanted, paths)
    name = "" if wanted.name == DEFAULT_NAME else f" --name {wanted.name}"
    renew = f"regsetup cert renew{name}"
    if wanted.tls is Tls.OWN:
        renew = f"regsetup up{name} --cert FILE --key FILE, with a new pair"
    if wanted.tls is Tls.ACME:
        renew = f"regsetup logs{name} says why the registry did not renew it: DNS, or port {acme.PORT}"
        late = found.leaf is not None and found.leaf.days_left(now) < acme.LATE
        return (EndsSoon("certificate", found.leaf, now, renew),) if found.leaf and late else ()
    there = (
        ("CA", found.ca, f"{renew}; then every client needs the new CA: regsetup trust export{name}"),
        ("certificate", found.leaf, renew),
    )
    return tuple(EndsSoon(what, one, now, fix) for what, one, fix in there if one and one.ends_soon(now))


def look(wanted: Deployment, paths: Paths) -> Found:
    """Return what the registry has; of several from Let's Encrypt the one that ends first.

    Raises:
        CertificatesHidden: they are another user's.
    """
    if wanted.tls is not Tls.ACME:
        return certificate_files(paths).find()
    issued = filter(None, (_issued(wanted, paths, host.lower()) for host in wanted.hosts))
    return Found(None, min(issued, key=lambda one: one.not_after, default=None))


def _issued(wanted: Deployment, paths: Paths, host: str) -> Certificate | None:
    """Read it where autocert keeps it (key first, then the chain), or on another machine ask for it.

    Here the registry is not asked: of a name without a certificate it would order one.
    """
    from regsetup.auth.pem import read

    try:
        pem = _shown(wanted, host) if wanted.machine else (paths.acme / host).read_bytes()
        return read(pem[pem.find(b"-----BEGIN CERTIFICATE") :])
    except PermissionError as error:
        raise CertificatesHidden(paths.acme / host) from error
    except (OSError, CertificateError):
        return None


def _shown(wanted: Deployment, host: str) -> bytes:
    """Return the certificate that the registry shows for a name, whoever signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (wanted.local.host, wanted.port)
    with (
        socket.create_connection(address, _ASKING) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"").encode()


def certificate_files(paths: Paths) -> CertificateFiles:
    """Return where a registry keeps its certificates."""
    return CertificateFiles(paths.certs, paths.authority)


def why_install(wanted: Deployment, paths: Paths) -> str | None:
    """Return why the registry needs another certificate than it has, None if it needs none.

    Raises:
        CertificateError: the pair of ``--cert`` and ``--key`` would be refused by clients.
    """
    files, now = certificate_files(paths), datetime.now(UTC)
    if not wanted.keeps_pair:
        return None
    if wanted.tls is Tls.SELF_SIGNED:
        decision = files.decide(_hosts(wanted), _machine(wanted), now)
        return None if decision.action is Renewal.KEEP else decision.reason
    from regsetup.auth.own_certificate import check_own

    pair = _own(wanted)
    check_own(pair, Names.of(wanted.hosts), now)
    here = files.certificate.read_bytes() if files.certificate.exists() else None
    return None if here == pair.certificate else f"{wanted.cert} is not the one in use"


def install(wanted: Deployment, paths: Paths) -> CertificateFiles:
    """Make a new pair, or copy one's own; the one before can be put back."""
    files, now = certificate_files(paths), datetime.now(UTC)
    if wanted.tls is Tls.SELF_SIGNED:
        files.renew(wanted.name, _hosts(wanted), _machine(wanted), now)
    else:
        files.install(_own(wanted))
    return files


def _hosts(wanted: Deployment) -> Names:
    return Names.of([*wanted.hosts, *_LOOPBACK])


def _machine(wanted: Deployment) -> Names:
    """On loopback nobody else can use the machine's names."""
    from regsetup.deployment import is_loopback
    from regsetup.host.names import machine_names

    if wanted.machine:
        return Names.of([wanted.machine])
    return Names.of([]) if is_loopback(wanted.bind) else machine_names()


def _own(wanted: Deployment) -> KeyPair:
    """Return the pair and nothing else that stands in its files: what ``openssl -text`` says, the key again.

    Raises:
        PairUnreadable: a file is missing, or another's.
        CertificateUnreadable: there is no certificate in the first.
        KeyExposed: others may read the second.
    """
    from regsetup.auth.own_certificate import check_key_mode
    from regsetup.auth.pem import only_certificates, only_key

    if wanted.cert is None or wanted.key is None:
        raise AssertionError("Tls.OWN comes with both files")
    try:
        check_key_mode(str(wanted.key), wanted.key.stat().st_mode)
        certificate, key = wanted.cert.read_bytes(), wanted.key.read_text(encoding="latin-1")
    except OSError as error:
        raise PairUnreadable(Path(error.filename), error.strerror or str(error)) from error
    return KeyPair(only_certificates(certificate), Secret(only_key(key)))
