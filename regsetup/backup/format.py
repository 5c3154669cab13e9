"""What a backup looks like: names, header and list of digests. Values only; see ``archive`` and ``reading``.

A file is a tar archive in one zstd frame, so that ``tar --zstd -xf`` opens it:

- ``regsetup-backup.json`` first: kind, version, whose it is, how much to expect;
- ``settings/...``: what ``up`` was told, users, certificates with the CA's key;
- ``data/docker/registry/v2/...``: links first and blobs last, the order in which they were read;
- ``digests-SHA256.json`` last: digest and size of every file, named after its own digest.

After the frame stands a skippable frame (RFC 8878 section 3.1.2): a file without it was cut off. In a
directory of backups the blobs lie beside, as ``objects/<2 hex>/<hex>``, and the list names them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from regsetup.errors import RegsetupError
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KIND = "regsetup-backup"
VERSION = 1
HEADER = "regsetup-backup.json"
SETTINGS = "settings"
DATA = "data"
TREE = f"{DATA}/docker/registry/v2"
# What is kept of <home>/<name>, with the mode that it gets back.
KEPT = {
    "deployment.yaml": 0o600,
    "http.secret": 0o600,
    "auth/htpasswd": 0o600,
    "certs/ca.crt": 0o644,
    "certs/tls.crt": 0o644,
    "certs/tls.key": 0o600,
    "ca/ca.key": 0o600,
}
# What a registry with --tls acme keeps (Go's autocert): a file for each name, and its account's key.
_ACME = re.compile(r"acme/(?:acme_account\+key|(?:[a-z0-9-]+\.)+[a-z0-9-]+(?:\+rsa)?)")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
_MARK = b"regsetup backup."
END = b"\x50\x2a\x4d\x18" + len(_MARK).to_bytes(4, "little") + _MARK  # RFC 8878 section 3.1.2
_DIGESTS = re.compile(r"digests-([0-9a-f]{64})\.json")
_BLOB = re.compile(rf"{TREE}/blobs/(sha256|sha512)/([0-9a-f]{{2}})/([0-9a-f]{{64,128}})/data")
_LINK = re.compile(
    rf"{TREE}/repositories/(?P<name>[a-z0-9._/-]{{1,255}})"
    r"/(?:_layers|_manifests/revisions|_manifests/tags/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/index)"
    r"/(?:sha256|sha512)/[0-9a-f]{64,128}/link"
    rf"|{TREE}/repositories/(?P<tagged>[a-z0-9._/-]{{1,255}})"
    r"/_manifests/tags/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/current/link"
)
_EXPIRY = f"{DATA}/scheduler-state.json"  # of registry:2 as a pull-through cache
OBJECTS = "objects"


class NotABackup(RegsetupError):
    """The file is something else."""

    code = "not-a-backup"

    def __init__(self, path: Path, cause: str, fix: str = "regsetup backup FILE writes one") -> None:
        super().__init__(f"{path} is not a backup of regsetup", cause=cause, fix=fix)


class BackupTooNew(RegsetupError):
    """A later regsetup wrote the backup."""

    code = "backup-too-new"

    def __init__(self, path: Path, version: object) -> None:
        super().__init__(
            f"{path} was written by a newer regsetup",
            cause=f"its version is {version}, this program knows {VERSION}",
            fix="pipx upgrade regsetup",
        )


class BackupDamaged(RegsetupError):
    """A file in the backup is not what was put in."""

    code = "backup-damaged"

    def __init__(self, path: Path, inside: str, cause: str, fix: str | None = None) -> None:
        super().__init__(
            f"{path} is damaged: {inside}",
            cause=cause,
            fix=fix or "take another copy or another backup; nothing was changed here",
        )
        self.inside = inside


class BackupCutOff(RegsetupError):
    """The end of the backup is missing."""

    code = "backup-cut-off"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} has no end",
            cause="it was copied in part, or the program that wrote it was killed",
            fix="copy it again, or take another backup; nothing was changed here",
        )


class BackupUnsafe(RegsetupError):
    """The backup holds something that no regsetup puts into one."""

    code = "backup-unsafe"

    def __init__(self, path: Path, inside: str, cause: str) -> None:
        super().__init__(
            f"{path} holds {inside!r}, which no backup has",
            cause=cause,
            fix="do not restore it: regsetup did not write it; nothing was changed here",
        )


class BackupUnreadable(RegsetupError):
    """The file or directory of backups can't be read."""

    code = "backup-unreadable"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=error.strerror or str(error),
            fix="a backup belongs to the user who made it: sudo regsetup ..."
            if isinstance(error, PermissionError)
            else f"ls -l {path}",
        )


