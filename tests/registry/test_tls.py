"""TLS: real handshakes, a wrong CA that fails, a certificate that changes while the server runs."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.registry.harness import Running, eventually, raw, refuse_to_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


def make(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost; return certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_path, key_path


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make(tmp_path, "one")


@pytest.fixture
def secured(tmp_path: Path, pair: tuple[Path, Path]) -> Iterator[Running]:
    with Running.start(tmp_path / "data", tls_cert=pair[0], tls_key=pair[1]) as running:
        yield running


def test_pushes_and_pulls_go_through_tls(secured: Running, pair: tuple[Path, Path]) -> None:
    assert "https://127.0.0.1:" in secured.log.read_text()
    content = os.urandom(5 * MIB + 3)
    with secured.client(tls=trusting(pair[0])) as client:
        digest = client.push_blob("app", content)
        assert client.get(f"/v2/app/blobs/{digest}").body == content
        assert client.get(f"/v2/app/blobs/{digest}", Range="bytes=100-4000000").body == content[100:4000001]
        assert client.get("/v2/").status == 200


@pytest.mark.parametrize("order", [("AES128", "AES256"), ("AES256", "AES128")])
def test_the_client_chooses_the_cipher(
    secured: Running, pair: tuple[Path, Path], order: tuple[str, str]
) -> None:
    """Go's clients ask for AES-128 first, which costs less. TLS 1.2: Python can't order those of 1.3."""
    context = trusting(pair[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(f"ECDHE+{cipher}+AESGCM" for cipher in order))
    with (
        socket.create_connection(("127.0.0.1", secured.port), timeout=5) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        chosen = encrypted.cipher()
    assert chosen is not None
    assert chosen[2] == int(order[0].removeprefix("AES"))


def test_another_ca_is_not_trusted(secured: Running, tmp_path: Path) -> None:
    other, _ = make(tmp_path, "other")
    with secured.client(tls=trusting(other)) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.get("/v2/")


def test_plain_http_is_not_served_on_a_tls_port(secured: Running) -> None:
    try:
        answer = raw(secured.port, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    except ConnectionError:
        answer = b""
    assert b"200" not in answer


@pytest.mark.parametrize("by_signal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_new_certificate_is_served_without_a_restart(
    secured: Running, pair: tuple[Path, Path], tmp_path: Path, by_signal: bool
) -> None:
    new_cert, new_key = make(tmp_path, "two")
    trusts_new = trusting(new_cert)
    with secured.client(tls=trusting(pair[0])) as old:
        assert old.get("/v2/").status == 200
        new_key.replace(pair[1])
        pair[0].write_bytes(new_cert.read_bytes())
        if by_signal:
            secured.process.send_signal(signal.SIGHUP)
        eventually(lambda: answers(secured, trusts_new))
        assert old.get("/v2/").status == 200  # its connection goes on


@pytest.mark.parametrize("broken", ["text", "of another key"])
def test_a_broken_certificate_leaves_the_old_one(
    secured: Running, pair: tuple[Path, Path], tmp_path: Path, broken: str
) -> None:
    trusts = trusting(pair[0])
    other, _ = make(tmp_path, "other")
    pair[0].write_bytes(b"broken" if broken == "text" else other.read_bytes())
    secured.process.send_signal(signal.SIGHUP)
    eventually(lambda: "the old one stays" in secured.log.read_text())
    assert answers(secured, trusts)


def answers(running: Running, tls: ssl.SSLContext) -> bool:
    try:
        with running.client(tls=tls) as client:
            return client.get("/v2/").status == 200
    except ssl.SSLError:
        return False


def test_what_does_not_belong_together_does_not_start(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    _, other = make(tmp_path, "other")
    for cert, key in ((pair[0], other), (pair[0], tmp_path / "missing"), (pair[1], pair[0])):
        code, said = refuse_to_start(tmp_path / "data", tls_cert=cert, tls_key=key)
        assert (code, "certificate-unusable" in said) == (1, True)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(
    secured: Running, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = make(tmp_path, "locked")
    locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    key.write_bytes(locked)
    code, said = refuse_to_start(tmp_path / "data", tls_cert=cert, tls_key=key)
    assert (code, "has a passphrase" in said) == (1, True)
    trusts = trusting(pair[0])
    pair[1].write_bytes(locked)
    secured.process.send_signal(signal.SIGHUP)
    eventually(lambda: "the old one stays" in secured.log.read_text())
    assert "has a passphrase" in secured.log.read_text()
    assert answers(secured, trusts)


def test_a_client_that_takes_nothing_is_dropped(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with Running.start(tmp_path / "data", tls_cert=pair[0], tls_key=pair[1], idle_timeout=0.3) as running:
        with running.client(tls=trusting(pair[0])) as client:
            digest = client.push_blob("app", os.urandom(32 * MIB))
        with running.client(tls=trusting(pair[0])) as client:
            connection = client._connect()
            connection.request("GET", f"/v2/app/blobs/{digest}")
            eventually(lambda: " 499 " in running.log.read_text())


@pytest.mark.parametrize("size", [512 << 10, 640 << 10, 768 << 10, 4 * MIB])
def test_a_client_that_does_not_take_the_end_is_not_waited_for(
    tmp_path: Path, pair: tuple[Path, Path], size: int
) -> None:
    """The end may be encrypted and wait, or the kernel may have taken it: nothing of the file is left."""
    with Running.start(tmp_path / "data", tls_cert=pair[0], tls_key=pair[1], idle_timeout=0.3) as running:
        with running.client(tls=trusting(pair[0])) as client:
            digest = client.push_blob("app", os.urandom(size))
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect(("127.0.0.1", running.port))
            with trusting(pair[0]).wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                eventually(lambda: f"GET /v2/app/blobs/{digest}" in running.log.read_text())


def test_a_client_that_pauses_gets_every_byte_while_others_pull(
    secured: Running, pair: tuple[Path, Path]
) -> None:
    content = os.urandom(70 * MIB)  # more than a thread sends at once
    tls = trusting(pair[0])
    with secured.client(tls=tls) as client:
        digest = client.push_blob("app", content)

    def slowly() -> bytes:
        with secured.client(tls=tls) as client:
            connection = client._connect()
            connection.request("GET", f"/v2/app/blobs/{digest}")
            answer, pieces = connection.getresponse(), []
            while piece := answer.read(8 * MIB):
                pieces.append(piece)
                time.sleep(0.05)  # longer than a thread waits for it
            return b"".join(pieces)

    def quickly(first: int) -> bool:
        with secured.client(tls=tls) as client:
            got = client.get(f"/v2/app/blobs/{digest}", Range=f"bytes={first}-").body
            return got == content[first:]

    with ThreadPoolExecutor(5) as pool:
        alone = pool.submit(slowly)
        assert alone.result() == content
        together = [pool.submit(quickly, 11 * MIB * number + number) for number in range(4)]
        assert pool.submit(slowly).result() == content
        assert all(one.result() for one in together)
