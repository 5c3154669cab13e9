"""Facts about a data directory, and its removal.

A registry's directory holds ``docker/registry/v2/{blobs,repositories}`` (distribution's filesystem driver)
and nothing beside it but dot files and a pull-through cache's ``scheduler-state.json``. ``purge`` deletes
that and refuses everything else: it would rather leave a registry than take somebody's files.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What may stand in each directory from the top down; distribution 2.8 and 3.1, registry/storage/paths.go
# and registry/proxy/scheduler.
_LAYOUT = (
    ("", frozenset({"docker", "scheduler-state.json"})),
    ("docker", frozenset({"registry"})),
    ("docker/registry", frozenset({"v2"})),
    ("docker/registry/v2", frozenset({"blobs", "repositories"})),
)
_FIRST_PERSON = 1000  # uid of the first account that is a person's; login.defs(5) UID_MIN
_NOBODY = 65534  # its home is no person's
# Filesystem Hierarchy Standard 3.0, chapters 3 to 5: never a registry's, whatever they hold.
_TOP = "bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var".split()  # noqa: SIM905
_VAR = ("cache", "lib", "log", "mail", "opt", "run", "spool", "tmp")
_SYSTEM = {Path("/"), *(Path("/", name) for name in _TOP), *(Path("/var", name) for name in _VAR)}


class NotARegistry(RegsetupError):
    """The directory holds something that no registry wrote."""

    code = "not-a-registry"

    def __init__(self, path: Path, found: tuple[str, ...]) -> None:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        super().__init__(
            f"{path} is not a registry's data directory",
            cause=f"it holds {shown}" if found else "it has no docker/registry/v2",
            fix="give the directory that has docker/registry/v2 in it, or delete this one yourself",
        )
        self.path = path
        self.found = found


class RefusedToDelete(UsageError):
    """A path that is never deleted, whatever is in it."""

    code = "refused-to-delete"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} is not deleted",
            cause=cause,
            fix="teardown without --purge keeps it; then delete the images yourself",
        )


class NotDeleted(RegsetupError):
    """The system refused to delete a part of it."""

    code = "not-deleted"

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"{path} could not be deleted entirely",
            cause=f"{cause.filename}: {cause.strerror}",
            fix="sudo regsetup teardown --purge" if isinstance(cause, PermissionError) else None,
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """A data directory as it was found.

    Attributes:
        is_registry: empty, or a registry's layout and nothing else; False where it does not exist, None
            where it can't be read.
        foreign: paths below it that belong to no registry.
        size: bytes of all files, None where some can't be read.
        repositories: how many there are, None where some can't be read.
        writable: whether this process can create files in it, or create it.
        free: bytes that this user can still write to its file system.
    """

    path: Path
    exists: bool
    is_registry: bool | None
    foreign: tuple[str, ...]
    size: int | None
    repositories: int | None
    writable: bool
    free: int


def look(path: Path) -> Facts:
    """Read the facts; changes nothing. Walks the whole directory, a few seconds per million files."""
    exists = _is_directory(path)
    try:
        foreign = _foreign(path) if exists else ()
        is_registry = exists and foreign == ()
    except OSError:
        foreign, is_registry = (), None
    size, repositories = _measure(path) if exists else (0, 0)
    ground = next(parent for parent in (path, *path.absolute().parents) if _is_directory(parent))
    return Facts(
        path=path,
        exists=exists,
        is_registry=is_registry,
        foreign=foreign or (),
        size=size,
        repositories=repositories,
        writable=_writable(ground),
        free=shutil.disk_usage(ground).free,
    )


def require_free(path: Path) -> None:
    """Refuse a directory for a registry's data that holds other things; dot files and lost+found may stay.

    Raises:
        NotARegistry: names what lies there.
    """
    if _is_directory(path):
        foreign = tuple(name for name in _foreign(path) or () if name != "lost+found")
        if foreign:
            raise NotARegistry(path, foreign)


def purge(path: Path) -> None:
    """Delete a registry's data directory; one that is gone already is fine.

    Stop the registry first. The layout goes last, so that a purge that was killed can be repeated.

    Raises:
        RefusedToDelete: a link, a mount point or one within, a system or home directory, or above one.
        NotARegistry: something else lies in it; nothing was deleted.
        NotDeleted: the system refused; parts may be gone.
    """
    try:
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as refused:
        raise NotDeleted(path, refused) from refused
    _refuse_special(path, kind)
    try:
        _delete(path, _foreign(path))
    except OSError as refused:
        raise NotDeleted(path, refused) from refused


def _delete(path: Path, foreign: tuple[str, ...] | None) -> None:
    if foreign != ():
        raise NotARegistry(path, foreign or ())
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == "docker"):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    path.rmdir()


def _foreign(path: Path) -> tuple[str, ...] | None:
    """Return what no registry wrote, sorted; None where there are only dot files, which are anybody's."""
    foreign: list[str] = []
    for below, allowed in _LAYOUT:
        directory = path / below
        if not directory.is_dir():
            break
        foreign += [
            str((directory / entry.name).relative_to(path))
            for entry in directory.iterdir()
            if entry.is_symlink() or not _belongs(entry, allowed)
        ]
    if foreign or (path / "docker").is_dir() or not any(path.iterdir()):
        return tuple(sorted(foreign))
    return None


