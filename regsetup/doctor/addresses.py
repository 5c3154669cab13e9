"""Which addresses a proxy setting leaves out."""

from __future__ import annotations

import ipaddress

from regsetup.host.docker_info import host_of


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def excepted(host: str, exceptions: str) -> bool:
    """Tell whether NO_PROXY covers ``host``, as Go's httpproxy reads it: names, suffixes, networks, ``*``."""
    if host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback):
        return True
    for entry in (part.strip().lower() for part in exceptions.split(",")):
        bare = host_of(entry.removeprefix("*").removeprefix(".")) if "/" not in entry else entry
        if entry == "*" or (bare and (host == bare or host.endswith(f".{bare}"))):
            return True
        if is_address(host) and "/" in entry and _in_network(host, entry):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
