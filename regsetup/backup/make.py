"""Makes a backup beside a registry that serves; it has its name only when it is complete and on disk."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import __version__
from regsetup.backup.archive import ArchiveWriter, is_packed
from regsetup.backup.format import HEADER, KEPT, SETTINGS, Header, blob_path, is_kept
from regsetup.backup.new_file import MODE, new_file
from regsetup.backup.objects import Objects
from regsetup.backup.repository import Repository
from regsetup.backup.survey import Picture, take
from regsetup.backup.target import is_directory, refuse_inside, refuse_other
from regsetup.backup.unsound import unsound
from regsetup.backup.verified import Verified
from regsetup.errors import RegsetupError
from regsetup.host.files import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.backup.survey import Source
    from regsetup.backup.unsound import Unsound
    from regsetup.deployment import Deployment, Paths

    Told = Callable[[int, int | None], None]

_SAMPLES = 8  # blobs that are looked at to choose the compression


class SettingsUnreadable(RegsetupError):
    """Users, certificates or settings can't be read by this user."""

    code = "settings-unreadable"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=error.strerror or str(error),
            fix="run it as the user who set the registry up: sudo regsetup backup ...",
        )


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made. Sizes in bytes.

    Attributes:
        path: the file; in a directory, the small archive.
        size: of the file, or of what was new in the directory.
        kept: of the blobs that were in the directory already.
        blobs: how many there are.
        damaged: blobs that were damaged or missing, and links that could not be read, in the registry.
        removed: older backups that ``--keep`` took away.
        healed: blobs of the directory that had been damaged there, and were written anew.
        unsound: what is damaged or missing there, and the registry has no copy of.
    """

    header: Header
    path: Path
    size: int
    kept: int
    blobs: int
    damaged: tuple[str, ...]
    removed: tuple[str, ...] = ()
    healed: tuple[str, ...] = ()
    unsound: tuple[Unsound, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done with the backups that a directory has already; see ``backup``."""

    keep: int | None
    verify: bool


@contextlib.contextmanager
def no_collection(paths: Paths) -> Iterator[None]:
    """Keep collections of a container's data away; ``gc`` takes the same lock.

    Raises:
        Locked: one is under way, or another backup.
    """
    with locked(paths.content_lock):
        yield


def backup(
    wanted: Deployment,
    paths: Paths,
    backend: str,
    source: Source,
    target: str,
    *,
    keep: int | None,
    verify: bool = False,
    told: Told,
) -> Made:
    """Write a backup to a file, or add one to a directory.

    Args:
        target: a file, or a directory: one that exists, or whose name ends with a slash.
        keep: in a directory, how many of this registry's backups.
        verify: whether all that lies in the directory is read again.
        told: is called with bytes done and in all, None where that is not known.

    Raises:
        RegsetupError: nothing stands under the final name.
    """
    place = Path(target).absolute()
    refuse_inside(place, wanted, paths)
    directory = is_directory(target)
    if not directory:
        refuse_other(place, wanted.name)
    with no_collection(paths):
        picture = take(source)
        settings = _settings(paths)
        head = _header(wanted, backend, picture, source)
        if directory:
            asked = Asked(keep, verify)
            return _into_directory(Repository(place), head, settings, picture, source, asked, told)
        return _into_file(place, head, settings, picture, source, told)


def _settings(paths: Paths) -> dict[str, bytes]:
    found = {}
    issued = (f"{paths.acme.name}/{name}" for name in _names(paths.acme))
    for name in (*KEPT, *filter(is_kept, issued)):
        path = paths.root / name
        try:
            found[name] = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SettingsUnreadable(path, error) from error
    return found


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsUnreadable(directory, error) from error


def _header(wanted: Deployment, backend: str, picture: Picture, source: Source) -> Header:
    now = datetime.now(UTC)
    sizes = source.sizes(picture.blobs)
    return Header(
        id=f"{wanted.name}-{now:%Y%m%dT%H%M%SZ}",
        name=wanted.name,
        created=now.isoformat(timespec="milliseconds"),
        program=__version__,
        backend=backend,
        machine=socket.gethostname(),
        hosts=wanted.hosts,
        size=None if sizes is None else sum(sizes.values()),
        tags=picture.tags,
    )


