"""TLS by real handshakes with both registries, proxies, and what is said when either fails."""

from __future__ import annotations

import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.client import (
    AnswerCut,
    BadAuthority,
    Endpoint,
    PlainHttp,
    RegistryClient,
    RegistryError,
    TlsUntrusted,
    UnexpectedAnswer,
    Unreachable,
)
from regsetup.reference import Digest
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.both import Serve

NOW = datetime.now(UTC)


def certificate(place: Path, name: str = "127.0.0.1", now: datetime = NOW) -> tuple[Path, tuple[Path, Path]]:
    """Write a CA and a pair for ``name``; return the paths."""
    place.mkdir()
    authority = new_ca("test", Names.of([name]), now)
    pair = new_leaf(authority, Names.of([name]), now)
    (place / "ca.crt").write_bytes(authority.certificate)
    (place / "tls.crt").write_bytes(pair.certificate)
    (place / "tls.key").write_text(pair.key.reveal())
    return place / "ca.crt", (place / "tls.crt", place / "tls.key")


class HangsUp(socketserver.BaseRequestHandler):
    """Takes what a client says first, and ends."""

    def handle(self) -> None:
        self.request.recv(1 << 16)


def failure(endpoint: Endpoint) -> RegistryError:
    with RegistryClient(endpoint, 5) as client, pytest.raises(RegistryError) as caught:
        client.ping()
    return caught.value


def test_the_right_authority_is_trusted(serve: Serve, tmp_path: Path) -> None:
    authority, pair = certificate(tmp_path / "right")
    served = serve(certificate=pair)
    with RegistryClient(Endpoint(served.url, ca=authority)) as client:
        assert client.ping().status == 200
        assert b"".join(client.get_blob("a", client.put_blob("a", b"x" * 100_000))) == b"x" * 100_000


def test_another_authority_and_the_systems_are_not(serve: Serve, tmp_path: Path) -> None:
    _, pair = certificate(tmp_path / "right")
    wrong, _ = certificate(tmp_path / "wrong")
    served = serve(certificate=pair)
    for ca in (wrong, None):
        error = failure(Endpoint(served.url, ca=ca))
        assert isinstance(error, TlsUntrusted)
        assert "an authority that is not trusted" in error.message
        assert error.fix is not None
        assert "trust install" in error.fix


def test_the_very_certificate_is_an_authority_for_itself_and_another_is_not(
    serve: Serve, tmp_path: Path
) -> None:
    _, pair = certificate(tmp_path / "right")
    _, other = certificate(tmp_path / "wrong")
    served = serve(certificate=pair)
    with RegistryClient(Endpoint(served.url, ca=pair[0])) as client:
        assert client.ping().status == 200
    assert isinstance(failure(Endpoint(served.url, ca=other[0])), TlsUntrusted)


def test_the_name_in_the_certificate_counts_and_another_is_said(serve: Serve, tmp_path: Path) -> None:
    authority, pair = certificate(tmp_path / "pair", "registry.example")
    served = serve(certificate=pair)
    with RegistryClient(Endpoint(served.url, authority, certified_name="registry.example")) as client:
        assert client.ping().status == 200
    error = failure(Endpoint(served.url, authority, certified_name="other.example"))
    assert isinstance(error, TlsUntrusted)
    assert "another name" in error.message
    assert "other.example" in (error.cause or "")


def test_a_certificate_out_of_date_is_said(serve: Serve, tmp_path: Path) -> None:
    authority, pair = certificate(tmp_path / "pair", now=NOW - timedelta(days=2000))
    error = failure(Endpoint(serve(certificate=pair).url, ca=authority))
    assert isinstance(error, TlsUntrusted)
    assert "not valid now" in error.message
    assert "expired" in (error.cause or "")


def test_tls_to_a_plain_port_is_said(serve: Serve) -> None:
    error = failure(Endpoint(serve().url.replace("http:", "https:")))
    assert isinstance(error, PlainHttp)
    assert error.fix == f"use http://{serve.started[0].url.partition('//')[2]}"


def test_plain_http_to_a_tls_port_is_said(serve: Serve, tmp_path: Path) -> None:
    _, pair = certificate(tmp_path / "pair")
    error = failure(Endpoint(serve(certificate=pair).url.replace("https:", "http:")))
    assert error.code == ("tls-expected" if serve.kind == "registry2" else "answer-cut")


def test_an_authority_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.crt").write_text("nonsense")
    for path in (tmp_path / "no.crt", tmp_path / "missing.crt"):
        error = failure(Endpoint("https://127.0.0.1:1", ca=path))
        assert isinstance(error, BadAuthority)
        assert str(path) in error.message


def test_a_handshake_that_fails_otherwise_is_said(tmp_path: Path) -> None:
    authority, (crt, key) = certificate(tmp_path / "pair")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL")
    with Liar(lambda _: reply_json({}), tls=context) as server:
        error = failure(Endpoint(server.url, ca=authority))
    assert isinstance(error, TlsUntrusted)
    assert "TLS with" in error.message


def test_a_handshake_that_is_cut_is_no_matter_of_trust() -> None:
    """As from a registry that is stopped, or Docker's proxy, which accepts before the registry listens."""
    with socketserver.TCPServer(("127.0.0.1", 0), HangsUp) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        error = failure(Endpoint(f"https://127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
        serving.join()
    assert isinstance(error, AnswerCut)
    assert "in the middle of the TLS handshake" in (error.cause or "")


def test_from_tls_nobody_is_led_to_plain_http(tmp_path: Path) -> None:
    authority, (crt, key) = certificate(tmp_path / "pair")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    with (
        Liar(lambda _: reply(200, b"content")) as plain,
        Liar(lambda _: reply(302, Location=plain.url), tls=context) as server,
        RegistryClient(Endpoint(server.url, ca=authority)) as client,
        pytest.raises(UnexpectedAnswer, match="no usable answer") as caught,
    ):
        list(client.get_blob("a", Digest.of(b"content")))
    assert caught.value.cause == f"it leads from TLS to plain HTTP, {plain.url}"
    assert plain.requests == []


# Proxies


def test_loopback_is_never_asked_through_a_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve()
    with Liar(lambda _: reply(502)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with RegistryClient(Endpoint(served.url)) as client:
            assert client.ping().status == 200
    assert proxy.requests == []


def test_others_are_asked_through_the_proxy_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with Liar(lambda _: reply_json({})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))
        with RegistryClient(Endpoint("http://registry.invalid:5000")) as client:
            assert client.ping().status == 200
    assert proxy.requests[0].target == "http://registry.invalid:5000/v2/"
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    with Liar(lambda _: reply_json({})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "registry.invalid")
        assert isinstance(failure(Endpoint("http://registry.invalid:5000")), Unreachable)
    assert proxy.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_gone_is_said(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{free_port()}")
    error = failure(Endpoint(f"{scheme}://registry.invalid:5000"))
    assert isinstance(error, Unreachable)
    assert "through the proxy" in error.message


def test_a_proxy_that_refuses_a_tunnel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Liar(lambda _: [reply(403)]) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        error = failure(Endpoint("https://registry.invalid:5000"))
    assert isinstance(error, Unreachable)
    assert "403" in (error.cause or "")
