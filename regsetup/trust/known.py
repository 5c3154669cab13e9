"""What clients on this machine were told of a registry, read to reach it the way they do.

Docker's and podman's certs.d (docker.com, "Verify repository client with certificates";
containers-certs.d(5)), insecure-registries in daemon.json, ``insecure`` in registries.conf(5). A file that
can't be read tells nothing here: its owner complains of it, and a registry that is not known to be insecure
is asked over TLS.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regsetup.client.endpoint import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

_ETC = Path("/etc")


def authorities(address: str, *, home: Path | None = None, etc: Path = _ETC) -> tuple[Path, ...]:
    """Return the CA files that Docker and podman use for ``host[:port]`` besides the system's."""
    own = (home or Path.home()) / ".config"
    places = (
        etc / "docker" / "certs.d",
        etc / "containers" / "certs.d",
        own / "docker" / "certs.d",
        own / "containers" / "certs.d",
        own.parent / ".docker" / "certs.d",
    )
    return tuple(path for place in places for path in _files(place / address, "*.crt"))


def is_insecure(address: str, *, home: Path | None = None, etc: Path = _ETC) -> bool:
    """Tell whether clients here may speak plain HTTP with ``host[:port]``; on loopback they always may."""
    host = host_of(address)
    if is_loopback(host):
        return True
    own = (home or Path.home()) / ".config"
    return any(_covers(entry, address, host) for entry in _docker(etc, own)) or any(
        location == address for location in _containers(etc, own)
    )


def host_of(address: str) -> str:
    """Return the host of ``host[:port]``, an IPv6 one without its brackets."""
    host = address if address.endswith("]") else address.rpartition(":")[0] or address
    return host.strip("[]").lower()


def _covers(entry: object, address: str, host: str) -> bool:
    """Compare with an address or, for a host that is an IP address, with a network."""
    if not isinstance(entry, str):
        return False
    if entry == address:
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _docker(etc: Path, own: Path) -> Iterator[object]:
    for path in (etc / "docker" / "daemon.json", own / "docker" / "daemon.json"):
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        yield from _list(settings, "insecure-registries")


def _containers(etc: Path, own: Path) -> Iterator[object]:
    for base in (etc / "containers", own / "containers"):
        for path in (base / "registries.conf", *_files(base / "registries.conf.d", "*.conf")):
            try:
                settings = tomllib.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            for registry in _list(settings, "registry"):
                if isinstance(registry, dict) and registry.get("insecure") is True:
                    yield registry.get("location") or registry.get("prefix")


def _list(settings: Any, key: str) -> list[Any]:
    found = settings.get(key) if isinstance(settings, dict) else None
    return found if isinstance(found, list) else []


def _files(place: Path, pattern: str) -> list[Path]:
    try:
        return sorted(place.glob(pattern))
    except OSError:
        return []
