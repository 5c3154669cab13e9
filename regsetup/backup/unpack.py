"""Unpacks a backup beside what is there: files into a staging directory, or into a new volume of the engine.

Everything that is written was checked before it may be used: the caller throws the stage away on any error.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.auth.certificates import KeyPair
from regsetup.backup.format import DATA, KEPT, SETTINGS, TREE, BackupDamaged, is_link, repository_of
from regsetup.backup.swap import STAGED
from regsetup.errors import RegsetupError
from regsetup.host.certificate_files import CertificateFiles
from regsetup.host.files import CannotWrite, write_atomic
from regsetup.reference import BadReference, Digest
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.backup.format import Header
    from regsetup.backup.reading import Entry, Reader

    Told = Callable[[int, int | None], None]

_LINK_LIMIT = 256  # bytes
_SETTING_LIMIT = 16 << 20  # bytes


class NoSpace(RegsetupError):
    """The images of the backup do not fit."""

    code = "no-space"

    def __init__(self, place: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{place} has {free} bytes free, and the backup's images take {needed}",
            cause="what is there stays until the restored registry has passed its check",
            fix="free some space, or restore elsewhere with --data DIR",
        )


@dataclass(slots=True)
class Unpacked:
    """What was read of a backup.

    Attributes:
        settings: content by name, such as ``auth/htpasswd``.
        repositories: those that have links.
        damaged: blobs that were damaged when the backup was made, and stay outside.
    """

    settings: dict[str, bytes] = field(default_factory=dict)
    repositories: set[str] = field(default_factory=set)
    damaged: tuple[str, ...] = ()
    blobs: int = 0
    size: int = 0


def settings_of(reader: Reader) -> dict[str, bytes]:
    """Return the settings without reading the rest; they are not verified yet."""
    found: dict[str, bytes] = {}
    for entry in reader.each():
        if not entry.path.startswith(f"{SETTINGS}/"):
            return found
        found[entry.path.partition("/")[2]] = _small(reader, entry, _SETTING_LIMIT)
    return found


def verified(reader: Reader, told: Told) -> Unpacked:
    """Read everything and keep the settings only.

    Raises:
        RegsetupError: names what is damaged.
    """
    return _run(reader, told, _drain)


def into_directory(reader: Reader, data: Path, told: Told) -> Unpacked:
    """Unpack the data below ``data/.regsetup-restore``.

    Raises:
        NoSpace, CannotWrite: the disk.
        RegsetupError: names what is damaged.
    """
    _require_space(reader.header, data)
    stage = data / STAGED
    made: set[str] = set()
    owner = data.stat()

    def write(entry: Entry) -> Iterator[bytes]:
        target = stage / entry.path.removeprefix(f"{DATA}/")
        try:
            if str(target.parent) not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(str(target.parent))
            with target.open("xb", buffering=0) as file:
                for piece in entry.pieces:
                    _write_all(file.fileno(), piece)
                    yield piece
        except OSError as error:
            raise CannotWrite(target, error) from error

    found = _run(reader, told, write)
    for path in found.damaged:
        (stage / path.removeprefix(f"{DATA}/")).unlink(missing_ok=True)
    _complete(stage, found)
    if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
        _give(stage, owner.st_uid, owner.st_gid)
    return found


def as_tar(reader: Reader, told: Told, found: Unpacked) -> Iterator[bytes]:
    """Yield the data as a tar archive, for a volume that only the engine may enter.

    Raises:
        RegsetupError: names what is damaged; what was made of the stream is to be thrown away.
    """
    for entry in reader.each():
        if entry.path.startswith(f"{SETTINGS}/"):
            found.settings[entry.path.partition("/")[2]] = _small(reader, entry, _SETTING_LIMIT)
            continue
        yield _tar_header(entry.path.removeprefix(f"{DATA}/"), entry.size)
        for piece in _checked(reader, entry, _drain(entry), found):
            yield piece
            told(found.size, reader.header.size)
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    for repository in sorted(found.repositories):
        for name in _ALWAYS:
            yield _tar_header(f"{TREE.removeprefix(DATA + '/')}/repositories/{repository}/{name}", None)
    yield bytes(2 * tarfile.BLOCKSIZE)
    found.damaged = tuple(reader.digests.damaged) if reader.digests else ()


def _tar_header(path: str, size: int | None) -> bytes:
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
    info.size, info.mode = size or 0, 0o755 if size is None else 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _run(reader: Reader, told: Told, write: Callable[[Entry], Iterator[bytes]]) -> Unpacked:
    found = Unpacked()
    for entry in reader.each():
        if entry.path.startswith(f"{SETTINGS}/"):
            found.settings[entry.path.partition("/")[2]] = _small(reader, entry, _SETTING_LIMIT)
            continue
        for _ in _checked(reader, entry, write(entry), found):
            told(found.size, reader.header.size)
    found.damaged = tuple(reader.digests.damaged) if reader.digests else ()
    return found


def _checked(reader: Reader, entry: Entry, pieces: Iterator[bytes], found: Unpacked) -> Iterator[bytes]:
    """Pass the pieces on; a link has to say a digest, a blob is counted."""
    if not is_link(entry.path):
        for piece in pieces:
            found.size += len(piece)
            yield piece
        found.blobs += 1
        return
    content = b""
    for piece in pieces:
        content += piece
        if len(content) > _LINK_LIMIT:
            break
        yield piece
    try:
        Digest.parse(content.decode("ascii"))
    except (BadReference, UnicodeDecodeError) as error:
        raise BackupDamaged(reader.path, entry.path, "it is no link") from error
    found.repositories.add(repository_of(entry.path) or "")


def _drain(entry: Entry) -> Iterator[bytes]:
    yield from entry.pieces


def _small(reader: Reader, entry: Entry, limit: int) -> bytes:
    if entry.size > limit:
        raise BackupDamaged(reader.path, entry.path, f"it has {entry.size} bytes")
    return b"".join(entry.pieces)


def _require_space(header: Header, data: Path) -> None:
    free = shutil.disk_usage(data).free
    if header.size is not None and header.size > free:
        raise NoSpace(data, header.size, free)


_ALWAYS = ("_layers", "_manifests/revisions", "_manifests/tags")


def _complete(stage: Path, found: Unpacked) -> None:
    """Make the directories that registry:2's collector and its lists of tags want, also when empty."""
    base = stage / TREE.removeprefix(f"{DATA}/")
    try:
        (base / "blobs").mkdir(parents=True, exist_ok=True)
        (base / "repositories").mkdir(parents=True, exist_ok=True)
        for repository in found.repositories:
            for name in _ALWAYS:
                (base / "repositories" / repository / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(stage, error) from error


def _give(stage: Path, uid: int, gid: int) -> None:
    """Give the tree to the owner of the data directory, where this user may."""
    for parent, directories, files in os.walk(stage):
        for name in (".", *directories, *files):
            with suppress(PermissionError):
                os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)  # noqa: PTH118


