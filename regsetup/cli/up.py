"""``regsetup up``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render

if TYPE_CHECKING:
    from regsetup.apply import Reporter
    from regsetup.backends.images import Progress
    from regsetup.deploy import Deployed
    from regsetup.deployment import Deployment
    from regsetup.load import Loaded
    from regsetup.plan import Plan, Step
    from regsetup.smoke import Check

WHERE, WHAT, WHO, TRUST, HOW = "Where", "What runs", "Who may enter", "TLS and trust", "How it is done"


def _option(flag: str, panel: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=panel)


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "up")(up)


def up(
    file: Annotated[
        Path | None, _option("-f", HOW, "FILE", "Settings in YAML (default: regsetup.yaml, if there is one).")
    ] = None,
    name: Annotated[str | None, _option("--name", WHERE, "NAME", "Name of it (default: registry).")] = None,
    port: Annotated[
        str | None, _option("--port", WHERE, "PORT", "Port on this machine (default: 5000).")
    ] = None,
    bind: Annotated[
        str | None, _option("--bind", WHERE, "ADDRESS", "Address it is opened on (default: 127.0.0.1).")
    ] = None,
    host: Annotated[
        list[str] | None, _option("--host", WHERE, "NAME", "Name or address that clients use. Repeatable.")
    ] = None,
    data: Annotated[
        str | None, _option("--data", WHERE, "DIR|volume:NAME", "Where images are stored.")
    ] = None,
    backend: Annotated[
        str | None,
        _option(
            "--backend", WHAT, "auto|docker|embedded", "A container, or the bundled registry (default: auto)."
        ),
    ] = None,
    image: Annotated[str | None, _option("--image", WHAT, "IMAGE", "Image (default: registry:2).")] = None,
    image_archive: Annotated[
        str | None, _option("--image-archive", WHAT, "TAR", "Load the image from `docker save` output.")
    ] = None,
    listen: Annotated[
        str | None,
        _option(
            "--listen", WHAT, "HOST:PORT", "REGISTRY_HTTP_ADDR in the container (default: 0.0.0.0:5000)."
        ),
    ] = None,
    restart_policy: Annotated[
        str | None,
        _option("--restart-policy", WHAT, "POLICY", "no, on-failure, unless-stopped or always."),
    ] = None,
    env: Annotated[
        list[str] | None, _option("--env", WHAT, "KEY=VALUE", "Variable of the container. Repeatable.")
    ] = None,
    mirror_of: Annotated[
        str | None, _option("--mirror-of", WHAT, "URL", "Be a pull-through cache of that registry.")
    ] = None,
    user: Annotated[
        list[str] | None, _option("--user", WHO, "NAME", "See that this user exists. Repeatable.")
    ] = None,
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    auth: Annotated[
        bool | None,
        typer.Option(
            "--auth/--no-auth", help="Ask for credentials, or let everybody in.", rich_help_panel=WHO
        ),
    ] = None,
    realm: Annotated[str | None, _option("--realm", WHO, "TEXT", "What a password prompt names.")] = None,
    tls: Annotated[
        str | None, _option("--tls", TRUST, "auto|off|self-signed", "auto: on beyond loopback.")
    ] = None,
    cert: Annotated[str | None, _option("--cert", TRUST, "FILE", "Your own certificate chain, PEM.")] = None,
    key: Annotated[str | None, _option("--key", TRUST, "FILE", "Its private key, PEM.")] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure/--no-insecure", help="Plain HTTP beyond loopback.", rich_help_panel=TRUST),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over a container of this name.", rich_help_panel=HOW)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and change nothing.", rich_help_panel=HOW)
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit 3 if it would change something.")
    ] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not prove that it works.")] = False,
    wait: Annotated[float, _option("--wait", HOW, "SECONDS", "Deadline for it to become healthy.")] = 60.0,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Bring a registry up, make it as wanted, and prove that it works.

    Alone it means the same as the last time. A second run changes nothing. Settings come from flags, then
    REGSETUP_* variables, then the file.
    """
    given = dict(locals())
    from regsetup import deploy
    from regsetup.cli.passwords import Source
    from regsetup.deployment import Paths
    from regsetup.load import find_home, load
    from regsetup.settings import FIELDS

    flags = {key: value for key, value in given.items() if key in FIELDS}
    home = find_home(os.environ)
    loaded = load(flags, os.environ, file, home, cwd=Path.cwd())
    paths = Paths(home, loaded.deployment.name)
    if dry_run:
        return _planned(deploy.look(loaded, paths, adopt=adopt), exit_code=exit_code)
    source = Source(stdin=password_stdin, file=password_file, generate=yes)
    with reporting() as reporter:
        done = deploy.deploy(loaded, paths, source.take, reporter, adopt=adopt, ready_timeout=wait)
    return finished(done, loaded, check=not no_check)


