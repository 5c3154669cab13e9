"""What the service runs: ``regsetup serve`` with the flags of one deployment, and the spec of it. Pure.

The spec holds the interpreter and regsetup's version: an upgrade, or a virtual environment that moved, shows
as a change and is repaired by the next ``up``; the same program run again finds nothing to do. Certificates
count by path: they are renewed in place.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from regsetup import __version__
from regsetup.deployment import Directory, Storage, Tls
from regsetup.errors import UsageError
from regsetup.observed import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.backends.container import Sources
    from regsetup.deployment import Deployment, Paths

COMMAND = (sys.executable, "-m", "regsetup", "serve")


class EmbeddedNeedsDirectory(UsageError):
    """The bundled registry has no named volumes: those are the engine's."""

    code = "embedded-needs-directory"

    def __init__(self, storage: Storage, machine: str | None = None) -> None:
        super().__init__(
            f"the bundled registry can't store images in {storage}",
            cause=f"--machine {machine} means an engine elsewhere, and its volumes"
            if machine
            else "named volumes belong to a Docker engine",
            fix="leave --machine out, or DOCKER_HOST=ssh://USER@HOST before the command"
            if machine
            else "regsetup up --data DIRECTORY, or --backend docker",
        )


def data_directory(wanted: Deployment) -> Path:
    """Return where the images lie.

    Raises:
        EmbeddedNeedsDirectory: they are to be stored in a named volume.
    """
    if not isinstance(wanted.storage, Directory):
        raise EmbeddedNeedsDirectory(wanted.storage, wanted.machine)
    return wanted.storage.path


def spec(wanted: Deployment, paths: Paths, command: tuple[str, ...], managed_by: str) -> Spec:
    """Return what makes the service what it is; a user or password is no part of it.

    Raises:
        EmbeddedNeedsDirectory: images are to be stored in a named volume.
    """
    settings = {
        "command": shlex.join(command),
        "version": __version__,
        "managed-by": managed_by,
        "bind": wanted.bind,
        "port": str(wanted.port),
        "data": str(data_directory(wanted)),
        "auth": wanted.realm if wanted.auth else "off",
        "tls": str(wanted.tls),
        "restart": str(wanted.restart_policy),
        "mirror-of": wanted.mirror_of or "nothing",
        "files": str(paths.root),
    }
    settings |= dict(_rules(wanted))
    return Spec(settings | {f"env {key}": value for key, value in wanted.env})


def argv(wanted: Deployment, sources: Sources, command: tuple[str, ...], log: Path | None) -> tuple[str, ...]:
    """Return the command line; it names files that hold secrets, never a secret.

    Args:
        log: where no journal takes it.

    Raises:
        EmbeddedNeedsDirectory: images are to be stored in a named volume.
    """
    words = [*command, "--bind", wanted.bind, "--port", str(wanted.port)]
    words += ["--data", str(data_directory(wanted))]
    if wanted.auth:
        words += ["--htpasswd", str(sources.auth / "htpasswd"), "--realm", wanted.realm]
    else:
        words += ["--no-auth"]
    if wanted.tls is not Tls.OFF:
        words += ["--cert", str(sources.certs / "tls.crt"), "--key", str(sources.certs / "tls.key")]
    if wanted.mirror_of:
        words += ["--mirror-of", wanted.mirror_of]
    if log:
        words += ["--log-file", str(log)]
    for rule, text in _rules(wanted):
        words += [f"--{rule}", *([] if text == "yes" else [text])]
    return tuple(words)


def _rules(wanted: Deployment) -> Iterator[tuple[str, str]]:
    """Yield what was said of writing to it: the flag, and its text; ``yes`` where the flag says it all."""
    if wanted.read_only:
        yield "read-only", "yes"
    if wanted.immutable_tags:
        yield "immutable-tags", ",".join(wanted.immutable_tags)
    if wanted.allow_sparse:
        yield "allow-sparse", "yes"
    if wanted.min_free:
        yield "min-free", wanted.min_free
    if wanted.upload_ttl:
        yield "upload-ttl", wanted.upload_ttl
