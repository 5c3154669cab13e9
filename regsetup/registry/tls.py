"""The TLS side of the bundled registry: read when it starts, and again when the files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from regsetup.registry.settings import Settings


class CertificateUnusable(RegsetupError):
    """Certificate or key is missing, or they don't belong together."""

    code = "certificate-unusable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"the certificate can't be used: {path}",
            cause=reason,
            fix="give --cert and --key as PEM files that belong together",
        )


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS side of the settings, or None for plain HTTP.

    Raises:
        CertificateUnusable: says which file and why.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Whatever both sides know is safe, and clients written in Go ask first for what their processor does
    # best: AES-128, mostly. Python has a server choose AES-256, a tenth to a fifth more to compute.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    load(context, settings.tls_cert, settings.tls_key)
    return context


def load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Have a context serve a certificate, never asking anybody for a passphrase.

    Raises:
        CertificateUnusable: says which file and why.
    """
    try:
        context.load_cert_chain(cert, key, password=_locked)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateUnusable(str(cert), str(error)) from error


def _locked() -> str:
    """Answer OpenSSL, which would ask at the terminal otherwise, with every client waiting."""
    raise OSError("the key has a passphrase: write it without one, `openssl pkey -in KEY -out NEW`")