@dataclass(frozen=True, slots=True)
class Header:
    """Whose backup it is, and how much to expect.

    Attributes:
        id: unique in a directory: the registry's name and the moment.
        created: RFC 3339 UTC.
        program: version of regsetup.
        backend: ``docker`` or ``embedded``.
        machine: the host's name.
        hosts: by which clients reached the registry.
        size: bytes of all blobs, None where they were read through an engine.
        tags: how many there are.
        apart: whether the blobs lie beside, in a directory of backups.
    """

    id: str
    name: str
    created: str
    program: str
    backend: str
    machine: str
    hosts: tuple[str, ...]
    size: int | None
    tags: int
    apart: bool = False

    def to_bytes(self) -> bytes:
        """Return what stands in the archive."""
        return json.dumps({"kind": KIND, "version": VERSION, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Read it again.

        Raises:
            NotABackup, BackupTooNew: ``path`` is where it came from.
        """
        found = _object(content, path, HEADER)
        if found.pop("kind", None) != KIND:
            raise NotABackup(path, f"its first entry {HEADER} is of another kind")
        version = found.pop("version", None)
        if version != VERSION:
            raise BackupTooNew(path, version)
        try:
            return cls(**{**found, "hosts": tuple(found["hosts"])})
        except (TypeError, KeyError) as error:
            raise BackupDamaged(path, HEADER, str(error)) from error


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of a backup: digest and size in bytes of its content."""

    digest: str
    size: int


@dataclass(slots=True)
class Digests:
    """The list at the end.

    Attributes:
        files: in the archive, by path.
        objects: beside the archive, by the path that they get back.
        damaged: blobs that were damaged in the registry already, with the digest of what was read.
    """

    files: dict[str, Listed] = field(default_factory=dict)
    objects: dict[str, Listed] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def entry(self) -> tuple[str, bytes]:
        """Return name and content of the archive's last entry."""
        listed = {
            "files": {path: asdict(one) for path, one in self.files.items()},
            "objects": {path: asdict(one) for path, one in self.objects.items()},
            "damaged": self.damaged,
        }
        content = json.dumps(listed, separators=(",", ":")).encode()
        return f"digests-{hashlib.sha256(content).hexdigest()}.json", content

    @classmethod
    def parse(cls, name: str, content: bytes, path: Path) -> Self:
        """Read it again.

        Raises:
            BackupDamaged: it is not what its name says.
        """
        match = _DIGESTS.fullmatch(name)
        if match is None or hashlib.sha256(content).hexdigest() != match[1]:
            raise BackupDamaged(path, name, "the list of digests is not what its name says")
        found = _object(content, path, name)
        try:
            return cls(_listed(found["files"]), _listed(found["objects"]), dict(found["damaged"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise BackupDamaged(path, name, f"not a list of digests: {error}") from error


def is_digests(name: str) -> bool:
    """Tell whether an entry is the list."""
    return _DIGESTS.fullmatch(name) is not None


def _listed(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Listed]:
    return {path: Listed(str(one["digest"]), int(one["size"])) for path, one in found.items()}


def _object(content: bytes, path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BackupDamaged(path, name, "it is not JSON") from error
    if not isinstance(found, dict):
        raise BackupDamaged(path, name, "it is not a JSON object")
    return found


def why_unsafe(name: str) -> str | None:
    """Return why a path has no place in a backup, None where it has."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        return "it leads out of the directory that is restored"
    if "" in parts or "." in parts or "\\" in name or not name.isprintable():
        return "it is not a plain path"
    known = parts[0] == SETTINGS and is_kept(name.partition("/")[2])
    if known or _BLOB.fullmatch(name) or _LINK.fullmatch(name) or name == _EXPIRY:
        return None
    return "it belongs to no registry"


def is_kept(name: str) -> bool:
    """Tell whether a file of ``<home>/<name>`` belongs into a backup."""
    return name in KEPT or _ACME.fullmatch(name) is not None


def is_link(name: str) -> bool:
    """Tell whether a path is a registry's link."""
    return _LINK.fullmatch(name) is not None


def repository_of(name: str) -> str | None:
    """Return the repository that a link belongs to, None for other paths."""
    match = _LINK.fullmatch(name)
    return (match["name"] or match["tagged"]) if match else None


def blob_path(digest: Digest) -> str:
    """Return where a blob stands in the archive."""
    return f"{TREE}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def named_digest(name: str) -> Digest | None:
    """Return the digest that a blob's path says, None for other paths and for what is no digest."""
    match = _BLOB.fullmatch(name)
    if match is None or match[3][:2] != match[2]:
        return None
    try:
        return Digest.parse(f"{match[1]}:{match[3]}")
    except BadReference:
        return None


def object_path(digest: str) -> str:
    """Return where a blob lies in a directory of backups."""
    encoded = digest.rpartition(":")[2]
    return f"{OBJECTS}/{encoded[:2]}/{encoded}"
