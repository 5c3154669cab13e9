"""What docker and podman were told of a registry is read where they read it; what is damaged says nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from regsetup.trust.known import authorities, host_of, is_insecure

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "registry.lan:5000"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "place", ["etc/docker", "etc/containers", ".config/docker", ".config/containers", ".docker"]
)
def test_authorities_are_found_where_clients_have_them(tmp_path: Path, place: str) -> None:
    known = {"home": tmp_path, "etc": tmp_path / "etc"}
    assert authorities(ADDRESS, **known) == ()
    directory = tmp_path / place / "certs.d" / ADDRESS
    found = [write(directory / name, "pem") for name in ("a.crt", "ca.crt")]
    write(directory / "client.key", "key")
    write(tmp_path / place / "certs.d" / "other.lan:5000" / "ca.crt", "pem")
    assert authorities(ADDRESS, **known) == tuple(found)


@pytest.mark.parametrize(
    ("address", "entries", "insecure"),
    [
        ("registry.lan:5000", ["registry.lan:5000"], True),
        ("registry.lan:5001", ["registry.lan:5000"], False),
        ("10.1.2.3:5000", ["10.0.0.0/8"], True),
        ("11.1.2.3:5000", ["10.0.0.0/8"], False),
        ("registry.lan", ["10.0.0.0/8", 5, None], False),
        ("[fd00::1]:5000", ["fd00::/8"], True),
        ("localhost:5000", [], True),
        ("127.0.0.2", [], True),
        ("[::1]:5000", [], True),
        ("registry.lan:5000", {"registry.lan:5000": 1}, False),
    ],
)
def test_the_engine_allows_plain_http(tmp_path: Path, address: str, entries: object, insecure: bool) -> None:
    for place in ("etc/docker", ".config/docker"):
        path = write(tmp_path / place / "daemon.json", json.dumps({"insecure-registries": entries}))
        assert is_insecure(address, home=tmp_path, etc=tmp_path / "etc") is insecure
        path.unlink()


@pytest.mark.parametrize(
    ("text", "insecure"),
    [
        ('[[registry]]\nlocation = "registry.lan:5000"\ninsecure = true\n', True),
        ('[[registry]]\nprefix = "registry.lan:5000"\ninsecure = true\n', True),
        ('[[registry]]\nlocation = "registry.lan:5000"\n', False),
        ('[[registry]]\nlocation = "registry.lan:5000"\ninsecure = "true"\n', False),
        ('[[registry]]\nlocation = "other.lan"\ninsecure = true\n', False),
        ("[[registry", False),
        ('registry = ["registry.lan:5000"]\n', False),
        ("", False),
    ],
)
def test_podman_allows_plain_http(tmp_path: Path, text: str, insecure: bool) -> None:
    for place in ("etc/containers/registries.conf", ".config/containers/registries.conf.d/50-a.conf"):
        path = write(tmp_path / place, text)
        assert is_insecure(ADDRESS, home=tmp_path, etc=tmp_path / "etc") is insecure
        path.unlink()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\xff"])
def test_a_damaged_file_allows_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path / "etc/docker/daemon.json", "").write_text(text, encoding="latin-1")
    assert not is_insecure(ADDRESS, home=tmp_path, etc=tmp_path / "etc")


@pytest.mark.parametrize(
    ("address", "host"),
    [("A.b:5", "a.b"), ("a.b", "a.b"), ("[::1]:5", "::1"), ("[::1]", "::1"), ("localhost", "localhost")],
)
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host
