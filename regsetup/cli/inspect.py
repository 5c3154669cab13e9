"""``regsetup inspect``: what an image consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regsetup.cli import remote, render
from regsetup.cli.gc import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer
    from rich.text import Text

    from regsetup.client import Descriptor
    from regsetup.contents.inspection import Image
    from regsetup.image.document import Part

_GAP = 2  # blanks between label and text
_CONFIG = (  # image-spec, "Image Configuration"; as people call it
    ("user", "User"),
    ("workdir", "WorkingDir"),
    ("entrypoint", "Entrypoint"),
    ("cmd", "Cmd"),
    ("env", "Env"),
    ("ports", "ExposedPorts"),
    ("volumes", "Volumes"),
    ("stops by", "StopSignal"),
    ("labels", "Labels"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "inspect")(inspect)


@remote.reaching
def inspect(way: remote.Way, ref: remote.Ref, platform: remote.Platform = None) -> render.Outcome:
    """Show what an image consists of: configuration, layers, sizes, platforms, and what refers to it."""
    from regsetup.contents import inspection

    with way.to_image(ref, platform) as found:
        image = inspection.inspect(found.reached.client, found.repository, found.manifest)
        address = found.reached.place.address
    shown = ref.removeprefix(f"{address}/")
    data = {"ref": ref, "registry": address, "repository": found.repository, **_data(image)}
    return render.Outcome(data, tuple(_lines(f"{address}/{shown}", image)))


def _data(image: Image) -> dict[str, Any]:
    return {
        "digest": str(image.digest),
        "media_type": image.media_type,
        "artifact_type": image.artifact_type,
        "size": image.size,
        "total": image.total,
        "platform": str(image.platform) if image.platform else None,
        "platforms": [str(one) for one in image.platforms],
        "created": image.created,
        "annotations": dict(image.annotations),
        "subject": str(image.subject) if image.subject else None,
        "config": image.config or None,
        "config_digest": str(image.blobs[0].digest) if image.blobs and not image.is_index else None,
        "layers": [_part(one) for one in image.layers],
        "images": [_data(one) for one in image.children],
        "referrers": [_referrer(one) for one in image.referrers],
        "problem": image.problem,
    }


def _part(part: Part) -> dict[str, Any]:
    return {"digest": str(part.digest), "size": part.size, "media_type": part.media_type}


def _referrer(one: Descriptor) -> dict[str, Any]:
    return {
        "digest": str(one.digest),
        "size": one.size,
        "media_type": one.media_type,
        "artifact_type": one.artifact_type,
        "annotations": dict(one.annotations),
    }


def _lines(name: str, image: Image) -> Iterator[Text]:
    """Yield label and text in two columns; a digest is never broken, so that it can be copied."""
    from rich.text import Text

    rows = [("image", name), *_rows(image, "")]
    width = max(len(label) for label, _ in rows) + _GAP
    for label, text in rows:
        first, *more = render.clean(text).split("\n")
        yield Text.assemble((f"{render.clean(label):<{width}}" if first else label, "bold"), first)
        yield from (Text(f"{'':<{width}}{line}") for line in more)


def _rows(image: Image, indent: str) -> Iterator[tuple[str, str]]:
    """Yield label and text of each row; what is below an index is indented."""
    from rich.filesize import decimal

    yield f"{indent}digest", str(image.digest)
    yield f"{indent}type", image.artifact_type or image.media_type
    if image.problem:
        yield f"{indent}problem", image.problem
    below = ", ".join(map(str, image.platforms))
    if below:
        yield f"{indent}platform", below
    if image.created:
        yield f"{indent}created", image.created
    if image.sizes:
        yield f"{indent}size", f"{decimal(image.total)} in {count(len(image.sizes), 'blob')}"
    if image.subject:
        yield f"{indent}refers to", str(image.subject)
    yield from _listed(f"{indent}annotation", image.annotations)
    yield from _config(image, indent)
    for layer in image.layers:
        yield f"{indent}layer", f"{layer.digest}  {decimal(layer.size)}"
    for one in image.referrers:
        yield f"{indent}referrer", f"{one.digest}  {one.artifact_type or one.media_type}"
    for child in image.children:
        is_platform = child.platform and child.platform.known
        yield "", ""
        yield f"{indent}{'image' if is_platform else 'other'}", str(child.platform) if is_platform else ""
        yield from _rows(child, f"{indent}  ")


def _config(image: Image, indent: str) -> Iterator[tuple[str, str]]:
    said = image.config.get("config")
    settings: dict[str, Any] = said if isinstance(said, dict) else {}
    for label, key in _CONFIG:
        yield from _listed(f"{indent}{label}", settings.get(key))


def _listed(label: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield a row for each entry of a mapping or list, or for a text; a command is one row."""
    if not value:
        return
    if isinstance(value, dict):
        for key, text in value.items():
            yield label, f"{key}={text}" if text not in ({}, None) else str(key)
    elif isinstance(value, list) and label.strip() in {"entrypoint", "cmd"}:
        yield label, " ".join(map(str, value))
    elif isinstance(value, list):
        for one in value:
            yield label, str(one)
    else:
        yield label, str(value)
