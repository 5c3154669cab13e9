"""Credentials of registries where people keep them: Docker's and podman's files, and helper programs.

Asked are ``$REGISTRY_AUTH_FILE``, Docker's config.json (``$DOCKER_CONFIG``) and podman's auth.json, in this
order. regsetup keeps no password of its own: what ``login`` is given goes where Docker puts it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.credentials import helpers
from regsetup.credentials.auth_file import AuthFile, Malformed, key_of, with_entry, without_entry
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite, locked, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.client import Credentials

__all__ = ["AuthFileUnreadable", "Found", "erase", "files", "find", "store"]


class AuthFileUnreadable(RegsetupError):
    """A file of credentials can't be read; it stays as it is."""

    code = "auth-file-unreadable"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} can't be read, so the credentials in it are not known",
            cause=cause,
            fix="mend the file by hand; docker and podman can't read it either",
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Credentials, and where they are kept: a path, or a helper program."""

    credentials: Credentials
    origin: str


def files(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return where credentials may be, the first one asked first; it is also where new ones go.

    docker(1), "CONFIGURATION FILES"; containers-auth.json(5).
    """
    home = Path.home()
    named = environ.get("REGISTRY_AUTH_FILE")
    docker = Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}")
    podman = runtime / "containers" / "auth.json" if environ.get("XDG_RUNTIME_DIR") else runtime / "auth.json"
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return (*((Path(named),) if named else ()), docker, podman, config / "containers" / "auth.json")


def find(address: str, repository: str = "") -> Found | None:
    """Return the credentials for ``host[:port]``, or for a repository there where a namespace has its own.

    Raises:
        AuthFileUnreadable: a file is malformed, or this user may not read it.
        HelperFailed, ProgramMissing, ProgramTimeout: the helper that is named does not do its work.
    """
    for path in files():
        content = _parsed(path)
        if content is None:
            continue
        helper = content.helper(address)
        kept = helpers.get(helper, key_of(address)) if helper else None
        if kept:
            return Found(kept, f"docker-credential-{helper}")
        try:
            written = content.credentials(address, repository)
        except Malformed as error:
            raise AuthFileUnreadable(path, str(error)) from error
        if written:
            return Found(written, str(path))
    return None


def store(address: str, credentials: Credentials) -> str:
    """Keep credentials by Docker's rules and return where: the helper that the file names, or the file.

    Raises:
        AuthFileUnreadable, HelperFailed, ProgramMissing, ProgramTimeout, CannotWrite, Locked:
            nothing is kept.
    """
    path = files()[0]
    content = _parsed(path)
    helper = content.helper(address) if content else None
    if helper:
        helpers.store(helper, key_of(address), credentials)
    _edit(path, address, None if helper else credentials)
    return f"docker-credential-{helper}" if helper else str(path)


def erase(address: str) -> tuple[str, ...]:
    """Forget the credentials for ``address`` wherever they are kept, and return where that was.

    Raises:
        AuthFileUnreadable, HelperFailed, ProgramMissing, ProgramTimeout, CannotWrite, Locked.
    """
    erased = []
    for path in files():
        content = _parsed(path)
        if content is None:
            continue
        helper = content.helper(address)
        if helper and helpers.get(helper, key_of(address)):
            helpers.erase(helper, key_of(address))
            erased.append(f"docker-credential-{helper}")
        with locked(_lock(path)):
            before = _text(path) or ""
            after = without_entry(before, address)
            if after != before:
                write_atomic(path, after, mode=0o600)
                erased.append(str(path))
    return tuple(erased)


def _edit(path: Path, address: str, credentials: Credentials | None) -> None:
    """Write an entry; a file that holds a password is its owner's alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(_lock(path)):
            after = with_entry(_text(path) or "", address, credentials)
            if credentials and path.exists():
                path.chmod(0o600)
            write_atomic(path, after, mode=0o600)
    except OSError as error:
        raise CannotWrite(path, error) from error


def _parsed(path: Path) -> AuthFile | None:
    text = _text(path)
    try:
        return None if text is None else AuthFile.parse(text)
    except Malformed as error:
        raise AuthFileUnreadable(path, str(error)) from error


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return None  # such as /run/containers, where only root has used podman
        raise AuthFileUnreadable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise AuthFileUnreadable(path, f"it is no UTF-8: {error}") from error


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.regsetup.lock")
