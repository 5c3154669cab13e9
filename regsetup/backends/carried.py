"""A registry's files on an engine elsewhere: carried by the API into volumes that are the container's own.

Nothing of this machine can be mounted over there. So the container is made under another name, with two
anonymous volumes, filled before it is ever started, and only then given its name: there is no moment at which
it could start without its users. The volumes go with the container.

Here ``config.yml``, ``auth`` and ``certs`` below REGSETUP_HOME stay the source. Of these, a registry that
runs follows changes of ``htpasswd`` only; a new file is put beside the old one and renamed over it.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
import time
from typing import TYPE_CHECKING

from regsetup.backends.container import AUTH, CERTS, FILES
from regsetup.backends.engine import EngineError, translated
from regsetup.certify import certificate_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regsetup.backends.engine import Engine
    from regsetup.deployment import Deployment, Paths

_NEW = ".htpasswd.new"
_RENAMERS = ("/bin/mv", "/usr/bin/mv")
_RENAME_TIMEOUT = 10.0  # seconds; it is one system call, and a program to start
_POLL = 0.05  # seconds


def fill(engine: Engine, container: str, wanted: Deployment, paths: Paths, config_path: str) -> None:
    """Put configuration, users and certificates into a container that was never started.

    Raises:
        EngineError: it did not take them.
    """
    files: dict[str, Path] = {}
    if wanted.auth:
        files[posixpath.join(AUTH, paths.htpasswd.name)] = paths.htpasswd
    if wanted.keeps_pair:
        pair = certificate_files(paths)
        files |= {
            posixpath.join(CERTS, "tls.crt"): pair.certificate,
            posixpath.join(CERTS, "tls.key"): pair.certificate.with_name("tls.key"),
        }
    below = {posixpath.relpath(target, FILES): source for target, source in files.items()}
    directory, name = posixpath.split(config_path)
    _put(engine, container, directory, {name: paths.config})
    _put(engine, container, FILES, below)


def users(engine: Engine, container: str, htpasswd: Path, *, running: bool) -> None:
    """Replace the users' file of a container that ``fill`` has filled.

    Where nothing in the image can rename, the engine writes the file anew: for a moment it is not whole, and
    the registry lets nobody in.

    Raises:
        EngineError: it did not take it, or could not rename it.
    """
    renamer = _renamer(engine, container) if running else None
    if renamer is None:
        _put(engine, container, AUTH, {htpasswd.name: htpasswd})
        return
    _put(engine, container, AUTH, {_NEW: htpasswd})
    _run(engine, container, [renamer, "-f", f"{AUTH}/{_NEW}", f"{AUTH}/{htpasswd.name}"])


def _put(engine: Engine, container: str, directory: str, files: Mapping[str, Path]) -> None:
    """Write below ``directory``, the root of a volume or in one: podman looks for volumes there only."""
    with translated():
        engine.client.api.put_archive(container, directory, pack(files))


def pack(files: Mapping[str, Path]) -> bytes:
    """Return a tar archive of files by their names in it: root's, 0600, each with its time of change."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for directory in sorted({posixpath.dirname(name) for name in files} - {""}):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in files.items():
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            entry.mtime = path.stat().st_mtime  # with its fraction: a registry reads the file again by it
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _renamer(engine: Engine, container: str) -> str | None:
    """Return a program of the container that renames files, if it has one."""
    from docker.errors import NotFound

    for path in _RENAMERS:
        with translated():
            try:
                stream, _ = engine.client.api.get_archive(container, path)
            except NotFound:
                continue
            stream.close()
            return path
    return None


def _run(engine: Engine, container: str, command: list[str]) -> None:
    api = engine.client.api
    with translated():
        identity = api.exec_create(container, command)["Id"]
        api.exec_start(identity, detach=True)
        deadline = time.monotonic() + _RENAME_TIMEOUT
        while (state := api.exec_inspect(identity))["Running"] and time.monotonic() < deadline:
            time.sleep(_POLL)
    if state["Running"] or state["ExitCode"]:
        raise EngineError(
            "the users' file could not be replaced in the container",
            cause=f"{' '.join(command)} ended with {state['ExitCode']}",
            fix="regsetup logs; the users are as they were",
        )
