"""One POSIX shell script that makes another machine trust the registry, and takes it back there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import __version__
from regsetup.templating import render
from regsetup.trust.containerd import ETC, hosts_toml
from regsetup.trust.podman import drop_in

if TYPE_CHECKING:
    from datetime import datetime

    from regsetup.trust.base import Registry


def script(registry: Registry, now: datetime) -> str:
    """Return the script; it needs nothing but sh, and python3 or jq where it must edit daemon.json."""
    ca = ETC / "certs.d" / registry.address / "ca.crt"
    return render(
        "trust.sh.j2",
        {
            "address": registry.address,
            "quoted_address": shlex.quote(registry.address),
            "quoted_slug": shlex.quote(registry.slug),
            "scheme": "https" if registry.tls else "http",
            "ca": _ended((registry.ca or b"").decode()),
            "hosts_toml": hosts_toml(registry, Path(ca)),
            "drop_in": drop_in(registry.address),
            "version": __version__,
            "date": f"{now:%Y-%m-%d}",
        },
    )


def _ended(text: str) -> str:
    """A here-document's end must stand at the beginning of a line."""
    return text if not text or text.endswith("\n") else f"{text}\n"
