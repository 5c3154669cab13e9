"""What ``up`` has to say: the plan before, and afterwards what there is, proven, and what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regsetup import acme
from regsetup.cli import render
from regsetup.cli.progress import thing

if TYPE_CHECKING:
    from regsetup.deploy import Deployed
    from regsetup.deployment import Deployment
    from regsetup.load import Loaded
    from regsetup.smoke import Check
    from regsetup.step import Plan


def planned(found: Deployed, *, exit_code: bool) -> render.Outcome:
    """Show the plan; with ``exit_code`` pending changes end the program with 3."""
    pending = bool(found.plan.pending)
    notes = for_containers(found)
    return render.Outcome(
        data=plan_data(found) | {"pending": len(found.plan.pending), "notes": list(notes)},
        lines=(
            plan_table(found.plan),
            *(() if pending else ("nothing to do",)),
            *(f"note  {note}" for note in notes),
        ),
        code=3 if pending and exit_code else 0,
    )


def plan_data(found: Deployed) -> dict[str, Any]:
    """Return a plan as ``--json`` shows it."""
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


def plan_table(plan: Plan) -> Any:
    """Return a plan as a table for people."""
    from rich.table import Column, Table

    what = Column("what", overflow="fold")
    table = Table("action", what, "why", "images", "restarts", box=None, pad_edge=False)
    for step in plan.steps:
        style = None if step.changes else "dim"
        row = (str(step.action), thing(step), step.reason, step.data_impact, ", ".join(step.restarts) or "-")
        table.add_row(*row, style=style)
    return table


def finished(done: Deployed, loaded: Loaded, *, check: bool) -> render.Outcome:
    """Prove it, and say what there is, who may enter and what to type next."""
    from regsetup.cli.check import failed, table, tell
    from regsetup.prove import prove_here

    wanted, found = done.survey.wanted, done.survey
    checks = prove_here(wanted, found.paths, found.choice, tell) if check else ()
    errors = failed(checks)
    data = plan_data(done) | {
        "address": wanted.address,
        "url": f"{wanted.scheme}://{wanted.address}",
        "auth": wanted.auth,
        "users": _user_data(done),
        "notes": [
            *done.survey.choice.runtime.notes,
            *acme.notes(wanted),
            *for_containers(done),
            *_for_root(done),
        ],
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
    for added in _user_data(done):
        shown = f", password {added['password']} (shown once)" if "password" in added else ""
        lines.append(f"  user      {added['name']}{shown}")
    user = next(iter([*done.passwords, *(done.survey.seen.users or ())]), "USER") if wanted.auth else None
    lines += [
        f"  note      {note}"
        for note in (
            *choice.runtime.notes,
            *acme.notes(wanted),
            *for_containers(done),
            *_no_mirror(wanted),
            *_for_root(done),
            *_unknown_authority(done),
        )
    ]
    return [
        *lines,
        *_elsewhere(wanted),
        "",
        "Next:",
        *(f"  {command}" for command in _commands(wanted, user, checks)),
    ]


def for_containers(done: Deployed) -> tuple[str, ...]:
    """Say which variables the bundled registry does not read; they stay, for it may become a container."""
    from regsetup.backends.variables import ignored

    return () if done.survey.choice.engine else ignored(done.survey.wanted.env)


def _unknown_authority(done: Deployed) -> list[str]:
    """Say that clients need the CA of a certificate of one's own, if this machine does without it."""
    from regsetup.deployment import Tls
    from regsetup.probe import is_widely_known
    from regsetup.trust.rights import by_root

    wanted = done.survey.wanted
    if wanted.tls is not Tls.OWN or is_widely_known(wanted, done.survey.paths):
        return []
    told = by_root(("--host", wanted.address, "--ca", "FILE"))
    return [f"this machine does not know who signed {wanted.cert}; each client needs that CA: {told}"]


def _for_root(done: Deployed) -> list[str]:
    """Say which clients of this machine only root may tell."""
    from regsetup.step import Action, Resource
    from regsetup.trust.rights import NEEDED

    kept = [one for one in done.plan.steps if (one.resource, one.action) == (Resource.TRUST, Action.KEEP)]
    return [f"{one.target} is not told: {one.reason}" for one in kept if NEEDED in one.reason]


def _no_mirror(wanted: Deployment) -> list[str]:
    """Say why the engine does not ask this cache by itself."""
    from regsetup.trust_here import why_no_mirror

    reason = why_no_mirror(wanted)
    return [reason] if reason else []


def _elsewhere(wanted: Deployment) -> list[str]:
    """Return what lets other machines in, where their engines would refuse the registry as it is."""
    from regsetup.called import exporting, named
    from regsetup.deployment import Tls, is_loopback

    if is_loopback(wanted.bind) or (wanted.tls is not Tls.SELF_SIGNED and not wanted.insecure):
        return []
    return ["", "For each other machine, once:", f"  {named(exporting(), wanted.name)}"]


def _commands(wanted: Deployment, user: str | None, checks: tuple[Check, ...]) -> list[str]:
    """Return what to type to push an image: with docker, unless its engine could not be used, or podman."""
    import os
    import shutil

    from regsetup.backends.engine import untold
    from regsetup.smoke import Outcome

    own = untold(os.environ)
    engine = [f"export DOCKER_HOST={own}"] if own else []
    if wanted.mirror_of:
        from regsetup.trust_here import told, why_no_mirror

        first = why_no_mirror(wanted) is None and wanted.address in told(wanted)
        return [*engine, f"docker pull {'' if first else f'{wanted.address}/'}IMAGE"]
    unusable = any(one.name == "engine" and one.outcome is Outcome.SKIPPED for one in checks)
    here = ("podman", "docker") if unusable else ("docker", "podman")
    client = next((one for one in here if shutil.which(one)), "docker")
    plain = " --tls-verify=false" if client == "podman" and wanted.scheme == "http" else ""
    login = [f"{client} login{plain} {wanted.address} -u {user}"] if user else []
    return [
        *(engine if client == "docker" else ()),
        *login,
        f"{client} tag IMAGE {wanted.address}/IMAGE",
        f"{client} push{plain} {wanted.address}/IMAGE",
    ]
