"""Where this machine itself reaches a registry, and whether it answers there."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from regsetup.client import Endpoint, RegistryClient
from regsetup.deployment import Tls
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.client import Credentials
    from regsetup.deployment import Deployment, Listen, Paths

TIMEOUT = 5.0  # seconds; it is on this machine, which may have much else to do


def endpoint(wanted: Deployment, paths: Paths, credentials: Credentials | None = None) -> Endpoint:
    """Return the address on this machine, with what its certificate is checked by.

    That is the CA that signed it; of a certificate of one's own, whose CA may be known to nobody here, the
    very chain that was given. One's own, or Let's Encrypt's, is checked for the name that clients use: no DNS
    is needed for that, and a registry that gets its own answers nobody who does not name it.
    """
    known_by = {Tls.SELF_SIGNED: paths.certs / "ca.crt", Tls.OWN: paths.certs / "tls.crt"}
    return Endpoint(
        f"{wanted.scheme}://{wanted.local}",
        ca=known_by.get(wanted.tls),
        credentials=credentials,
        certified_name=wanted.hosts[0] if wanted.tls in (Tls.OWN, Tls.ACME) and wanted.hosts else None,
    )


def is_widely_known(wanted: Deployment, paths: Paths) -> bool:
    """Tell whether this machine, told of nothing, takes the certificate of a registry that answers."""
    return answers(replace(endpoint(wanted, paths), ca=None))


def shown(local: Listen) -> str | None:
    """Return the certificate (PEM) that what answers there shows, None where nothing does; trusts nobody."""
    try:
        return ssl.get_server_certificate((local.host, local.port), timeout=TIMEOUT)
    except OSError:
        return None


def serves(local: Listen, certificate: Path) -> bool:
    """Tell whether what answers there shows the first certificate of a PEM file; trusts nobody."""
    found = shown(local)
    try:
        first, end, _ = certificate.read_text(encoding="ascii").partition("-----END CERTIFICATE-----")
    except OSError:
        return False
    return found is not None and ssl.PEM_cert_to_DER_cert(found) == ssl.PEM_cert_to_DER_cert(f"{first}{end}")


def answers(where: Endpoint) -> bool:
    """Tell whether a registry answers ``GET /v2/``, with or without asking for credentials."""
    try:
        with RegistryClient(where, timeout=TIMEOUT, patience=0) as client:
            return client.ping().status in (200, 401)
    except RegsetupError:
        return False
