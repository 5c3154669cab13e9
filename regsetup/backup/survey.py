"""A consistent picture of a data directory that a registry goes on changing.

A push writes blobs, then the links of its layers, its manifest's link, and the tag's link last. It is read
the other way round: all tags first, then manifests, then layers, and only then the blobs that these name. So
whatever a tag that was read leads to had been written before; a push that ends later is outside as a whole,
or leaves layers without a name, which the next collection frees. Nothing is deleted meanwhile but by a
collection, and that is locked out. A link that is just being written is looked at again.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from regsetup.backup.format import TREE, blob_path
from regsetup.errors import RegsetupError
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Pieces = Iterable[bytes | memoryview]

_MAX_LINK = 256  # bytes; sha512:<128 hex> has 135
_AGAIN = 0.05  # seconds; registry:2 empties a link and writes it, which takes microseconds
_TRIES = 10
PIECE = 1 << 20  # bytes
AHEAD = 3  # pieces that may wait to be written while the next is read


class Part(Enum):
    """Which links, in the order in which they are to be read."""

    TAGS = re.compile(r"_manifests/tags/[^/]+/(?:current|index/[^/]+/[^/]+)/link")
    REVISIONS = re.compile(r"_manifests/revisions/[^/]+/[^/]+/link")
    LAYERS = re.compile(r"_layers/[^/]+/[^/]+/link")


class DataUnreadable(RegsetupError):
    """The registry's data can't be read by this user."""

    code = "data-unreadable"

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            f"the data in {where} can't be read",
            cause=cause,
            fix="sudo regsetup backup ..., or as the user that the registry runs as",
        )


@dataclass(frozen=True, slots=True)
class Blob:
    """Content of a registry: its path in the archive and its bytes.

    Attributes:
        pieces: each stays as it is until ``AHEAD`` more were taken.
    """

    path: str
    size: int
    pieces: Pieces


class Source(Protocol):
    """Where the data are read from: a directory, or a container's file system through its engine."""

    def links(self, part: Part) -> Iterator[tuple[str, bytes]]:
        """Yield paths below ``repositories`` and content."""
        ...

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int] | None:
        """Return the bytes of each blob that is there; None where that can't be told before reading."""
        ...

    def blobs(self, digests: frozenset[Digest]) -> Iterator[Blob]:
        """Yield those of the blobs that are there."""
        ...

    def extra(self) -> bytes | None:
        """Return the pull-through cache's ``scheduler-state.json``, None where there is none."""
        ...


@dataclass(slots=True)
class Picture:
    """Links by their path in the archive, and the blobs that they name.

    Attributes:
        unreadable: links that are damaged, and stay outside.
    """

    links: dict[str, str] = field(default_factory=dict)
    blobs: frozenset[Digest] = frozenset()
    unreadable: list[str] = field(default_factory=list)

    @property
    def tags(self) -> int:
        """How many tags there are."""
        return sum(path.endswith("/current/link") for path in self.links)


def take(source: Source) -> Picture:
    """Read the links in the order that makes them consistent.

    Raises:
        DataUnreadable: rights, or the disk.
    """
    found: dict[Part, dict[str, Digest]] = {}
    picture = Picture()
    for part in Part:
        found[part] = {}
        for path, content in source.links(part):
            try:
                found[part][path] = Digest.parse(content.decode("ascii"))
            except (BadReference, UnicodeDecodeError):
                picture.unreadable.append(path)
    manifests = {(_repository(path), digest) for path, digest in found[Part.REVISIONS].items()}
    whole = {path: digest for path, digest in found[Part.TAGS].items() if _whole(path, digest, manifests)}
    tags = {_tag(path) for path in whole if path.endswith("/current/link")}
    # A tag whose `current` is just being made or removed has an index only, and is no tag yet or any more.
    named = {path: digest for path, digest in whole.items() if _tag(path) in tags}
    kept = named | found[Part.REVISIONS] | found[Part.LAYERS]
    picture.links = {f"{TREE}/repositories/{path}": str(digest) for path, digest in kept.items()}
    picture.blobs = frozenset(found[Part.REVISIONS].values()) | frozenset(found[Part.LAYERS].values())
    return picture