def stage_settings(settings: dict[str, bytes], root: Path, *, own: bool) -> None:
    """Write users, certificates and settings below ``root/.regsetup-restore``.

    Args:
        own: the pair is one's own, and lies beside for ``up`` to copy it.

    Raises:
        CannotWrite: the disk.
    """
    stage = root / STAGED
    try:
        stage.mkdir(mode=0o700, parents=True)
        for name in ("auth", "ca", "acme"):
            if any(path.startswith(f"{name}/") for path in settings):
                (stage / name).mkdir(mode=0o700)
    except OSError as error:
        raise CannotWrite(stage, error) from error
    pair = (settings.get("certs/tls.crt"), settings.get("certs/tls.key"))
    if pair[0] and pair[1]:
        if own:
            write_atomic(stage / "own.crt", pair[0])
            write_atomic(stage / "own.key", pair[1], mode=0o600)
        files = CertificateFiles(stage / "certs", stage / "ca")
        files.install(KeyPair(pair[0], Secret(pair[1].decode("ascii", "replace"))))
        if "certs/ca.crt" in settings:
            write_atomic(files.ca_certificate, settings["certs/ca.crt"], mode=KEPT["certs/ca.crt"])
    issued = [name for name in settings if name.startswith("acme/")]
    for name in ("deployment.yaml", "http.secret", "auth/htpasswd", "ca/ca.key", *issued):
        if name in settings:
            write_atomic(stage / name, settings[name], mode=0o600)


def _write_all(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
