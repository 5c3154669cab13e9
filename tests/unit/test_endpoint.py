"""Addresses of registries: what is one, what is this machine, what is the same."""

from __future__ import annotations

import pytest

from regsetup.client.endpoint import BadEndpoint, Credentials, Endpoint, is_loopback, origin
from regsetup.secret import Secret


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://registry.example/", "registry.example"),
        ("http://[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_bare_address_is_an_endpoint(url: str, address: str) -> None:
    assert Endpoint(url).address == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with neither"),
        ("registry.example:5000", "begins with neither"),
        ("ftp://registry.example", "begins with neither"),
        ("http://", "no host"),
        ("http://:5000", "no host"),
        ("http://x:0", "no host and port"),
        ("http://x:99999", "Port out of range"),
        ("http://x:y", "Port could not be cast"),
        ("http://x y", "neither a name nor an address"),
        ("http://x;y:5000", "neither a name nor an address"),
        ("http://[x", "Invalid IPv6"),
        ("http://x/v2", "goes on after"),
        ("http://x?y", "goes on after"),
        ("http://x#y", "goes on after"),
    ],
)
def test_what_is_no_bare_address_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(BadEndpoint, match=reason) as caught:
        Endpoint(url)
    assert (caught.value.code, caught.value.exit_code) == ("bad-endpoint", 2)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(BadEndpoint, match="holds a password") as caught:
        Endpoint("https://alice:geheim@registry.example")
    assert "geheim" not in str(caught.value.as_dict())


def test_showing_an_endpoint_shows_no_password() -> None:
    assert "geheim" not in repr(Endpoint("http://x", credentials=Credentials("alice", Secret("geheim"))))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("registry.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://X.example/a?b") == ("https", "x.example", 443)
    assert origin("http://x:5000") == ("http", "x", 5000)
    with pytest.raises(ValueError, match="no http"):
        origin("ftp://x")
