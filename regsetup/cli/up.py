"""``regsetup up``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.options import may_restart

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 24 * 3600  # seconds; nobody waits longer for a registry
WHERE, WHAT, WHO = "Where", "What runs", "Who may enter"
WRITING, TRUST, HOW = "What may be written", "TLS and trust", "How it is done"


def _option(
    flag: str, panel: str, metavar: str, text: str, complete: Callable[[str], list[str]] | None = None
) -> Any:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=panel, autocompletion=complete)


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "up")(up)


def up(
    name: Annotated[
        str | None, _option("--name", WHERE, "NAME", "Name of it (default: registry).", options.known_names)
    ] = None,
    port: Annotated[
        str | None, _option("--port", WHERE, "PORT", "Port on this machine (default: 5000).")
    ] = None,
    bind: Annotated[
        str | None, _option("--bind", WHERE, "ADDRESS", "Address it is opened on (default: 127.0.0.1).")
    ] = None,
    host: Annotated[
        list[str] | None, _option("--host", WHERE, "NAME", "Name or address that clients use. Repeatable.")
    ] = None,
    machine: Annotated[
        str | None,
        _option(
            "--machine",
            WHERE,
            "NAME",
            "How the machine of an engine elsewhere is reached (default: as by the engine's address).",
        ),
    ] = None,
    data: Annotated[
        str | None,
        _option(
            "--data", WHERE, "DIR|volume:NAME", "Where images are stored (default: below REGSETUP_HOME)."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        _option(
            "--backend",
            WHAT,
            "auto|docker|embedded",
            "A container, or the bundled registry (default: auto).",
            options.one_of("auto", "docker", "embedded"),
        ),
    ] = None,
    image: Annotated[str | None, _option("--image", WHAT, "IMAGE", "Image (default: registry:2).")] = None,
    image_archive: Annotated[
        str | None, _option("--image-archive", WHAT, "TAR", "Load the image from `docker save` output.")
    ] = None,
    bundle: Annotated[
        str | None,
        _option("--bundle", WHAT, "FILE", "Take the image from this bundle, and pull nothing."),
    ] = None,
    listen: Annotated[
        str | None,
        _option(
            "--listen", WHAT, "HOST:PORT", "REGISTRY_HTTP_ADDR in the container (default: 0.0.0.0:5000)."
        ),
    ] = None,
    restart_policy: Annotated[
        str | None,
        _option(
            "--restart-policy",
            WHAT,
            "POLICY",
            "no, on-failure, unless-stopped (default) or always.",
            options.one_of("no", "on-failure", "unless-stopped", "always"),
        ),
    ] = None,
    env: Annotated[
        list[str] | None, _option("--env", WHAT, "KEY=VALUE", "Variable of the container. Repeatable.")
    ] = None,
    mirror_of: Annotated[
        str | None, _option("--mirror-of", WHAT, "URL", "Be a pull-through cache of that registry.")
    ] = None,
    read_only: Annotated[
        bool | None,
        typer.Option(
            "--read-only/--no-read-only", help="Refuse pushes and deletes.", rich_help_panel=WRITING
        ),
    ] = None,
    immutable_tags: Annotated[
        list[str] | None,
        _option(
            "--immutable-tags",
            WRITING,
            "PATTERN",
            "Tags that can't be moved or deleted. Repeatable. Bundled.",
        ),
    ] = None,
    min_free: Annotated[
        str | None,
        _option("--min-free", WRITING, "SIZE", "What pushes leave free of the disk (64MiB). Bundled."),
    ] = None,
    upload_ttl: Annotated[
        str | None,
        _option(
            "--upload-ttl", WRITING, "DURATION", "When a push that stands still is dropped (7d). Bundled."
        ),
    ] = None,
    allow_sparse: Annotated[
        bool | None,
        typer.Option(
            "--allow-sparse/--no-allow-sparse",
            help="Take manifests whose layers are not stored here. Bundled.",
            rich_help_panel=WRITING,
        ),
    ] = None,
    user: Annotated[
        list[str] | None, _option("--user", WHO, "NAME", "See that this user exists. Repeatable.")
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help=options.FROM_STDIN, rich_help_panel=WHO),
    ] = False,
    password_file: Annotated[Path | None, _option("--password-file", WHO, "FILE", options.FROM_FILE)] = None,
    auth: Annotated[
        bool | None,
        typer.Option(
            "--auth/--no-auth", help="Ask for credentials, or let everybody in.", rich_help_panel=WHO
        ),
    ] = None,
    realm: Annotated[
        str | None, _option("--realm", WHO, "TEXT", "What a password prompt names (default: Registry).")
    ] = None,
    tls: Annotated[
        str | None,
        _option(
            "--tls",
            TRUST,
            "MODE",
            "auto (default), off, self-signed or acme; auto is on beyond loopback.",
            options.one_of("auto", "off", "self-signed", "acme"),
        ),
    ] = None,
    cert: Annotated[str | None, _option("--cert", TRUST, "FILE", "Your own certificate chain, PEM.")] = None,
    key: Annotated[str | None, _option("--key", TRUST, "FILE", "Its private key, PEM.")] = None,
    acme_email: Annotated[
        str | None, _option("--acme-email", TRUST, "ADDRESS", "Whom Let's Encrypt may write to.")
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure/--no-insecure", help="Plain HTTP beyond loopback.", rich_help_panel=TRUST),
    ] = None,
    trust: Annotated[
        str | None,
        _option(
            "--trust",
            TRUST,
            "MODE",
            "What engines on this machine are told: auto (default), ca, insecure or none.",
            options.one_of("auto", "ca", "insecure", "none"),
        ),
    ] = None,
    daemon: Annotated[
        str | None,
        _option(
            "--daemon",
            TRUST,
            "MODE",
            "What may be done to Docker for that: auto (default), reload, restart or never.",
            options.one_of(*options.DAEMON),
        ),
    ] = None,
    daemon_json: Annotated[
        str | None, _option("--daemon-json", TRUST, "FILE", "Instead of the engine's own daemon.json.")
    ] = None,
    certs_d: Annotated[
        str | None, _option("--certs-d", TRUST, "DIR", "Instead of the engine's own certs.d.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Settings in YAML (default: regsetup.yaml here, if there is one).",
            rich_help_panel=HOW,
        ),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over a container of this name.", rich_help_panel=HOW)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and change nothing.", rich_help_panel=HOW)
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="With --dry-run: exit 3 if it would change something.", rich_help_panel=HOW
        ),
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not prove that it works.", rich_help_panel=HOW)
    ] = False,
    wait: Annotated[
        float | None,
        _option("--wait", HOW, "SECONDS", "Deadline for it to become healthy (default: 60; --tls acme: 90)."),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask for passwords: make them up.", rich_help_panel=HOW),
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Bring a registry up, make it as wanted, and prove that it works.

    Settings come from flags, then REGSETUP_* variables, then the file.
    Without a file, what the last run was told still holds: a second
    `regsetup up` changes nothing.

    Example: regsetup up --bind 0.0.0.0 --host registry.lan --user alice
    """
    given = dict(locals())
    from regsetup import acme, deploy
    from regsetup.backends.choice import settings_of_engine
    from regsetup.bundle.use import unpacked
    from regsetup.cli.passwords import Source
    from regsetup.cli.progress import Steps
    from regsetup.cli.summary import finished, planned
    from regsetup.deployment import Paths
    from regsetup.load import Contradiction, find_home, load
    from regsetup.settings import FIELDS
    from regsetup.state import read
    from regsetup.trust_here import no_restart as never
    from regsetup.waiting import ready_timeout

    if wait is not None:
        seconds(wait)
    if exit_code and not dry_run:
        raise Contradiction("--exit-code is for --dry-run", fix="give both, or neither")
    flags = {key: value for key, value in given.items() if key in FIELDS}
    home = find_home(os.environ)
    loaded = load(flags, os.environ, file, home, cwd=Path.cwd())
    paths = Paths(home, loaded.deployment.name)
    if not dry_run and deploy.mend(paths):
        render.say("  put back  what was there before a restore that was killed")
        loaded = load(flags, os.environ, file, home, cwd=Path.cwd())
    beyond = settings_of_engine(loaded.deployment, read(paths.state), os.environ)
    if beyond:
        loaded = load(flags, os.environ, file, home, cwd=Path.cwd(), defaults=beyond)
    source = Source(stdin=password_stdin, file=password_file, generate=yes)
    if not loaded.deployment.auth:
        source.refuse_if_given()
    with unpacked(loaded) as told, Steps() as reporter:
        if dry_run:
            return planned(deploy.look(told, paths, deploy.Manner(adopt=adopt)), exit_code=exit_code)
        for note in acme.notes(told.deployment):
            reporter.noted(note)
        confirm = never if yes else may_restart
        deadline = ready_timeout(told.deployment) if wait is None else wait
        manner = deploy.Manner(adopt=adopt, confirm=confirm, ready_timeout=deadline)
        done = deploy.deploy(told, paths, source.take, reporter, manner)
    return finished(done, loaded, check=not no_check)


def seconds(wait: float) -> float:
    """Return the deadline that ``--wait`` gives.

    Raises:
        BadSetting: negative, or more than a day.
    """
    from regsetup.given import BadSetting

    if not 0 <= wait < DAY:
        raise BadSetting("--wait", str(wait), f"seconds, from 0 to {DAY}")
    return wait
