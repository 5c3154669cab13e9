"""Images on the engine: is it here, pull it, load it from an archive."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.backends.distribution import CONFIG_2
from regsetup.backends.engine import EngineError, translated
from regsetup.errors import RegsetupError
from regsetup.host.files import write_atomic
from regsetup.step import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regsetup.backends.engine import Engine

_MACHINES = {  # uname(2) as the engine tells it, to GOARCH
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_INDEX_LIMIT = 1 << 20  # bytes; manifest.json of an archive with hundreds of images is below 100 KiB


class ImageNotFound(RegsetupError):
    """The image is neither here nor can it be pulled."""

    code = "image-not-found"

    def __init__(self, reference: str, cause: str) -> None:
        super().__init__(
            f"image {reference} is not on this engine and can't be pulled",
            cause=cause,
            fix="where there is a network: docker save -o FILE registry:2; here: regsetup up --image-archive "
            "FILE. Or: regsetup up --backend embedded, which needs no image",
        )


class BadArchive(RegsetupError):
    """The file is not an image archive, or not of the wanted image."""

    code = "bad-image-archive"


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the engine.

    Attributes:
        config_path: the file that the image's own command reads its configuration from.
    """

    id: str
    config_path: str


@dataclass(frozen=True, slots=True)
class Archive:
    """What ``docker save`` wrote: the tags, and the ids by which an engine may know the image.

    ``os`` and ``architecture`` are those of Go, empty where the archive does not say.
    """

    tags: tuple[str, ...]
    ids: frozenset[str]
    os: str = ""
    architecture: str = ""


def find(engine: Engine, reference: str) -> Image | None:
    """Return the image that the engine has under ``reference``, None if it has none."""
    from docker.errors import ImageNotFound as NoSuchImage

    with translated():
        try:
            image = engine.client.images.get(reference)
        except NoSuchImage:
            return None
    return Image(str(image.id), _config_path(image.attrs.get("Config") or {}))


def _config_path(config: dict[str, Any]) -> str:
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return next(
        (word for word in words if word.startswith("/") and word.endswith((".yml", ".yaml"))), CONFIG_2
    )


def pull(engine: Engine, reference: str, progress: Callable[[Progress], None]) -> None:
    """Pull ``reference``, telling the bytes of all layers together.

    Raises:
        ImageNotFound: no network, no such image, or no rights on it; the cause is the engine's answer.
    """
    layers: dict[str, tuple[int, int]] = {}
    repository, tag = _split(reference)
    try:
        with translated():
            for event in engine.client.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise ImageNotFound(reference, str(event["error"]))
                detail = event.get("progressDetail") or {}
                if "id" in event and detail.get("total"):
                    layers[event["id"]] = (int(detail.get("current", 0)), int(detail["total"]))
                done, total = (
                    (sum(column) for column in zip(*layers.values(), strict=True)) if layers else (0, 0)
                )
                progress(Progress(str(event.get("status", "")), done, total))
    except EngineError as error:
        raise ImageNotFound(reference, error.cause or error.message) from error


def _split(reference: str) -> tuple[str, str]:
    """Return what the engine's pull takes as name and tag; a digest stands in the tag's place."""
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return name, digest
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def read_archive(path: Path) -> Archive:
    """Read which image an archive holds, without loading it.

    Raises:
        BadArchive: not a tar file of ``docker save``, or more than one image.
    """
    try:
        with tarfile.open(path) as tar:
            manifest = _member(tar, "manifest.json")
            index = _member(tar, "index.json") or {}
            config = _config_name(manifest)
            described = _member(tar, config) or {} if config else {}
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BadArchive(
            f"{path} is not an image archive",
            cause=getattr(error, "strerror", None)
            or str(error).partition(":\n")[0],  # tarfile goes on with a line for every compression
            fix="docker save -o FILE registry:2 writes one",
        ) from error
    if not isinstance(manifest, list) or len(manifest) != 1:
        raise BadArchive(
            f"{path} does not hold exactly one image",
            cause="it has no manifest.json" if manifest is None else f"manifest.json lists {len(manifest)}",
            fix="docker save -o FILE registry:2 writes one",
        )
    encoded = config.rsplit("/", 1)[-1].removesuffix(".json")
    ids = {f"sha256:{encoded}", *(str(entry.get("digest")) for entry in index.get("manifests", ()))}
    runs_on = [str(described.get(key, "")) for key in ("os", "architecture")]
    return Archive(tuple(manifest[0].get("RepoTags") or ()), frozenset(ids), *runs_on)


