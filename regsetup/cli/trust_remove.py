"""``regsetup trust remove``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.cli import options, render
from regsetup.cli.trusting import (
    CertsD,
    Daemon,
    DaemonJson,
    For,
    Host,
    chosen_clients,
    naming_arguments,
    summed_up,
    told_addresses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.deployment import Paths


def remove(
    name: options.Name = "registry",
    host: Host = None,
    clients: For = None,
    daemon: Daemon = "auto",
    daemon_json: DaemonJson = None,
    certs_d: CertsD = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Take back what trust install, or up, told the clients of this machine."""
    from regsetup.state import exclusive
    from regsetup.trust import install as work
    from regsetup.trust_here import TrustFile

    paths = options.find_paths(name)
    addresses = [host] if host else told_addresses(paths)
    with exclusive(paths):
        ledger = TrustFile(paths.home)
        chosen = chosen_clients(paths, clients, daemon, daemon_json, certs_d, installed=False)
        done = [(address, work.remove(one, address, ledger)) for one in chosen for address in addresses]
    touched = [(address, one) for address, one in done if one.paths]
    outcome = summed_up(touched, "gave back")
    if not touched:
        outcome = replace(outcome, lines=("nothing to do: no client was told of it",))
    return replace(outcome, lines=(*outcome.lines, *_by_script(paths, host, addresses)))


def _by_script(paths: Paths, host: str | None, addresses: Sequence[str]) -> list[str]:
    """Say how to take back what the exported script told this machine's clients."""
    from regsetup.trust.base import Registry

    ledger = Path("/var/lib/regsetup-trust")
    if not any((ledger / Registry(one, None).slug).exists() for one in addresses):
        return []
    words = " ".join(naming_arguments(paths, host, None, insecure=host is not None, mirror=False))
    command = f"regsetup trust export{words and f' {words}'} | sudo sh -s -- --remove"
    return [f"root's clients were told by the exported script: {command}"]
