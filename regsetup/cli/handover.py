"""``regsetup render``: what ``up`` does, as files for other programs."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.up import up

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.handover.make import Rendered

KINDS = ("compose", "quadlet", "systemd", "kubernetes")
# What `up` takes and `render` does not: it starts nothing, and tells no engine of anything.
_NOT_OURS = {"machine", "backend", "image_archive", "bundle", "trust", "daemon", "daemon_json", "certs_d"}
_NOT_OURS |= {"adopt", "dry_run", "exit_code", "no_check", "wait", "as_json", "quiet"}
_HOW, _CLUSTER = "What is written", "Kubernetes"


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "render")(with_settings_of_up(hand_over))


def with_settings_of_up(function: Callable[..., render.Outcome]) -> Callable[..., render.Outcome]:
    """Give a function that takes ``**settings`` the options by which ``up`` takes them."""
    theirs = inspect.signature(up, eval_str=True).parameters
    own = inspect.signature(function, eval_str=True).parameters
    taken = [one for name, one in theirs.items() if name not in _NOT_OURS]
    named = [one for one in own.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    signature = inspect.Signature([named[0], *taken, *named[1:]])

    @functools.wraps(function)
    def run(**given: Any) -> render.Outcome:
        return function(**given)

    run.__dict__["__signature__"] = signature
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return run


def hand_over(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="compose, quadlet, systemd or kubernetes.",
            autocompletion=options.one_of(*KINDS),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR|FILE",
            help="Where to (default: standard output, for one file).",
            rich_help_panel=_HOW,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that differ.", rich_help_panel=_HOW)
    ] = False,
    htpasswd: Annotated[
        Path | None,
        typer.Option(
            "--htpasswd", metavar="FILE", help="Take the users from this file.", rich_help_panel=_HOW
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", metavar="NAME", help="Make it and put all in it.", rich_help_panel=_CLUSTER
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="QUANTITY", help="How much to claim for images.", rich_help_panel=_CLUSTER
        ),
    ] = "20Gi",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    **settings: Any,
) -> render.Outcome:
    """Write what `up` would do as files, for those who run it by other means.

    Takes the settings of `up`. A registry of this name that stands is
    rendered as it is, with its users and certificates; without one, what
    the files refer to is made beside them.

    Example: regsetup render compose --user alice -o compose/
    """
    from regsetup.cli.passwords import Source
    from regsetup.deployment import Paths
    from regsetup.given import BadSetting
    from regsetup.handover.kubernetes import Cluster
    from regsetup.handover.make import Asked, Kind
    from regsetup.handover.make import render as make
    from regsetup.load import find_home, load
    from regsetup.settings import FIELDS

    flags = {key: value for key, value in settings.items() if key in FIELDS}
    if htpasswd is not None and flags.get("auth") is None:
        flags["auth"] = True
    home = find_home(os.environ)
    loaded = load(flags, os.environ, settings["file"], home, cwd=Path.cwd())
    if kind not in KINDS:
        raise BadSetting("render", kind, "one of " + ", ".join(KINDS))
    source = Source(
        stdin=settings["password_stdin"], file=settings["password_file"], generate=settings["yes"]
    )
    if not loaded.deployment.auth:
        source.refuse_if_given()
    asked = Asked(Kind(kind), out, htpasswd, Cluster(namespace, size), force)
    return _outcome(kind, make(loaded, Paths(home, loaded.deployment.name), asked, source.take))


def _outcome(kind: str, done: Rendered) -> render.Outcome:
    made = {name: one for name, one in done.passwords.items() if one.generated}
    data = {
        "name": done.wanted.name,
        "kind": kind,
        "files": [{"path": str(path), "status": status} for path, status in done.files.items()],
        "text": done.text,
        "users": [
            {"name": name} | ({"password": made[name].secret.reveal()} if name in made else {})
            for name in done.passwords
        ],
        "notes": list(done.notes),
    }
    if done.text is not None:
        for note in done.notes:
            render.say(f"note: {note}")
        if not render.style.json:
            sys.stdout.write(done.text)
        return render.Outcome(data)
    lines = [f"{status:<9}  {path}" for path, status in done.files.items()]
    for name in done.passwords:
        shown = f", password {made[name].secret.reveal()} (shown once)" if name in made else ""
        lines.append(f"user       {name}{shown}")
    lines += [f"note       {note}" for note in done.notes]
    lines += ["", "Next:", *(f"  {command}" for command in _next(kind, done))]
    changed = any(status != "unchanged" for status in done.files.values())
    return render.Outcome(data, tuple(lines), changed=changed)


def _next(kind: str, done: Rendered) -> list[str]:
    """Return what to type, with the program that the files are for."""
    import shlex

    main = " ".join(shlex.quote(str(path)) for path in done.main)
    system = os.geteuid() == 0
    systemctl = "systemctl" if system else "systemctl --user"
    if kind == "compose":
        return [f"docker compose -f {main} up -d"]
    if kind == "kubernetes":
        return [f"kubectl apply -f {main}"]
    if kind == "quadlet":
        place = "/etc/containers/systemd/" if system else "~/.config/containers/systemd/"
        return [
            f"mkdir -p {place}{_images(done)}",  # podman makes neither, unlike Docker
            f"cp {main} {place}",
            f"{systemctl} daemon-reload",
            f"{systemctl} start {done.wanted.name}",
        ]
    place = "/etc/systemd/system/" if system else "~/.config/systemd/user/"
    return [
        f"cp {main} {place}",
        f"{systemctl} daemon-reload",
        f"{systemctl} enable --now {done.main[0].stem}",
    ]


def _images(done: Rendered) -> str:
    import shlex

    from regsetup.deployment import Directory

    storage = done.wanted.storage
    return f" {shlex.quote(str(storage.path))}" if isinstance(storage, Directory) else ""
