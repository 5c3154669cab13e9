"""Reads a bundle once from front to back, and believes nothing of it before its checksum was compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import tarfile
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regsetup.bundle.format import (
    ABOUT,
    IMAGE,
    KIND,
    SUMS,
    About,
    BundleDamaged,
    BundleUnsafe,
    NotABundle,
    parse_sums,
)
from regsetup.errors import RegsetupError
from regsetup.host.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_PIECE = 1 << 20  # bytes
_SMALL = 1 << 20  # bytes; bundle.json and SHA256SUMS of a hundred wheels have some ten thousand
_BLOCK = tarfile.BLOCKSIZE


class BundleUnreadable(RegsetupError):
    """The file is not there, or this user may not read it."""

    code = "bundle-unreadable"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} can't be read", cause=error.strerror or str(error), fix=f"ls -l {path}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every byte was checked: what it says of itself, and the size of each file in it."""

    path: Path
    about: About
    sizes: dict[str, int] = field(default_factory=dict)


def read(path: Path, image: Path | None = None) -> Bundle:
    """Check a bundle whole; with ``image`` its image is written there meanwhile, to be used afterwards.

    Raises:
        BundleUnreadable, NotABundle, BundleTooNew, BundleDamaged, BundleUnsafe.
        CannotWrite: the image can't be written.
    """
    try:
        with path.open("rb") as file, _opened(path, file) as tar:
            return _Reader(path, file, tar, image).read()
    except OSError as error:
        raise BundleUnreadable(path, error) from error


@contextlib.contextmanager
def _opened(path: Path, file: BinaryIO) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  closed below
    except tarfile.TarError as error:
        raise NotABundle(path, f"it is no tar: {error}") from error
    with tar:
        yield tar


class _Reader:
    def __init__(self, path: Path, file: BinaryIO, tar: tarfile.TarFile, image: Path | None) -> None:
        self._path, self._file, self._tar, self._image = path, file, tar, image
        self._end = 0  # where the last member that was read ends, a whole number of blocks
        self._last = "the beginning"

    def read(self) -> Bundle:
        first = self._next()
        if first is None or first.name != f"{KIND}/{ABOUT}":
            raise NotABundle(self._path, _what_else(first), _fix(first))
        about = self._small(first)
        listed = parse_sums(self._path, self._small(self._require(SUMS)).decode(errors="replace"))
        if hashlib.sha256(about).hexdigest() != listed.pop(ABOUT, None):
            raise BundleDamaged(self._path, f"{ABOUT} does not have the checksum that {SUMS} names")
        described = About.parse(self._path, _object(self._path, about))
        sizes = {}
        while member := self._next():
            name = self._checked_name(member)
            if name not in listed:
                raise BundleUnsafe(self._path, name, f"which {SUMS} does not name")
            self._compare(member, name, listed.pop(name))
            sizes[name] = member.size
        if listed:
            raise BundleDamaged(self._path, f"{min(listed)} is missing; it is cut off after {self._last}")
        self._rest_is_empty()
        return Bundle(self._path, described, sizes)

    def _next(self) -> tarfile.TarInfo | None:
        try:
            return self._tar.next()
        except (tarfile.TarError, ValueError, OverflowError) as error:  # numbers in extended headers
            raise BundleDamaged(self._path, f"it is cut off after {self._last} ({error})") from error

    def _require(self, name: str) -> tarfile.TarInfo:
        member = self._next()
        if member is None or member.name != f"{KIND}/{name}":
            raise BundleDamaged(self._path, f"{name} is missing after {self._last}")
        return member

    def _checked_name(self, member: tarfile.TarInfo) -> str:
        name = member.name
        if posixpath.isabs(name) or ".." in name.split("/") or not name.startswith(f"{KIND}/"):
            raise BundleUnsafe(self._path, name, "which would lie outside")
        if not member.isreg():
            raise BundleUnsafe(self._path, name, "which is no file")
        return name.removeprefix(f"{KIND}/")

    def _small(self, member: tarfile.TarInfo) -> bytes:
        if not member.isreg() or member.size > _SMALL:
            raise BundleDamaged(self._path, f"{member.name} can't be as long as {member.size} bytes")
        return b"".join(self._pieces(member))

    def _compare(self, member: tarfile.TarInfo, name: str, wanted: str) -> None:
        digest = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            for piece in self._pieces(member):
                digest.update(piece)
                yield piece

        if name == IMAGE and self._image is not None:
            write_atomic(self._image, pieces(), mode=0o600)
        else:
            deque(pieces(), maxlen=0)
        if digest.hexdigest() != wanted:
            raise BundleDamaged(self._path, f"{name} does not have the checksum that {SUMS} names")

    def _pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield what a member holds, and see that only zeros fill its last block."""
        self._file.seek(member.offset_data)
        left = member.size
        while left:
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise BundleDamaged(self._path, f"it is cut off in {member.name}")
            left -= len(piece)
            yield piece
        if any(self._file.read(-member.size % _BLOCK)):
            raise BundleDamaged(self._path, f"something follows {member.name}")
        self._end, self._last = self._file.tell(), member.name

    def _rest_is_empty(self) -> None:
        """A header that was damaged ends the archive for tarfile, without a word."""
        self._file.seek(self._end)
        while piece := self._file.read(_PIECE):
            if any(piece):
                raise BundleDamaged(self._path, f"something follows {self._last}")


def _object(path: Path, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BundleDamaged(path, f"{ABOUT} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise NotABundle(path, f"{ABOUT} is of another kind")
    return content


def _what_else(first: tarfile.TarInfo | None) -> str:
    return "it is empty" if first is None else f"a bundle begins with {KIND}/{ABOUT}, this with {first.name}"


def _fix(first: tarfile.TarInfo | None) -> str | None:
    """An image archive begins with a layer, its config or ``blobs/``, a backup with its own description."""
    if first is not None and (first.name.startswith("blobs") or len(first.name.partition("/")[0]) >= 64):
        return "if it is an image archive: --image-archive FILE"
    return None
