"""The family ``regsetup trust``, and its commands that change nothing: ``status`` and ``export``."""

from __future__ import annotations

import typer

from regsetup.cli import options, render
from regsetup.cli.trust_install import install
from regsetup.cli.trust_remove import remove
from regsetup.cli.trusting import (
    Ca,
    For,
    Host,
    Insecure,
    Mirror,
    NeedsNoTrust,
    chosen_clients,
    concerned_pairs,
    told_registries,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        cls=render.Group, help="Make the clients of this machine trust the registry.", no_args_is_help=True
    )
    for name, function in (("install", install), ("remove", remove), ("status", status), ("export", export)):
        render.command(family, name, family="trust")(function)
    app.add_typer(family, name="trust")


def status(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Show how each client of this machine stands to the registry. Exits with 3 if one does not trust it."""
    from rich.table import Column, Table

    from regsetup.trust import install as work

    paths = options.find_paths(name)
    told = told_registries(paths, host, ca, insecure=insecure, mirror=mirror)
    chosen = chosen_clients(paths, clients, "auto", None, None)
    found = [(work.status(one, each), each) for one, each in concerned_pairs(chosen, told)]
    client, state = (Column(one, no_wrap=True) for one in ("client", ""))
    address, detail = (Column(one, overflow="fold") for one in ("registry", ""))
    table = Table(client, address, state, detail, box=None, pad_edge=False)
    for one, each in found:
        table.add_row(one.client, each.address, one.state.value, one.detail)
    data = [
        {"client": one.client, "address": each.address, "state": one.state.value, "detail": one.detail}
        for one, each in found
    ]
    lacking = any(one.state is work.State.DIFFERS for one, _ in found)
    return render.Outcome({"clients": data}, (table,), code=3 if lacking else 0)


def export(
    name: options.Name = "registry",
    host: Host = None,
    ca: Ca = None,
    insecure: Insecure = False,
    mirror: Mirror = False,
    clients: For = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Print a shell script that does the same elsewhere: regsetup trust export | ssh HOST sudo sh.

    With --remove it gives every file back as it was: ... | ssh HOST sudo sh -s -- --remove.
    It tells the clients that are installed there, unless --for names them.
    """
    import sys
    from datetime import UTC, datetime

    from regsetup.trust.export import script

    told = told_registries(options.find_paths(name), host, ca, insecure=insecure, mirror=mirror)
    elsewhere = [each for each in told if not each.known]
    if not elsewhere:
        raise NeedsNoTrust(name)
    text = script(elsewhere, datetime.now(UTC), clients or ())
    if not as_json:
        sys.stdout.write(text)
    return render.Outcome({"addresses": [each.address for each in elsewhere], "script": text})
