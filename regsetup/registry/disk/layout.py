"""Where things stand: the paths of distribution's filesystem driver (registry/storage/paths.go), its links.

Everything that is joined to a path here was checked against the grammar before: repository names have neither
``..`` nor a leading ``/``, tags don't begin with ``.``, digests are hex. So no name leaves the root.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest
from regsetup.registry.disk import durable

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINK = 256  # bytes; sha512:<128 hex> has 135
MAX_KNOWN = 8192  # links that are kept in memory; 3 MiB
SETTLED = 2_000_000_000  # nanoseconds; more than the clock of any file system takes from one tick to the next

_Signature = tuple[int, int, int]


class Layout:
    """The paths below one root, and what its links say."""

    def __init__(self, root: Path) -> None:
        self.base = str(root / "docker" / "registry" / "v2")
        self.blobs = f"{self.base}/blobs"
        self.repositories = f"{self.base}/repositories"
        self._known: dict[str, tuple[_Signature, Digest]] = {}

    def blob_directory(self, digest: Digest) -> str:
        """Return the directory that holds a blob's ``data``."""
        return f"{self.blobs}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def blob(self, digest: Digest) -> str:
        """Return the path of a blob's bytes."""
        return f"{self.blobs}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"

    def repository(self, name: str) -> str:
        """Return a repository's directory."""
        return f"{self.repositories}/{name}"

    def layer_link(self, name: str, digest: Digest) -> str:
        """Return the link that makes a blob part of a repository."""
        return f"{self.repositories}/{name}/_layers/{digest.algorithm}/{digest.hex}/link"

    def revisions(self, name: str) -> str:
        """Return the directory of a repository's manifests."""
        return f"{self.repositories}/{name}/_manifests/revisions"

    def revision_link(self, name: str, digest: Digest) -> str:
        """Return the link that makes a manifest part of a repository."""
        return f"{self.repositories}/{name}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"

    def tags(self, name: str) -> str:
        """Return the directory whose entries are a repository's tags."""
        return f"{self.repositories}/{name}/_manifests/tags"

    def tag_link(self, name: str, tag: str) -> str:
        """Return the link that says what a tag points to."""
        return current_link(f"{self.tags(name)}/{tag}")

    def tag_index_link(self, name: str, tag: str, digest: Digest) -> str:
        """Return the link that remembers what a tag ever pointed to."""
        return index_link(f"{self.tags(name)}/{tag}", digest)

    def referrers(self, name: str) -> str:
        """Return the directory of a repository's referrers, which is ours; distribution has none."""
        return f"{self.repositories}/{name}/_referrers"

    def referrer_link(self, name: str, subject: Digest, digest: Digest) -> str:
        """Return the link that says that ``digest`` has this subject."""
        subject_directory = f"{self.referrers(name)}/{subject.algorithm}/{subject.hex}"
        return f"{subject_directory}/{digest.algorithm}/{digest.hex}/link"

    def uploads(self, name: str) -> str:
        """Return the directory of a repository's upload sessions."""
        return f"{self.repositories}/{name}/_uploads"

    def aside(self, name: str) -> str:
        """Return where a tag stands while it is made or removed, out of every walker's sight."""
        return f"{self.repositories}/{name}/_aside"

    def read_link(self, path: str) -> Digest | None:
        """Return what a link points to; None where there is none, or where it is damaged.

        It is read once, and again when its file was changed. What was changed a moment ago is not relied on:
        it may change once more within one tick of the clock, and look the same.
        """
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        signature = status.st_ino, status.st_size, status.st_ctime_ns
        known = self._known.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        found = _read_link(path)
        if found is not None and time.time_ns() - status.st_ctime_ns > SETTLED:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[path] = signature, found
        return found

    def read_own_link(self, path: str, digest: Digest) -> Digest | None:
        """Return what the link of ``digest`` points to; None where that is other content, too.

        It is ``digest`` itself, or the sha256 under which distribution stores a sha512.
        """
        found = self.read_link(path)
        if found is not None and found.algorithm == digest.algorithm and found != digest:
            return None
        return found


def current_link(tag_directory: str) -> str:
    """Return the link below a tag's directory that says what it points to."""
    return f"{tag_directory}/current/link"


def index_link(tag_directory: str, digest: Digest) -> str:
    """Return the link below a tag's directory that remembers a manifest it pointed to."""
    return f"{tag_directory}/index/{digest.algorithm}/{digest.hex}/link"


def _read_link(path: str) -> Digest | None:
    content = durable.read(path, MAX_LINK)
    if content is None:
        return None
    try:
        return _parse(content)
    except (BadReference, UnicodeDecodeError):
        return None


@lru_cache(maxsize=4096)
def _parse(content: bytes) -> Digest:
    return Digest.parse(content.decode("ascii"))


def write_link(path: str, digest: Digest) -> None:
    """Point a link to ``digest``, durably; one that is right already is left alone."""
    durable.write_if_other(path, str(digest).encode("ascii"))
