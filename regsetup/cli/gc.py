"""``regsetup gc``: delete what no image needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from regsetup import amounts
from regsetup.cli import options, render
from regsetup.cli.status import NoRegistry
from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.contents.collect import Swept
    from regsetup.deployment import Deployment, Paths
    from regsetup.registry.gc import Collected

_LEAST = 60.0  # seconds; the registry may be telling somebody right now that a blob exists


class BadDuration(UsageError):
    """``--grace`` is no duration, or too short for a registry that runs."""

    code = "bad-duration"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"--grace {text!r} {reason}", fix="a number with s, m, h or d: --grace 2h")


class Damaged(RegsetupError):
    """Something in a repository leads nowhere; the collector left that repository alone."""

    code = "damaged"
    exit_code = 3

    def __init__(self, repository: str, what: str) -> None:
        super().__init__(
            f"{repository}: {what}",
            cause="what it needs can't be known, so everything in this repository stays",
            fix="push the image again, or delete the tag or manifest; then regsetup gc again",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "gc")(gc)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    untagged: Annotated[
        bool, typer.Option("--untagged", help="Also delete manifests that no tag leads to.")
    ] = False,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace", metavar="DURATION", help="Keep what was asked for within this time (default: 1h)."
        ),
    ] = None,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Delete blobs that no image needs. The bundled registry serves on meanwhile.

    A container is stopped for it, checked before and after, and started again. Exits with 3 if
    something is damaged.
    """
    from regsetup.backends.choice import reopen
    from regsetup.backup.make import no_collection
    from regsetup.state import exclusive, read
    from regsetup.status import remembered

    seconds = _duration(grace)
    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    wanted, choice = remembered(paths), reopen(paths, state)
    if choice.engine is None:
        with no_collection(paths):
            outcome = _bundled(wanted, seconds, untagged=untagged, dry_run=dry_run)
        return _noted(paths, outcome)
    if grace is not None:
        raise UsageError(
            "--grace is for the bundled registry", cause="registry:2 has no grace period: it is stopped"
        )
    with exclusive(paths), no_collection(paths):
        outcome = _container(wanted, paths, choice, untagged=untagged, dry_run=dry_run)
    return _noted(paths, outcome)


def _noted(paths: Paths, outcome: render.Outcome) -> render.Outcome:
    """Remember when it was, for ``status``."""
    from regsetup import history

    if not outcome.data["dry_run"]:
        history.note_collection(paths, outcome.data["freed"])
    return outcome


def _duration(text: str | None) -> float:
    from regsetup.registry.gc import GRACE

    if text is None:
        return GRACE
    seconds = amounts.seconds(text)
    if seconds is None:
        raise BadDuration(text, "is no duration")
    if seconds < _LEAST:
        raise BadDuration(text, f"is shorter than {_LEAST:g} seconds: a push may be using what looks unused")
    return seconds


def _bundled(wanted: Deployment, grace: float, *, untagged: bool, dry_run: bool) -> render.Outcome:
    from regsetup.backends.serve_command import data_directory
    from regsetup.registry.collecting import collect_in

    root: Path = data_directory(wanted)
    done = collect_in(root, grace=grace, untagged=untagged, dry_run=dry_run)
    damaged = tuple(Damaged(one.repository, one.what) for one in done.damaged)
    return render.Outcome(
        {
            "name": wanted.name,
            "dry_run": dry_run,
            "downtime": 0.0,
            "freed": done.freed,
            "manifests": [f"{repository}@{digest}" for repository, digest in done.manifests],
            "blobs": [{"digest": str(one.digest), "size": one.size} for one in done.blobs],
            "uploads": done.uploads,
            "kept": {"blobs": done.kept, "size": done.kept_size},
            "young": {"blobs": done.young, "size": done.young_size},
        },
        _lines(done, grace),
        changed=not dry_run and bool(done.blobs or done.manifests or done.uploads or done.leftovers),
        code=3 if damaged else 0,
        errors=damaged,
    )


def _lines(done: Collected, grace: float) -> tuple[str, ...]:
    from rich.filesize import decimal

    lines = []
    if done.dry_run:
        lines += [
            f"would be deleted: manifest {repository}@{digest}" for repository, digest in done.manifests
        ]
        lines += [f"would be deleted: blob {blob.digest} ({decimal(blob.size)})" for blob in done.blobs]
    verb = "would be freed" if done.dry_run else "freed"
    parts = [count(len(done.blobs), "blob")]
    parts += [count(len(done.manifests), "manifest")] if done.manifests else []
    parts += [count(done.uploads, "upload") + " of more than a week ago"] if done.uploads else []
    lines.append(f"{decimal(done.freed)} {verb}: {', '.join(parts)}")
    lines.append(f"{decimal(done.kept_size)} in use: {count(done.kept, 'blob')}")
    if done.young:
        lines.append(
            f"{decimal(done.young_size)} unused but asked for within {_shown(grace)}: "
            f"{count(done.young, 'blob')} stay until a later regsetup gc"
        )
    return tuple(lines)


def count(number: int, noun: str) -> str:
    """Return "1 blob" or "2 blobs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(seconds: float) -> str:
    unit = next(unit for unit in reversed(amounts.UNITS) if seconds % amounts.UNITS[unit] == 0)
    return f"{seconds / amounts.UNITS[unit]:g} {unit}"


def _container(
    wanted: Deployment, paths: Paths, choice: Choice, *, untagged: bool, dry_run: bool
) -> render.Outcome:
    from regsetup.contents.collect import sweep

    def told(text: str) -> None:
        render.say(f"  gc        {text}")

    done = sweep(wanted, paths, choice, untagged=untagged, dry_run=dry_run, told=told)
    damaged = tuple(Damaged(one.repository, one.what) for one in done.damaged)
    return render.Outcome(
        {
            "name": wanted.name,
            "dry_run": dry_run,
            "downtime": done.downtime,
            "freed": done.freed,
            "eligible": [str(digest) for digest in done.eligible],
            "tags": done.tags,
        },
        _container_lines(done, dry_run=dry_run),
        changed=not dry_run and bool(done.eligible),
        code=3 if damaged else 0,
        errors=damaged,
    )


def _container_lines(done: Swept, *, dry_run: bool) -> tuple[str, ...]:
    from rich.filesize import decimal

    if not done.eligible:
        return (f"nothing to do: all is in use by {count(done.tags, 'tag')}",)
    if dry_run:
        return (
            *(f"would be deleted: {digest}" for digest in done.eligible),
            "the registry would be stopped while they are deleted",
        )
    freed = "an unknown number of bytes" if done.freed is None else decimal(done.freed)
    return (
        f"{freed} freed: {count(len(done.eligible), 'object')}; down for {done.downtime:.1f} s",
        f"{count(done.tags, 'tag')} checked before and after: all of them resolve",
    )