class _Steps:
    """Tells each step on standard error, and shows a bar while an image travels."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def started(self, step: Step) -> None:
        """See ``Reporter``."""
        render.say(f"  {step.action:<9} {_thing(step)}  ({step.reason})")

    def done(self, step: Step) -> None:  # noqa: ARG002  every step that began is told already
        """See ``Reporter``."""
        self._end_bar()

    def undone(self, step: Step) -> None:
        """See ``Reporter``."""
        self._end_bar()
        render.say(f"  undone    {_thing(step)}")

    def transferred(self, progress: Progress) -> None:
        """See ``Reporter``."""
        console = render.err()
        if render.style.quiet or render.style.json or not console.is_terminal:
            return
        if self.bar is None:
            from rich import progress as bars

            self.bar = bars.Progress(
                bars.TextColumn("  {task.description}"),
                bars.BarColumn(),
                bars.DownloadColumn(),
                console=console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task("")
        self.bar.update(
            self.task, description=progress.status, completed=progress.done, total=progress.total or None
        )

    def _end_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def reporting() -> _Steps:
    """Return a reporter for the time of a ``with`` block."""
    return _Steps()


def _thing(step: Step) -> str:
    kind, target = str(step.resource), step.target
    return kind if kind == target else f"{kind} {target}"


def _planned(found: Deployed, *, exit_code: bool) -> render.Outcome:
    pending = bool(found.plan.pending)
    return render.Outcome(
        data=_plan_data(found) | {"pending": len(found.plan.pending)},
        lines=(_plan_table(found.plan), *(() if pending else ("nothing to do",))),
        code=3 if pending and exit_code else 0,
    )


def _plan_data(found: Deployed) -> dict[str, Any]:
    return {
        "name": found.survey.wanted.name,
        "backend": found.survey.choice.runtime.backend,
        "backend_reason": found.survey.choice.reason,
        "steps": [
            {
                "action": str(step.action),
                "resource": str(step.resource),
                "target": step.target,
                "reason": step.reason,
                "changes": step.changes,
                "data_impact": step.data_impact,
                "restarts": list(step.restarts),
            }
            for step in found.plan.steps
        ],
    }


def _plan_table(plan: Plan) -> Any:
    from rich.table import Table

    table = Table("action", "what", "why", "images", "restarts", box=None, pad_edge=False)
    for step in plan.steps:
        style = None if step.changes else "dim"
        row = (str(step.action), _thing(step), step.reason, step.data_impact, ", ".join(step.restarts) or "-")
        table.add_row(*row, style=style)
    return table


def finished(done: Deployed, loaded: Loaded, *, check: bool) -> render.Outcome:
    """Prove it, and say what there is, who may enter and what to type next."""
    from regsetup.cli.check import failed, table, tell
    from regsetup.prove import prove_here

    wanted, found = done.survey.wanted, done.survey
    checks = prove_here(wanted, found.paths, found.choice, tell) if check else ()
    errors = failed(checks)
    data = _plan_data(done) | {
        "address": wanted.address,
        "url": f"{wanted.scheme}://{wanted.address}",
        "auth": wanted.auth,
        "users": _user_data(done),
        "origins": dict(loaded.origins),
        "checks": [one.as_dict() for one in checks],
    }
    lines = (*((table(checks),) if errors else ()), *_summary(done, checks))
    return render.Outcome(data, lines, changed=done.changed, code=3 if errors else 0, errors=errors)


def _user_data(done: Deployed) -> list[dict[str, str]]:
    return [
        {"name": name} | ({"password": password.secret.reveal()} if password.generated else {})
        for name, password in done.passwords.items()
    ]


def _summary(done: Deployed, checks: tuple[Check, ...]) -> list[str]:
    from regsetup.smoke import Outcome

    wanted, choice = done.survey.wanted, done.survey.choice
    held = sum(one.ok for one in checks)
    runs = f"{choice.runtime.kind} {wanted.name}"
    why = "" if choice.engine else f", without Docker: {choice.reason}"
    lines = [
        f"{wanted.name} is up at {wanted.scheme}://{wanted.address}"
        + ("" if done.changed else " (no changes)"),
        f"  runs as   {runs}{why}",
        f"  images    {wanted.storage}",
    ]
    if checks:
        total = sum(one.seconds for one in checks)
        skipped = sum(one.outcome is Outcome.SKIPPED for one in checks)
        rest = f", {skipped} skipped" if skipped else ""
        lines.append(f"  proven    {held} of {len(checks) - skipped} checks hold in {total:.1f} s{rest}")
    for user in _user_data(done):
        shown = f", password {user['password']} (shown once)" if "password" in user else ""
        lines.append(f"  user      {user['name']}{shown}")
    user = next(iter([*done.passwords, *(done.survey.seen.users or ())]), "USER") if wanted.auth else None
    return [*lines, "", "Next:", *(f"  {command}" for command in _commands(wanted, user))]


def _commands(wanted: Deployment, user: str | None) -> list[str]:
    """Return what to type to push an image, with the client that is installed here."""
    import shutil

    client = next((one for one in ("docker", "podman") if shutil.which(one)), "docker")
    plain = " --tls-verify=false" if client == "podman" and wanted.scheme == "http" else ""
    login = [f"{client} login{plain} {wanted.address} -u {user}"] if user else []
    return [
        *login,
        f"{client} tag IMAGE {wanted.address}/IMAGE",
        f"{client} push{plain} {wanted.address}/IMAGE",
    ]
