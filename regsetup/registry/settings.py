"""What the bundled registry is told: one frozen value, explicit fields, nothing read from the environment.

Imports nothing heavy, so that the CLI can build one without loading the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
WEEK = 7 * 24 * 3600.0
BACKLOG = 1024  # connections that wait to be accepted


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Attributes:
        root: the data directory; ``docker/registry/v2/`` stands directly below it.
        host: address to listen on, without brackets.
        port: TCP port; 0 lets the kernel choose, and the line printed at the start names it.
        htpasswd: Basic authentication against this file; None serves everybody.
        realm: what the client is told to authenticate for.
        tls_cert: PEM chain; with ``tls_key`` the registry speaks TLS only. Read again when it changes.
        tls_key: PEM key of ``tls_cert``.
        read_only: refuse every write with 405.
        immutable_tags: shell patterns; a tag that matches one can't be moved or deleted (409).
        allow_sparse: accept manifests whose blobs or children are not in the repository.
        min_free: bytes of the file system that uploads must leave free (503 below it).
        upload_ttl: seconds after which an upload session that got no data is removed;
            a week, as registry:2's uploadpurging does.
        idle_timeout: seconds a client may take nothing or give nothing before it is dropped.
        keep_alive: seconds a connection may wait for its next request, or for the rest of its head; nginx's.
        stop_grace: seconds that running requests get after SIGTERM.
        access_log: one line per request on standard error.
        log_file: where standard output and error go, in files of limited size; None leaves them alone.
        mirror_of: the URL of the registry that this one is a pull-through cache of.
        mirror_ttl: seconds for which a tag is served without asking the upstream whether it moved.
        mirror_patience: seconds in which the upstream must begin to answer, may send nothing, or too little.
        mirror_credentials: a file with one line, ``user:password``, for the upstream.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 5000
    htpasswd: Path | None = None
    realm: str = "Registry"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    read_only: bool = False
    immutable_tags: tuple[str, ...] = ()
    allow_sparse: bool = False
    min_free: int = 64 * MIB
    upload_ttl: float = WEEK
    idle_timeout: float = 60.0
    keep_alive: float = 75.0
    stop_grace: float = 10.0
    access_log: bool = True
    log_file: Path | None = None
    mirror_of: str | None = None
    mirror_ttl: float = 60.0
    mirror_patience: float = 60.0
    mirror_credentials: Path | None = None

    def is_immutable(self, tag: str) -> bool:
        """Tell whether a pattern of ``immutable_tags`` covers ``tag``."""
        return any(fnmatchcase(tag, pattern) for pattern in self.immutable_tags)
