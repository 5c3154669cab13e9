"""One POSIX shell script that makes another machine trust the registry, and takes it back there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import __version__
from regsetup.templating import render
from regsetup.trust.clients import ALL, check_names
from regsetup.trust.containerd import hosts_toml
from regsetup.trust.podman import drop_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from regsetup.trust.base import Registry


def script(registries: Sequence[Registry], now: datetime, clients: Sequence[str] = ()) -> str:
    """Return the script; it needs nothing but sh and the programs of POSIX.

    Args:
        registries: the addresses of one registry; they have its CA, or plain HTTP, in common.
        clients: those that it tells unless it is asked for others; by default those that it finds.

    Raises:
        UnknownClient: none of ``clients.NAMES``.
    """
    check_names(clients)
    first = registries[0]
    return render(
        "trust.sh.j2",
        {
            "addresses": " ".join(one.address for one in registries),
            "registries": [
                {
                    "pattern": shlex.quote(one.address),
                    "slug": shlex.quote(one.slug),
                    "mirror": shlex.quote(one.mirror or ""),
                    "hosts_toml": hosts_toml(one, Path("$hosts_ca")),
                    "drop_in": drop_in(one.address),
                }
                for one in registries
            ],
            "default": ",".join(clients) if ALL not in clients else "",
            "scheme": "https" if first.tls else "http",
            "ca": _ended((first.ca or b"").decode()),
            "version": __version__,
            "date": f"{now:%Y-%m-%d}",
        },
    )


def _ended(text: str) -> str:
    """A here-document's end must stand at the beginning of a line."""
    return text if not text or text.endswith("\n") else f"{text}\n"