def _is_directory(path: Path) -> bool:
    """Tell so; False, too, where a parent is not ours to enter."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def _belongs(entry: Path, allowed: frozenset[str]) -> bool:
    if entry.name in allowed:
        return entry.is_file() if entry.suffix == ".json" else entry.is_dir()
    return entry.name.startswith(".")


def _measure(path: Path) -> tuple[int | None, int | None]:
    """Return bytes and repositories; both None where a directory can't be read."""
    size = repositories = 0
    try:
        for entry in _walk(path):
            if entry.name == "_manifests":
                repositories += 1
            with suppress(FileNotFoundError):  # a registry that runs removes its uploads
                size += (
                    entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
                )
    except PermissionError:
        return None, None
    return size, repositories


def _walk(path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything below ``path``; links are not followed, what vanishes meanwhile is skipped."""
    pending = [str(path)]
    while pending:
        with suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def _writable(directory: Path) -> bool:
    """Really create a file, which has no name (O_TMPFILE): permission bits lie for root and on NFS."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _refuse_special(path: Path, kind: int) -> None:
    if stat.S_ISLNK(kind):
        raise RefusedToDelete(path, f"it is a link to {path.readlink()}")
    if not stat.S_ISDIR(kind):
        raise RefusedToDelete(path, "it is not a directory")
    real = path.resolve()
    if real in _SYSTEM:
        raise RefusedToDelete(path, "it is a directory of the system")
    for home in _homes():
        if real == home or real in home.parents:
            raise RefusedToDelete(path, f"it is or holds the home directory {home}")
    here = Path.cwd()
    if real == here or real in here.parents:
        raise RefusedToDelete(path, "it is or holds the working directory")
    for mounted in _mount_points():
        if real == mounted or real in mounted.parents:
            raise RefusedToDelete(path, f"a file system is mounted at {mounted}")


def _homes() -> Iterator[Path]:
    """Yield home directories of people; a service's account (docker-registry's) lives in its own data."""
    yield Path.home().resolve()
    for account in pwd.getpwall():
        if account.pw_uid == 0 or (account.pw_uid >= _FIRST_PERSON and account.pw_uid != _NOBODY):
            yield Path(account.pw_dir).resolve()


def _mount_points() -> Iterator[Path]:
    """Yield every mount point, bind mounts too; proc(5) mountinfo, field 5, octal escapes."""
    for line in (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    ):
        escaped = line.split(" ")[4]
        for mark in (" ", "\t", "\n", "\\"):
            escaped = escaped.replace(f"\\{ord(mark):03o}", mark)
        yield Path(escaped)
