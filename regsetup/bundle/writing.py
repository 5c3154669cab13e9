"""Makes a bundle: parts are gathered in a directory of their own, the file appears when it is whole."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import __version__
from regsetup.bundle.format import ABOUT, IMAGE, INSTALLER, KIND, SUMS, WHEELS, About, sums_text
from regsetup.bundle.use import scratch
from regsetup.bundle.wheels import collect
from regsetup.errors import RegsetupError, UsageError
from regsetup.host.files import CannotWrite, write_atomic
from regsetup.templating import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regsetup.bundle.format import ImageInside, WheelsInside
    from regsetup.bundle.wheels import Target

_PIECE = 1 << 20  # bytes
_MOMENT = 315532800  # 1980-01-01: the same parts make the same bundle


class BundleExists(RegsetupError):
    """The file that would be written is there."""

    code = "bundle-exists"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists", fix="name another file, or --force to replace it")


class NothingToBundle(UsageError):
    """Neither image nor wheels were asked for."""

    code = "nothing-to-bundle"

    def __init__(self) -> None:
        super().__init__("without image and wheels a bundle is empty", fix="leave out one of the two flags")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle: its content, or where it lies."""

    name: str
    content: bytes | Path
    mode: int = 0o644

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def pieces(self) -> Iterator[bytes]:
        """Yield the content."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


@dataclass(frozen=True, slots=True)
class Image:
    """The image that goes in: its description, and what puts its archive at a path."""

    inside: ImageInside
    put: Callable[[Path], Path]


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written: what it says of itself, and the size of each file in it."""

    about: About
    sizes: dict[str, int]


def create(
    path: Path, image: Image | None, target: Target | None, tell: Callable[[str], None], *, force: bool
) -> Written:
    """Write a bundle.

    Args:
        image: None for a bundle of the bundled registry only.
        target: whom the wheels are for, None for a bundle without wheels.
        tell: is told what is being done.

    Raises:
        NothingToBundle, BundleExists, WheelsUnavailable, CannotWrite: no file of this name appears.
    """
    if image is None and target is None:
        raise NothingToBundle
    if path.exists() and not force:
        raise BundleExists(path)
    with scratch() as directory:
        parts = list(_gathered(directory, image, target, tell))
        about = About(__version__, image.inside if image else None, target.inside if target else None)
        head = Part(ABOUT, about.as_json().encode())
        digests = {part.name: _digest(part) for part in (head, *parts)}
        whole = [head, Part(SUMS, sums_text(digests).encode()), *parts]
        tell(f"writing {path}")
        write_atomic(path, _tar(whole))
        return Written(about, {part.name: part.size for part in whole})


def _gathered(
    directory: Path, image: Image | None, target: Target | None, tell: Callable[[str], None]
) -> Iterator[Part]:
    if target is not None:
        tell("fetching wheels")
        try:
            wheels = collect(directory / "wheels", target)
        except OSError as error:
            raise CannotWrite(Path(error.filename or directory), error) from error
        yield Part(INSTALLER, _installer(target.inside).encode(), 0o755)
        for wheel in wheels:
            yield Part(f"{WHEELS}{wheel.name}", wheel)
    if image is not None:
        tell(f"saving {image.inside.reference}")
        yield Part(IMAGE, image.put(directory / IMAGE))


def _installer(inside: WheelsInside) -> str:
    return render(
        "install.sh.j2", {"version": __version__, "python": inside.python, "machine": inside.machine}
    )


def _digest(part: Part) -> str:
    digest = hashlib.sha256()
    for piece in part.pieces():
        digest.update(piece)
    return digest.hexdigest()


def _tar(parts: Sequence[Part]) -> Iterator[bytes]:
    """Yield a tar, POSIX.1-1988 with GNU's long names, which every tar reads, busybox's too."""
    for part in parts:
        entry = tarfile.TarInfo(f"{KIND}/{part.name}")
        entry.size, entry.mode, entry.mtime = part.size, part.mode, _MOMENT
        yield entry.tobuf(tarfile.GNU_FORMAT)
        yield from part.pieces()
        yield bytes(-part.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
