"""``regsetup bundle create``, ``verify``, ``list``: what a machine without a network needs, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import options, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from regsetup.bundle.format import About
    from regsetup.bundle.writing import Image

File = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")]


class BadTarget(UsageError):
    """A Python version or platform that wheels can't be for."""

    code = "bad-wheel-target"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        cls=render.Group,
        help="Pack all that a machine without a network needs into one file.",
        no_args_is_help=True,
    )
    render.command(family, "create", family="bundle")(create)
    render.command(family, "verify", family="bundle")(verify)
    render.command(family, "list", family="bundle")(list_)
    app.add_typer(family, name="bundle")


def create(
    file: File,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="Image (default: registry:2 where an engine has it)."),
    ] = None,
    image_archive: Annotated[
        Path | None,
        typer.Option("--image-archive", metavar="TAR", help="Take the image from `docker save` output."),
    ] = None,
    no_image: Annotated[
        bool, typer.Option("--no-image", help="For the bundled registry, which needs none.")
    ] = False,
    no_wheels: Annotated[
        bool, typer.Option("--no-wheels", help="For machines that have regsetup already.")
    ] = False,
    platforms: Annotated[
        list[str] | None,
        typer.Option(
            "--platform",
            metavar="TAG",
            help="Wheels for another machine, as manylinux2014_aarch64. Repeatable.",
        ),
    ] = None,
    python_version: Annotated[
        str | None,
        typer.Option("--python-version", metavar="X.Y", help="Wheels for another Python, as 3.12."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Pack registry image, regsetup's wheels, an installer and checksums into one tar.

    There: tar -xf FILE, sh regsetup-bundle/install.sh, regsetup up --bundle FILE.
    Without an engine the bundle is for the bundled registry.
    """
    import re

    from regsetup.bundle.wheels import Target
    from regsetup.bundle.writing import create as write

    if no_image and (image or image_archive):
        raise UsageError("--no-image and the choice of an image exclude each other", fix="leave one out")
    if python_version is not None and not re.fullmatch(r"3\.[0-9]{1,2}", python_version):
        raise BadTarget(f"--python-version: {python_version!r} is no version", fix="give it as in 3.12")
    target = None if no_wheels else Target(tuple(platforms or ()), python_version)
    notes: list[str] = []
    taken = None if no_image else _image(image, image_archive, notes)
    made = write(file, taken, target, render.say, force=force)
    size = file.stat().st_size
    data = _data(file, made.about, made.sizes) | {"size": size, "notes": notes}
    lines = [f"{file} is written, {_mib(size)}", *_inside(made.about, made.sizes)]
    lines += [f"  note      {note}" for note in notes]
    lines += ["", "Next, on the other machine:", *(f"  {line}" for line in _next(file, made.about))]
    return render.Outcome(data, tuple(lines), changed=True)


def _image(reference: str | None, archive: Path | None, notes: list[str]) -> Image | None:
    """Return the image that was asked for, or the default one where an engine has it."""
    from regsetup.backends import images
    from regsetup.backends.context import BadContext
    from regsetup.backends.engine import EngineDown, EngineNoRights, EngineTls, connect
    from regsetup.bundle.format import ImageInside
    from regsetup.bundle.writing import Image
    from regsetup.deployment import DEFAULT_IMAGE
    from regsetup.host.ssh import SshFailed

    if archive is not None:
        found = images.read_archive(archive)
        if reference not in (None, *found.tags):
            raise images.BadArchive(
                f"{archive} holds {', '.join(found.tags) or 'an image without a name'}, not {reference}"
            )
        name = reference or next(iter(found.tags), DEFAULT_IMAGE)
        return Image(ImageInside(name, found.os, found.architecture), lambda _path: archive)
    try:
        engine = connect()
    except (EngineDown, EngineNoRights, EngineTls, SshFailed, BadContext) as error:
        if reference is not None:
            raise
        notes.append(f"no image: {error.message}; the bundled registry needs none")
        return None
    wanted = reference or DEFAULT_IMAGE
    if images.find(engine, wanted) is None:
        if reference is None:
            notes.append(f"no image: {wanted} is not on this engine; the bundled registry needs none")
            return None
        raise images.ImageNotFound(
            wanted, f"nothing is pulled for a bundle; docker pull {wanted} brings it here"
        )
    inside = ImageInside(wanted, *images.runs_on(engine, wanted))

    def put(path: Path) -> Path:
        images.save(engine, wanted, path)
        return path

    return Image(inside, put)


def verify(file: File, as_json: options.AsJson = False, quiet: options.Quiet = False) -> render.Outcome:
    """Read a bundle whole and compare every file in it with its checksum."""
    from regsetup.bundle.reading import read

    found = read(file)
    count = len(found.sizes) + 2  # bundle.json and SHA256SUMS themselves
    lines = (f"{file} is whole: {count} files have their checksums", *_inside(found.about, found.sizes))
    return render.Outcome(_data(file, found.about, found.sizes), lines)


def list_(file: File, as_json: options.AsJson = False, quiet: options.Quiet = False) -> render.Outcome:
    """Show what is in a bundle; it is checked as well."""
    from rich.table import Column, Table

    from regsetup.bundle.reading import read

    found = read(file)
    table = Table("file", Column("size", justify="right"), box=None, pad_edge=False)
    for name, size in found.sizes.items():
        table.add_row(name, _mib(size))
    lines: tuple[Any, ...] = (
        f"made by regsetup {found.about.regsetup}",
        *_inside(found.about, found.sizes),
        table,
    )
    return render.Outcome(_data(file, found.about, found.sizes), lines)


def _data(file: Path, about: About, sizes: dict[str, int]) -> dict[str, Any]:
    from dataclasses import asdict

    return {"bundle": str(file), **asdict(about), "files": sizes}


def _inside(about: About, sizes: dict[str, int]) -> list[str]:
    from regsetup.bundle.format import IMAGE, WHEELS

    image, wheels = about.image, about.wheels
    shown = "none: for the bundled registry"
    if image is not None:
        runs_on = f", {image.os}/{image.architecture}" if image.architecture else ""
        shown = f"{image.reference}{runs_on}, {_mib(sizes[IMAGE])}"
    lines = [f"  image     {shown}"]
    count = sum(name.startswith(WHEELS) for name in sizes)
    what = f"{count}, for Python {wheels.python} on {wheels.machine}" if wheels else "none"
    return [*lines, f"  wheels    {what}"]


def _next(file: Path, about: About) -> list[str]:
    install = [f"tar -xf {file.name}", "sh regsetup-bundle/install.sh"] if about.wheels else []
    return [*install, f"regsetup up --bundle {file.name}"]


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
