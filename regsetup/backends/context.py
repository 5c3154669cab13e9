"""Docker contexts as the docker command keeps them: which engine, and with which TLS files.

`docker context` writes ``contexts/meta/<SHA-256 of the name>/meta.json`` below ``$DOCKER_CONFIG``, TLS files
below ``contexts/tls``. Read here, for the SDK looks for them only beside a ``config.json`` (docker-py 7.1).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "default"  # the engine on the default socket; it is in no file
_ENDPOINT = "docker"


class BadContext(RegsetupError):
    """The docker context that is chosen does not exist or can't be read."""

    code = "bad-docker-context"

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"the docker context {name} can't be used", cause=cause, fix="docker context ls")


def chosen(environ: Mapping[str, str]) -> str:
    """Return the name of the context in use: DOCKER_CONTEXT, or what `docker context use` wrote."""
    if environ.get("DOCKER_CONTEXT"):
        return environ["DOCKER_CONTEXT"]
    try:
        config = json.loads((_directory(environ) / "config.json").read_text(encoding="utf-8"))
        return str(config.get("currentContext") or DEFAULT)
    except (OSError, ValueError, AttributeError):
        return DEFAULT  # the docker command warns of a file that it can't read, and goes on


def read(environ: Mapping[str, str], name: str) -> tuple[str | None, Path | None]:
    """Return the engine's address in ``name``, None for the default socket, and where its TLS files are.

    ``SkipTLSVerify`` means nothing here: where there are TLS files, the engine is verified by them.

    Raises:
        BadContext: there is no such context, or its file can't be read.
    """
    if name == DEFAULT:
        return None, None
    identity = hashlib.sha256(name.encode()).hexdigest()
    contexts = _directory(environ) / "contexts"
    try:
        meta = json.loads((contexts / "meta" / identity / "meta.json").read_text(encoding="utf-8"))
        endpoint = meta["Endpoints"][_ENDPOINT]
        host = endpoint.get("Host")
    except FileNotFoundError as error:
        raise BadContext(name, f"there is none of that name in {contexts}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadContext(name, f"{type(error).__name__}: {error}") from error
    tls = contexts / "tls" / identity / _ENDPOINT
    return (str(host) if host else None), (tls if tls.is_dir() else None)


def _directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
