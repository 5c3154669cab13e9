"""`up --cert --key` with a pair that clients would refuse: said before anything is changed."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.bed.run import free_port
from tests.unit.test_x509 import key_pem, made, pem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
ROOT = made("Root")
GOOD = made("server", ROOT)


def of(one: tuple[object, object], mode: int = 0o600) -> tuple[bytes, str, int]:
    return pem(one[0]), key_pem(one[1]).reveal(), mode  # type: ignore[arg-type]


def write_der(place: Path) -> tuple[str, ...]:
    """Put a good pair below ``place``, the key in DER."""
    form = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    given = write(place, *of(GOOD))
    (place / "tls.key").write_bytes(GOOD[1].private_bytes(*form))
    return given


WRONG = {
    "certificate-expired": of(made("server", ROOT, begins=-9 * DAY, ends=-DAY)),
    "certificate-not-yet-valid": of(made("server", ROOT, begins=DAY, ends=9 * DAY)),
    "certificate-chain": (pem(ROOT[0], GOOD[0]), key_pem(GOOD[1]).reveal(), 0o600),
    "key-mismatch": (pem(GOOD[0]), key_pem(ROOT[1]).reveal(), 0o600),
    "key-exposed": of(GOOD, 0o644),
    "certificate-names": of(made("server", ROOT, names=("other.lan",))),
    "certificate-weak": of(made("server", ROOT, curve=ec.SECP256K1())),
    "certificate-usage": of(made("server", ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH)),
    "key-encrypted": (pem(GOOD[0]), key_pem(GOOD[1], b"passphrase").reveal(), 0o600),
    "certificate-unreadable": (b"nothing", key_pem(GOOD[1]).reveal(), 0o600),
    "key-unreadable": (pem(GOOD[0]), "nothing", 0o600),
}


def write(place: Path, certificate: bytes, key: str, mode: int) -> tuple[str, ...]:
    """Put a pair below ``place`` and return the flags that name it."""
    place.mkdir(exist_ok=True)
    for name, content, bits in (("tls.crt", certificate, 0o644), ("tls.key", key.encode(), mode)):
        (place / name).write_bytes(content)
        (place / name).chmod(bits)
    return ("--cert", str(place / "tls.crt"), "--key", str(place / "tls.key"))


@pytest.mark.parametrize("code", WRONG)
def test_a_pair_that_clients_would_refuse_is_refused_before_anything_is_made(
    regsetup: Regsetup, tmp_path: Path, code: str
) -> None:
    given = write(tmp_path / "own", *WRONG[code])
    port = ("--backend", "embedded", "--host", "registry.lan", "--port", str(free_port()), "--no-check")
    said = regsetup.json("up", *port, *given)
    (error,) = said["errors"]
    assert (said["ok"], said["changed"], error["code"]) == (False, False, code)
    assert error["cause"]
    assert error["fix"]
    assert not os.path.lexists(regsetup.home / "registry" / "deployment.yaml")
    assert not list(regsetup.home.rglob("*.crt"))


def test_a_key_in_der_is_told_from_one_without_rights(regsetup: Regsetup, tmp_path: Path) -> None:
    words = ("up", "--backend", "embedded", "--host", "registry.lan", "--port", str(free_port()))
    (error,) = regsetup.json(*words, *write_der(tmp_path))["errors"]
    assert (error["code"], error["cause"]) == ("key-unreadable", "-----BEGIN PRIVATE KEY----- is not in it")
    assert "openssl pkey -inform DER" in error["fix"]


def test_files_with_more_in_them_than_the_pair_do(regsetup: Regsetup, tmp_path: Path) -> None:
    """As `openssl x509 -text`, Easy-RSA and HAProxy have them: what is served is the certificate alone."""
    certificate, key, mode = of(GOOD)
    both = "\ufeffCertificate:\n    Data: Müller\n".encode() + certificate + key.encode()
    given = write(tmp_path / "own", both, both.decode("latin-1"), mode)
    (tmp_path / "own" / "tls.key").write_bytes(both)
    words = ("--backend", "embedded", "--host", "registry.lan", "--port", str(free_port()), "--no-check")
    regsetup("up", *words, *given).ok()
    assert (regsetup.home / "registry" / "certs" / "tls.crt").read_bytes() == certificate
    assert (regsetup.home / "registry" / "certs" / "tls.key").read_text() == key
    assert not regsetup.json("up", "--no-check")["changed"]


def test_a_registry_that_runs_keeps_its_pair_when_the_new_one_is_refused(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    port = ("--backend", "embedded", "--host", "registry.lan", "--port", str(free_port()), "--no-check")
    regsetup("up", *port, *write(tmp_path / "good", *of(GOOD))).ok()
    before, pid = regsetup.json("cert", "status")["data"], regsetup.json("status")["data"]["id"]
    for code, wrong in WRONG.items():
        error = regsetup.json("up", *write(tmp_path / "own", *wrong), "--no-check")["errors"][0]
        assert error["code"] == code
    assert regsetup.json("cert", "status")["data"] == before
    assert regsetup.json("status")["data"]["id"] == pid, "it was not restarted"
    assert not regsetup.json("up", "--no-check")["changed"]
