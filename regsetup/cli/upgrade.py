"""``regsetup upgrade`` and ``regsetup migrate``: something else serves the same, or the old one stays."""

from __future__ import annotations

import contextlib
from pathlib import Path  # noqa: TC003  Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.cli.check import tell
from regsetup.cli.status import NoRegistry
from regsetup.cli.up import seconds
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.deployment import Paths
    from regsetup.state import State
    from regsetup.upgrade import How, Preview, Upgraded

Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="Deadline for it to become healthy.")]


class NoSuchBackend(UsageError):
    """``--to`` names neither back end."""

    code = "no-such-backend"

    def __init__(self, text: str) -> None:
        super().__init__(f"--to {text!r} is no back end", fix="--to docker, or --to embedded")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "upgrade")(upgrade)
    render.command(app, "migrate")(migrate)


def upgrade(
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="Another image (default: the same, pulled anew)."),
    ] = None,
    image_archive: Annotated[
        Path | None,
        typer.Option("--image-archive", metavar="TAR", help="Load the image from `docker save` output."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would change, and change nothing.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --check: exit 3 if it would change something.")
    ] = False,
    wait: Wait = 60.0,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Run the registry from a newer or another image, and prove it before the old one goes.

    What was served before is looked for again; if something is missing or
    a check does not hold, the old container comes back. The bundled registry
    is as new as regsetup itself: upgrade that first.
    """
    from regsetup import upgrade as work
    from regsetup.load import Contradiction

    if exit_code and not check:
        raise Contradiction("--exit-code is for --check", fix="give both, or neither")
    paths, state = _find(name)
    archive = image_archive.absolute() if image_archive else None
    if check:
        return _previewed(work.preview(paths, state, image, archive), exit_code=exit_code)
    with _how(wait) as how:
        done = work.upgrade(paths, state, how, image=image, archive=archive)
    return _finished(done)


def migrate(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="docker|embedded",
            help="The back end to move to.",
            autocompletion=options.one_of("docker", "embedded"),
        ),
    ],
    wait: Wait = 60.0,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Have the other back end serve the same images, users, certificates and address.

    Nothing is copied. The old container or service stays until the new one is
    proven to serve everything, and comes back if it does not.
    """
    from regsetup import upgrade as work
    from regsetup.deployment import Backend

    if to not in (Backend.DOCKER, Backend.EMBEDDED):
        raise NoSuchBackend(to)
    paths, state = _find(name)
    if state.backend == to:
        return render.Outcome({"name": name, "backend": to}, (f"nothing to do: {name} runs on {to}",))
    with _how(wait) as how:
        return _finished(work.migrate(paths, Backend(to), how))


def _find(name: str) -> tuple[Paths, State]:
    from regsetup.state import read

    paths = options.find_paths(name)
    state = read(paths.state)
    if state is None:
        raise NoRegistry(name)
    return paths, state


@contextlib.contextmanager
def _how(wait: float) -> Iterator[How]:
    from regsetup.cli.passwords import Source
    from regsetup.cli.progress import Steps
    from regsetup.upgrade import How

    source = Source(stdin=False, file=None, generate=False)
    with Steps() as reporter:
        yield How(source.take, reporter, tell, seconds(wait))


def _previewed(found: Preview, *, exit_code: bool) -> render.Outcome:
    from regsetup.cli.summary import plan_data, plan_table

    lines: list[Any] = [plan_table(found.planned.plan)]
    if found.newest is not None:
        known = "is the newest of its name" if found.newest else "can be pulled anew: there is a newer one"
        lines.append(f"the image {known}")
    if found.unknown:
        lines.append(f"whether there is a newer image can't be told: {found.unknown.cause}")
    lines += found.notes
    lines.append(f"served now: {found.tags} tags" + ("" if found.damaged else ", all whole"))
    lines += [f"damaged: {one}" for one in found.damaged]
    if not found.pending and not found.unknown:
        lines.append("nothing to do")
    data = plan_data(found.planned) | {
        "pending": found.pending,
        "newest": found.newest,
        "notes": list(found.notes),
        "tags": found.tags,
        "damaged": list(found.damaged),
    }
    return render.Outcome(data, tuple(lines), code=3 if found.pending and exit_code else 0)


def _finished(done: Upgraded) -> render.Outcome:
    from regsetup.cli.summary import for_containers

    found = done.done.survey
    wanted, runtime = found.wanted, found.choice.runtime
    notes = [*runtime.notes, *for_containers(done.done)]
    image = wanted.image if found.choice.engine else None
    data = {
        "name": wanted.name,
        "backend": runtime.backend,
        "image": image,
        "url": f"{wanted.scheme}://{wanted.address}",
        "tags": done.tags,
        "downtime_seconds": None if done.downtime is None else round(done.downtime, 3),
        "checks": [one.as_dict() for one in done.checks],
        "notes": notes,
    }
    if not done.done.changed:
        return render.Outcome(data, (f"nothing to do: {wanted.name} is up to date",))
    held = sum(one.ok for one in done.checks)
    down = [f"  downtime  {done.downtime:.1f} s"] if done.downtime is not None else []
    lines = [
        f"{wanted.name} is up at {data['url']}",
        f"  runs as   {runtime.kind} {wanted.name}" + (f" from {image}" if image else ""),
        *down,
        f"  serves    what it did before: {done.tags} tags",
        f"  proven    {held} checks hold",
        *(f"  note      {note}" for note in notes),
    ]
    return render.Outcome(data, tuple(lines), changed=True)
