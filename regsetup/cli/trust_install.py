"""``regsetup trust install``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import options, render
from regsetup.cli.trusting import (
    Ca,
    CertsD,
    Daemon,
    DaemonJson,
    For,
    Host,
    Insecure,
    Mirror,
    chosen_clients,
    concerned_pairs,
    deployed,
    naming_arguments,
    summed_up,
    told_registries,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from regsetup.deployment import Paths


def install(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    daemon: Daemon = "auto",
    daemon_json: DaemonJson = None,
    certs_d: CertsD = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not prove that it works.")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Give the clients of this machine the registry's CA, or leave to use plain HTTP.

    Of a cache of Docker Hub the engine is told, too, that it is a mirror.
    Every file is noted before it is changed, so that remove gives it back as it was.
    Of a registry of this machine, docker, podman and ctr then push and pull to prove
    it. Exits with 3 if one can't. What only root may write is named, with the
    command that does it; the rest is done.
    """
    from regsetup.state import exclusive
    from regsetup.trust import install as work
    from regsetup.trust import rights
    from regsetup.trust_here import TrustFile

    paths = options.find_paths(name)
    told = told_registries(paths, host, ca, insecure=insecure, mirror=mirror)
    with exclusive(paths):
        chosen = chosen_clients(paths, clients, daemon, daemon_json, certs_d)
        ledger = TrustFile(paths.home)
        plans = [(one, each, rights.closed(one.plan(each))) for one, each in concerned_pairs(chosen, told)]
        done = [(each.address, work.install(one, each, ledger)) for one, each, closed in plans if not closed]
    outcome = summed_up(done, "wrote")
    shut: dict[str, list[Path]] = {}
    for one, _, closed in plans:
        if closed:
            shut.setdefault(one.name, []).extend(closed)
    if shut:
        arguments = naming_arguments(paths, host, ca, insecure=insecure, mirror=mirror)
        return _for_root(
            outcome, shut, rights.by_root(arguments, tuple(shut)), insist=bool(clients) or not done
        )
    return outcome if host or no_check else _proven(outcome, paths)


def _for_root(
    outcome: render.Outcome, shut: Mapping[str, Sequence[Path]], command: str, *, insist: bool
) -> render.Outcome:
    """Say which files are root's; an error where they were asked for, or the engine's are among them."""
    from regsetup.trust.rights import NeedsRoot

    error = NeedsRoot(tuple(shut), [path for paths in shut.values() for path in paths], command)
    data = {**outcome.data, "needs_root": {"clients": list(shut), "command": command}}
    if insist or "docker" in shut:
        return replace(outcome, data=data, code=1, errors=(error,))
    return replace(outcome, data=data, lines=(*outcome.lines, error.message, f"  to do     {command}"))


def _proven(outcome: render.Outcome, paths: Paths) -> render.Outcome:
    """Let the clients push and pull, if the registry runs."""
    from regsetup.backends.choice import reopen
    from regsetup.cli.check import failed, table, tell
    from regsetup.probe import answers, endpoint
    from regsetup.prove import prove_clients
    from regsetup.state import read

    state, wanted = read(paths.state), deployed(paths)
    if state is None or not answers(endpoint(wanted, paths)):
        return replace(outcome, lines=(*outcome.lines, "not proven: the registry does not answer"))
    checks = prove_clients(wanted, paths, reopen(paths, state), tell)
    errors = failed(checks)
    return replace(
        outcome,
        data={**outcome.data, "checks": [one.as_dict() for one in checks]},
        lines=(*outcome.lines, table(checks)),
        code=3 if errors else 0,
        errors=errors,
    )
