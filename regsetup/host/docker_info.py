"""Reads what ``docker info`` says (Engine API ``GET /info``) about trust. Asks nobody itself.

That a registry is listed here is necessary, not sufficient: with the containerd image store a push may still
fail (moby#51080), and only a push and pull through the engine prove trust.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from regsetup.host.daemon_json import MIRRORS, Entry

Info = Mapping[str, Any]  # the SDK's decoded JSON


def is_insecure(info: Info, address: str) -> bool:
    """Tell whether the engine takes ``host:port`` without TLS: listed, or within a listed network.

    Host names are not resolved, except ``localhost``.
    """
    registries = _registries(info)
    index = registries.get("IndexConfigs", {}).get(address)
    if index is not None:
        return not index["Secure"]
    return is_covered(info, address)


def is_covered(info: Info, address: str) -> bool:
    """Tell whether a network of the engine's insecure list, such as loopback's, holds the host."""
    host = host_of(address)
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    networks = _registries(info).get("InsecureRegistryCIDRs") or []
    return any(ip in ipaddress.ip_network(network) for network in networks)


def is_listed(info: Info, address: str) -> bool:
    """Tell whether ``insecure-registries`` names ``host:port`` itself, not only a network around it."""
    index = _registries(info).get("IndexConfigs", {}).get(address)
    return index is not None and not index["Secure"]


def mirrors(info: Info) -> tuple[str, ...]:
    """Return the registry mirrors in use, each with a slash at its end, as the engine writes them."""
    return tuple(_registries(info).get("Mirrors") or ())


def follows(info: Info, entry: Entry) -> bool:
    """Tell whether the engine does what an entry of daemon.json asks for, whoever told it to."""
    return names(info, entry) if entry.key == MIRRORS else is_insecure(info, entry.value)


def names(info: Info, entry: Entry) -> bool:
    """Tell whether the engine has the entry itself, not only a network around its address."""
    if entry.key == MIRRORS:
        return f"{entry.value.rstrip('/')}/" in mirrors(info)
    return is_listed(info, entry.value)


def has_live_restore(info: Info) -> bool:
    """Tell whether containers go on while the engine restarts."""
    return bool(info.get("LiveRestoreEnabled"))


def is_desktop(info: Info | None) -> bool:
    """Tell whether it is Docker Desktop's, in a virtual machine that we can't reach into."""
    return info is not None and info.get("OperatingSystem") == "Docker Desktop"


def host_of(address: str) -> str:
    """Return the host of ``host[:port]``, an IPv6 address without its brackets."""
    if address.startswith("["):
        return address[1 : address.index("]")]
    return address.partition(":")[0]


def _registries(info: Info) -> Mapping[str, Any]:
    found: Mapping[str, Any] = info.get("RegistryConfig") or {}
    return found