def _whole(path: str, digest: Digest, manifests: set[tuple[str, Digest]]) -> bool:
    """Tell whether a tag's manifest is still there: somebody may have deleted it since the tag was read."""
    return (_repository(path), digest) in manifests


def _tag(path: str) -> str:
    return path.removesuffix("/current/link").partition("/index/")[0]


def _repository(path: str) -> str:
    return path.partition("/_manifests/")[0]


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A data directory that this process can read."""

    root: Path

    def links(self, part: Part) -> Iterator[tuple[str, bytes]]:
        """See ``Source.links``."""
        base = self.root / "docker/registry/v2/repositories"
        try:
            for repository in _repositories(str(base)):
                for path in _links(repository, part):
                    if (content := _read_link(path)) is not None:
                        yield os.path.relpath(path, base), content
        except OSError as error:
            raise DataUnreadable(str(self.root), f"{error.filename}: {error.strerror}") from error

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int] | None:
        """See ``Source.sizes``."""
        found = {}
        for digest in digests:
            with suppress(FileNotFoundError):
                found[digest] = self._path(digest).stat().st_size
        return found

    def blobs(self, digests: frozenset[Digest]) -> Iterator[Blob]:
        """See ``Source.blobs``."""
        for digest in sorted(digests):
            try:
                with self._path(digest).open("rb", buffering=0) as file:
                    pieces = _pieces(file.fileno(), self._path(digest))
                    yield Blob(blob_path(digest), os.fstat(file.fileno()).st_size, pieces)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                raise DataUnreadable(str(self.root), f"{self._path(digest)}: {error.strerror}") from error

    def extra(self) -> bytes | None:
        """See ``Source.extra``."""
        try:
            return (self.root / "scheduler-state.json").read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, digest: Digest) -> Path:
        return self.root / blob_path(digest).removeprefix("data/")


def _pieces(descriptor: int, path: Path) -> Iterator[memoryview]:
    """Yield a file's bytes, in a ring of buffers: the next piece does not overwrite the ones before it."""
    length = min(PIECE, os.fstat(descriptor).st_size + 1)  # most files are small
    ring: deque[memoryview] = deque()
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    while True:
        buffer = ring.popleft() if len(ring) > AHEAD else memoryview(bytearray(length))
        ring.append(buffer)
        try:
            count = os.readv(descriptor, [buffer])
        except OSError as error:
            raise DataUnreadable(str(path), error.strerror or str(error)) from error
        if not count:
            return
        yield buffer[:count]


def _repositories(directory: str) -> Iterator[str]:
    """Yield each directory that has links below; names that begin with ``_`` are a repository's own."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    if "_manifests" in names or "_layers" in names:
        yield directory
    for name in names:
        if not name.startswith(("_", ".")):
            yield from _repositories(f"{directory}/{name}")


def _links(repository: str, part: Part) -> Iterator[str]:
    if part is Part.TAGS:
        for tag in _names(f"{repository}/_manifests/tags"):
            yield f"{tag}/current/link"
            yield from _digests(f"{tag}/index")
    elif part is Part.REVISIONS:
        yield from _digests(f"{repository}/_manifests/revisions")
    else:
        yield from _digests(f"{repository}/_layers")


def _digests(directory: str) -> Iterator[str]:
    for algorithm in _names(directory):
        for digest in _names(algorithm):
            yield f"{digest}/link"


def _names(directory: str) -> list[str]:
    """Return the paths of the directories within, none where there is no such directory."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_link(path: str) -> bytes | None:
    """Return a link's content; None where it is gone. One that is being written is read again."""
    content = b""
    for _ in range(_TRIES):
        try:
            with Path(path).open("rb") as file:
                content = file.read(_MAX_LINK)
        except FileNotFoundError:
            return None
        if len(content) in (71, 135):  # sha256:<64 hex>, sha512:<128 hex>
            return content
        time.sleep(_AGAIN)
    return content