@dataclass(slots=True)
class _Counter:
    """Adds up what was read, for the progress bar."""

    told: Told
    total: int | None
    done: int = 0

    def __call__(self, count: int) -> None:
        self.done += count
        self.told(self.done, self.total)


def _into_file(
    place: Path, head: Header, settings: dict[str, bytes], picture: Picture, source: Source, told: Told
) -> Made:
    packed = is_packed(_samples(picture, source))
    with new_file(place) as out, ArchiveWriter(out, _Counter(told, head.size), packed=packed) as archive:
        _write_small(archive, head, settings, picture, source)
        read = set()
        for blob in source.blobs(picture.blobs):
            archive.add_blob(blob)
            read.add(blob.path)
        archive.finish()
        size = out.tell()
    lost = _lost(picture, read)
    return Made(head, place, size, 0, len(read), (*archive.digests.damaged, *lost))


def _into_directory(
    repository: Repository,
    head: Header,
    settings: dict[str, bytes],
    picture: Picture,
    source: Source,
    asked: Asked,
    told: Told,
) -> Made:
    with repository.opened():
        head = replace(head, id=_free(repository, head.id), apart=True)
        place = repository.place(head.id)
        counter = _Counter(told, head.size)
        with new_file(place) as out, ArchiveWriter(out, counter) as archive:
            verified = Verified.read(repository.root, all_anew=asked.verify)
            objects = Objects(repository.root, archive.digests, verified, counter)
            objects.tidy()
            _write_small(archive, head, settings, picture, source)
            try:
                _write_objects(objects, picture, source)
            except BaseException:
                objects.give_up()
                raise
            read = {*archive.digests.objects, *archive.digests.damaged}
            bad = tuple(unsound(repository, verified)) if asked.verify else ()
            verified.write()
            archive.finish()
            size = out.tell()
        removed = repository.keep(head.name, asked.keep) if asked.keep else ()
    damaged = (*archive.digests.damaged, *_lost(picture, read))
    written, healed = objects.written + size, tuple(objects.healed)
    return Made(head, place, written, objects.kept, len(read), damaged, removed, healed, bad)


def _write_objects(objects: Objects, picture: Picture, source: Source) -> None:
    sizes = source.sizes(picture.blobs) or {}
    there = {one for one, size in sizes.items() if objects.has(blob_path(one), size)}
    for blob in source.blobs(picture.blobs - there):
        if not objects.has(blob.path, blob.size):
            objects.add(blob)
    objects.settle()


def _free(repository: Repository, identity: str) -> str:
    """Return an id that no backup has: two may be made within a second."""
    number, found = 1, identity
    while repository.place(found).exists():
        number += 1
        found = f"{identity}-{number}"
    return found


def _write_small(
    archive: ArchiveWriter, head: Header, settings: dict[str, bytes], picture: Picture, source: Source
) -> None:
    archive.add(HEADER, head.to_bytes(), MODE)
    archive.settle()
    for name, content in settings.items():
        archive.add(f"{SETTINGS}/{name}", content, KEPT.get(name, MODE))
    if expiry := source.extra():
        archive.add("data/scheduler-state.json", expiry)
    for path, digest in picture.links.items():
        archive.add(path, digest.encode("ascii"))


def _lost(picture: Picture, read: set[str]) -> tuple[str, ...]:
    """Return what the registry's own links lead to in vain, and the links that say nothing."""
    missing = sorted(f"{digest} is missing" for digest in picture.blobs if blob_path(digest) not in read)
    return (*missing, *(f"{path} is no link" for path in picture.unreadable))


def _samples(picture: Picture, source: Source) -> Iterator[bytes | memoryview]:
    """Yield the beginning of the largest blobs, where their sizes are told before they are read."""
    sizes = source.sizes(picture.blobs) or {}
    largest = frozenset(heapq.nlargest(_SAMPLES, sizes, key=lambda one: sizes[one]))
    for blob in source.blobs(largest):
        yield from itertools.islice(blob.pieces, 1)
