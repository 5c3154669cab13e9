"""Certificates at work: real TLS handshakes, OpenSSL's verifier and Go's, each with what they must refuse."""

from __future__ import annotations

import functools
import shutil
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from regsetup.auth.certificates import KeyPair, Names, Renewal, decide
from regsetup.auth.own_certificate import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateWeak,
    ChainDisordered,
    KeyExposed,
    NamesNotCovered,
    NotForServers,
    check_key_mode,
    check_own,
)
from regsetup.auth.pem import (
    CertificateUnreadable,
    KeyEncrypted,
    KeyMismatch,
    KeyUnreadable,
    only_certificates,
    only_key,
    read,
    read_pair,
)
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = Names.of(["registry.lan", "10.0.0.5", "fd00::5"])


@functools.cache
def ca() -> KeyPair:
    return new_ca("registry", HOSTS, NOW)


@functools.cache
def leaf() -> KeyPair:
    return new_leaf(ca(), HOSTS, NOW)


def server_context(pair: KeyPair, directory: Path) -> ssl.SSLContext:
    (directory / "tls.crt").write_bytes(pair.certificate)
    (directory / "tls.key").write_text(pair.key.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    return context


def handshake(server: ssl.SSLContext, trusted: bytes, name: str) -> None:
    """Shake hands over memory buffers as a strict client of ``name`` that knows only ``trusted``."""
    client = ssl.create_default_context(cadata=trusted.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    )
    waiting = set(ends)
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting


@pytest.mark.parametrize("name", ["registry.lan", "10.0.0.5", "fd00::5", "localhost", "127.0.0.1", "::1"])
def test_a_client_that_knows_the_ca_shakes_hands(tmp_path: Path, name: str) -> None:
    handshake(server_context(leaf(), tmp_path), ca().certificate, name)


def test_a_client_that_knows_another_ca_refuses(tmp_path: Path) -> None:
    other = new_ca("registry", HOSTS, NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(server_context(leaf(), tmp_path), other.certificate, "registry.lan")


@pytest.mark.parametrize("name", ["other.lan", "10.0.0.6", "fd00::6"])
def test_a_client_that_asks_for_another_name_refuses(tmp_path: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server_context(leaf(), tmp_path), ca().certificate, name)


def test_a_client_refuses_an_expired_certificate(tmp_path: Path) -> None:
    old = new_leaf(ca(), HOSTS, NOW - timedelta(days=900))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(server_context(old, tmp_path), ca().certificate, "registry.lan")


def test_a_client_whose_clock_is_an_hour_behind_accepts_a_new_certificate() -> None:
    assert read(leaf().certificate).not_before <= NOW - timedelta(hours=1)
    assert read(ca().certificate).not_before <= NOW - timedelta(hours=1)


@pytest.mark.parametrize("name", ["bank.example", "10.0.0.6", "fd00::6"])
def test_the_ca_can_not_vouch_for_another_name(tmp_path: Path, name: str) -> None:
    stolen = new_leaf(ca(), Names.of([name]), NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(server_context(stolen, tmp_path), ca().certificate, name)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("names", "code", "says"),
    [(HOSTS, 0, "leaf.pem: OK"), (Names.of(["bank.example"]), 2, "permitted subtree violation")],
)
def test_openssl_verify_agrees(tmp_path: Path, names: Names, code: int, says: str) -> None:
    (tmp_path / "ca.pem").write_bytes(ca().certificate)
    (tmp_path / "leaf.pem").write_bytes(new_leaf(ca(), names, NOW).certificate)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", "leaf.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stderr


class _Tags(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"name": "app", "tags": ["1"]}' if self.path.endswith("/tags/list") else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate hangs up; that is what is tested."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeTags]:
    running = ServeTags(tmp_path)
    yield running
    running.stop()


class ServeTags:
    """Serves one tag list over TLS on a free port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = _QuietServer(("0.0.0.0", 0), _Tags)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def start(self, pair: KeyPair) -> int:
        context = server_context(pair, self._directory)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize(
    ("host", "names", "says"),
    [
        ("localhost", HOSTS, None),
        ("127.0.0.1", HOSTS, None),
        ("localhost", Names.of(["bank.example"]), "not permitted by any constraint"),
        ("127.0.0.2", HOSTS, "certificate is valid for"),
    ],
)
def test_go_agrees(tmp_path: Path, serve: ServeTags, host: str, names: Names, says: str | None) -> None:
    port = serve.start(new_leaf(ca(), names, NOW))
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(ca().certificate)
    done = subprocess.run(
        ["skopeo", "list-tags", f"--cert-dir={trusted}", f"docker://{host}:{port}/app"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if says else 0), done.stderr
    assert (says or "") in done.stderr


def test_the_pair_is_kept_when_read_back() -> None:
    authority, server = read_pair(ca()), read_pair(leaf())
    assert decide(HOSTS, authority, server, NOW).action is Renewal.KEEP
    assert server.names.missing(HOSTS) == Names()
    assert authority.constraints is not None
    assert authority.constraints.refused(Names.of(["other.lan"])).texts == ("other.lan",)
    assert (server.not_after - server.not_before).days == 825
    assert server.fingerprint.count(":") == 31


def test_a_leaf_ends_before_its_ca() -> None:
    late = NOW + timedelta(days=3600)
    assert read(new_leaf(ca(), HOSTS, late).certificate).not_after <= read(ca().certificate).not_after


def test_two_authorities_of_one_registry_have_different_names() -> None:
    assert read(new_ca("registry", HOSTS, NOW).certificate).subject != read(ca().certificate).subject


def test_a_key_never_shows_in_repr() -> None:
    assert "PRIVATE" not in repr(ca())


# --- a certificate of one's own ---------------------------------------------------------------------------


def made(
    common_name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    *,
    names: tuple[str, ...] = ("registry.lan",),
    usage: x509.ObjectIdentifier | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=90),
    curve: ec.EllipticCurve | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
    )
    if names:
        sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(sans, critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, passphrase: bytes | None = None) -> Secret:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return Secret(key.private_bytes(*form, encryption).decode())


WANTED = Names.of(["registry.lan"])


def test_a_good_pair_with_its_chain_is_accepted() -> None:
    middle = made("Intermediate", made("Root"))
    certificate, key = made("server", middle, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    found = check_own(KeyPair(pem(certificate, middle[0]), key_pem(key)), WANTED, NOW)
    assert found.subject == "CN=server"
    assert found.issuer == "CN=Intermediate"


def test_a_chain_out_of_order_is_refused() -> None:
    root = made("Root")
    middle = made("Intermediate", root)
    certificate, key = made("server", middle)
    with pytest.raises(ChainDisordered, match="out of order") as first:
        check_own(KeyPair(pem(middle[0], certificate), key_pem(key)), WANTED, NOW)
    assert first.value.cause == "the server's own certificate is not the first in the file"
    with pytest.raises(ChainDisordered) as later:
        check_own(KeyPair(pem(certificate, root[0], middle[0]), key_pem(key)), WANTED, NOW)
    assert "CN=server is followed by CN=Root" in (later.value.cause or "")


def test_a_chain_signed_by_a_namesake_is_refused() -> None:
    certificate, key = made("server", made("Root"))
    with pytest.raises(ChainDisordered):
        check_own(KeyPair(pem(certificate, made("Root")[0]), key_pem(key)), WANTED, NOW)


def test_the_key_of_another_certificate_is_refused() -> None:
    certificate, _ = made("server")
    stranger = made("stranger")[1]
    with pytest.raises(KeyMismatch, match="CN=server"):
        check_own(KeyPair(pem(certificate), key_pem(stranger)), WANTED, NOW)
    with pytest.raises(KeyMismatch):
        read_pair(KeyPair(pem(certificate), key_pem(stranger)))


def test_a_name_that_is_not_covered_is_refused() -> None:
    certificate, key = made("server", names=("*.lan",))
    pair = KeyPair(pem(certificate), key_pem(key))
    check_own(pair, WANTED, NOW)
    with pytest.raises(NamesNotCovered, match=r"does not name registry\.example") as caught:
        check_own(pair, Names.of(["registry.example"]), NOW)
    assert caught.value.cause == "it names *.lan"


def test_a_certificate_that_names_its_host_in_cn_only_is_refused() -> None:
    certificate, key = made("registry.lan", names=())
    with pytest.raises(NamesNotCovered) as caught:
        check_own(KeyPair(pem(certificate), key_pem(key)), WANTED, NOW)
    assert "no subjectAltName" in (caught.value.cause or "")


def test_dates_are_checked_at_both_ends_and_along_the_chain() -> None:
    over = made("Intermediate", ends=timedelta(days=-1), begins=timedelta(days=-9))
    certificate, key = made("server", over)
    with pytest.raises(CertificateExpired, match="CN=Intermediate"):
        check_own(KeyPair(pem(certificate, over[0]), key_pem(key)), WANTED, NOW)
    early, key = made("server", begins=timedelta(days=2))
    with pytest.raises(CertificateNotYetValid, match="begins on"):
        check_own(KeyPair(pem(early), key_pem(key)), WANTED, NOW)


def test_a_client_certificate_is_refused() -> None:
    certificate, key = made("server", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with pytest.raises(NotForServers):
        check_own(KeyPair(pem(certificate), key_pem(key)), WANTED, NOW)


def test_an_encrypted_key_is_refused() -> None:
    certificate, key = made("server")
    with pytest.raises(KeyEncrypted) as caught:
        check_own(KeyPair(pem(certificate), key_pem(key, b"passphrase")), WANTED, NOW)
    assert "openssl pkey" in (caught.value.fix or "")


def test_what_is_not_pem_is_refused() -> None:
    certificate, key = made("server")
    with pytest.raises(CertificateUnreadable):
        check_own(KeyPair(b"nothing", key_pem(key)), WANTED, NOW)
    with pytest.raises(KeyUnreadable):
        check_own(KeyPair(pem(certificate), Secret("nothing")), WANTED, NOW)


def signed(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey,
    issuer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None = None,
    algorithm: hashes.SHA256 | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("registry.lan")]), critical=False)
        .sign(issuer[1] if issuer else key, algorithm)
    )


def with_sha1(certificate: x509.Certificate) -> x509.Certificate:
    """Say SHA-1 instead of SHA-256 where the algorithm is named: ``cryptography`` signs with it no more."""
    rsa_with_sha256, rsa_with_sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    der = certificate.public_bytes(serialization.Encoding.DER)
    return x509.load_der_x509_certificate(der.replace(rsa_with_sha256, rsa_with_sha1))


def any_key_pem(key: PrivateKeyTypes) -> Secret:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(key.private_bytes(*form).decode())


def test_keys_that_every_client_takes_are_accepted() -> None:
    long, edwards = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    for certificate, key in ((signed(long, algorithm=hashes.SHA256()), long), (signed(edwards), edwards)):
        check_own(KeyPair(pem(certificate), any_key_pem(key)), WANTED, NOW)
    for curve in (ec.SECP384R1(), ec.SECP521R1()):
        certificate, other = made("server", curve=curve)
        check_own(KeyPair(pem(certificate), key_pem(other)), WANTED, NOW)
    old_root = with_sha1(signed(long, algorithm=hashes.SHA256()))
    check_own(KeyPair(pem(old_root), any_key_pem(long)), WANTED, NOW)


def test_keys_and_signatures_that_clients_refuse_are_refused() -> None:
    short, long = rsa.generate_private_key(65537, 1024), rsa.generate_private_key(65537, 2048)
    unknown = ed448.Ed448PrivateKey.generate()
    curve, curve_key = made("server", curve=ec.SECP256K1())
    root = made("Root")
    rsa_root = (root[0], long)
    for certificate, key, why in (
        (signed(short, algorithm=hashes.SHA256()), short, "1024 bits"),
        (signed(unknown), unknown, "Go does not know"),
        (curve, curve_key, "secp256k1"),
        (with_sha1(signed(long, rsa_root, hashes.SHA256())), long, "SHA1"),
    ):
        with pytest.raises(CertificateWeak) as caught:
            check_own(KeyPair(pem(certificate), any_key_pem(key)), WANTED, NOW)
        assert why in (caught.value.cause or "")


def test_an_address_written_as_a_dns_name_is_told_apart() -> None:
    certificate, key = made("server", names=("10.0.0.5",))
    with pytest.raises(NamesNotCovered) as caught:
        check_own(KeyPair(pem(certificate), key_pem(key)), Names.of(["10.0.0.5"]), NOW)
    assert "as a DNS name" in (caught.value.cause or "")
    assert caught.value.fix == (
        "request a certificate with subjectAltName=IP:10.0.0.5, or give --host a name that it has"
    )


def test_what_else_stands_in_the_files_is_left_out() -> None:
    certificate, key = made("server")
    text, bare = key_pem(key).reveal(), pem(certificate)
    noise = "\ufeffBag Attributes\n    friendlyName: Müller\n".encode()
    both = noise + text.encode() + b"Certificate:\n    Data:\n" + bare.replace(b"\n", b"\r\n") + noise
    assert only_certificates(both) == bare
    assert only_key(both.decode("latin-1")) == text
    assert only_key("nothing") == "nothing"


def test_only_an_elliptic_curve_key_signs_leaves() -> None:
    with pytest.raises(KeyUnreadable, match="can't be read"):
        new_leaf(KeyPair(ca().certificate, key_pem(rsa.generate_private_key(65537, 2048))), HOSTS, NOW)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o100600])
def test_a_key_file_for_its_owner_and_a_reading_group_is_accepted(mode: int) -> None:
    check_key_mode("/k", mode)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o100644])
def test_a_key_file_that_others_can_use_is_refused(mode: int) -> None:
    with pytest.raises(KeyExposed) as caught:
        check_key_mode("/k", mode)
    assert caught.value.fix == "chmod 600 /k"
    assert "0644" in caught.value.message or mode != 0o100644