def _config_name(manifest: Any) -> str:
    if not isinstance(manifest, list) or len(manifest) != 1:
        return ""
    return str(manifest[0].get("Config", ""))


def foreign(engine: Engine, archive: Archive) -> str | None:
    """Say why this engine can't run the archive's image, None if it can, or if either does not say."""
    here = _MACHINES.get(str(engine.info.get("Architecture")))
    if not archive.architecture or here is None or archive.architecture == here:
        return None
    return f"its image is for {archive.architecture}, and this engine runs {here}"


def _member(tar: tarfile.TarFile, name: str) -> Any:
    try:
        file = tar.extractfile(name)
    except KeyError:
        return None
    return json.loads(file.read(_INDEX_LIMIT)) if file else None


def load(engine: Engine, path: Path, reference: str, progress: Callable[[Progress], None]) -> None:
    """Load an archive into the engine, and see that ``reference`` is there afterwards.

    Raises:
        BadArchive: the engine did not take it, or it holds another image.
    """
    total = path.stat().st_size

    def chunks() -> Any:
        done = 0
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                done += len(chunk)
                progress(Progress("loading", done, total))
                yield chunk

    try:
        with translated():
            for event in engine.client.api.load_image(chunks()):  # type: ignore[no-untyped-call]
                if "error" in event:
                    raise BadArchive(f"the engine did not take {path}", cause=str(event["error"]))
    except EngineError as error:
        raise BadArchive(f"the engine did not take {path}", cause=error.cause) from error
    if find(engine, reference) is None:
        tags = ", ".join(read_archive(path).tags) or "an image without a name"
        raise BadArchive(f"{path} holds {tags}, not {reference}", fix="name it with --image")


def save(engine: Engine, reference: str, path: Path) -> None:
    """Write an image into a new file, as ``docker save`` does.

    Raises:
        EngineError: it is not on the engine.
        CannotWrite: no rights, no space.
    """
    with translated():
        write_atomic(path, engine.client.api.get_image(reference), mode=0o600)


def runs_on(engine: Engine, reference: str) -> tuple[str, str]:
    """Return GOOS and GOARCH of an image on the engine."""
    with translated():
        attrs = engine.client.images.get(reference).attrs
    return str(attrs.get("Os", "")), str(attrs.get("Architecture", ""))


def newest(engine: Engine, reference: str) -> bool | None:
    """Ask whether the engine has what ``reference`` names at its registry now; None where it has none of it.

    Raises:
        ImageNotFound: no network, no such image, or no rights on it.
    """
    from docker.errors import ImageNotFound as NoSuchImage

    with translated():
        try:
            local = engine.client.images.get(reference).attrs.get("RepoDigests") or ()
        except NoSuchImage:
            local = None
    try:
        with translated():
            there = str(engine.client.images.get_registry_data(reference).id)
    except EngineError as error:
        raise ImageNotFound(reference, error.cause or error.message) from error
    return None if local is None else any(one.endswith(f"@{there}") for one in local)


def name(engine: Engine, image: str, reference: str) -> None:
    """Have ``reference`` mean the image of this id again."""
    repository, tag = _split(reference)
    with translated():
        engine.client.api.tag(image, repository, tag)


def remove_unused(engine: Engine, reference: str) -> None:
    """Remove an image that regsetup brought, unless a container still uses it."""
    from docker.errors import APIError
    from docker.errors import ImageNotFound as NoSuchImage

    with translated():
        try:
            engine.client.images.remove(reference)
        except NoSuchImage:
            return
        except APIError as error:
            if error.status_code != 409:  # conflict: a container uses it
                raise
