"""The names and addresses that this machine may be reached by.

The host name, its fully qualified form, and the addresses of interfaces that lead somewhere: not those of
bridges and pairs that engines make for containers, which come and go and lead nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

import psutil

from regsetup.auth.certificates import BadName, Names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Interfaces that Docker, podman, libvirt, CNI plugins and LXD make.
_VIRTUAL = re.compile(
    r"docker\d*|docker_gwbridge|br-[0-9a-f]{12}|(veth|podman|virbr|vnet|cni|flannel|cali|lxc|lxd).*"
)


def machine_names() -> Names:
    """Return what clients may call this machine by; the full name may ask DNS, once."""
    interfaces = {
        name: [entry.address for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6)]
        for name, entries in psutil.net_if_addrs().items()
    }
    return choose((socket.gethostname(), socket.getfqdn()), interfaces)


def choose(hosts: Iterable[str], interfaces: Mapping[str, Iterable[str]]) -> Names:
    """Return the names of ``hosts`` and the addresses of ``interfaces`` that other machines can use.

    Loopback and link-local addresses are left out, and so is a host name that no certificate can hold.
    """
    dns: list[str] = []
    for host in hosts:
        try:
            dns += Names.of([host]).dns
        except BadName:
            continue  # set by hostname(1), which takes anything; nobody can use it as a name either
    addresses = [
        address
        for name, texts in interfaces.items()
        if not _VIRTUAL.fullmatch(name)
        for address in (ipaddress.ip_address(text.partition("%")[0]) for text in texts)
        if not (address.is_loopback or address.is_link_local or address.is_multicast)
    ]
    useful = [name for name in dns if name.partition(".")[0] != "localhost"]
    return Names.of([*useful, *(str(address) for address in addresses)])
