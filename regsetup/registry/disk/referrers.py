"""Referrers on disk: ``_referrers/<alg>/<subject>/<alg>/<hex>/link``, beside what distribution knows.

The manifests are the truth and these links an index of them. registry:2 writes manifests without links; so
the times of the revision directories are noted in ``_referrers/scanned`` with every manifest that is put
here, and where they are others now, the manifests are read again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from regsetup.reference import BadReference, Digest
from regsetup.registry import content
from regsetup.registry.disk import durable, layout
from regsetup.registry.disk.blobs import linked
from regsetup.registry.disk.manifests import MAX_MANIFEST
from regsetup.registry.errors import ManifestUnknown

if TYPE_CHECKING:
    from regsetup.registry.disk.blobs import Blobs
    from regsetup.registry.disk.manifests import Locks, Manifests
    from regsetup.registry.store import StoredManifest

_TAKES_NO_WRITES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


class Referrers:
    """Which manifests are attached to which. Methods are safe to call from any thread."""

    def __init__(self, places: layout.Layout, manifests: Manifests, blobs: Blobs, locks: Locks) -> None:
        self._places = places
        self._manifests = manifests
        self._blobs = blobs
        self._locks = locks

    def put(self, repository: str, manifest: StoredManifest, subject: Digest | None) -> None:
        """Make a manifest part of a repository, durably, and keep the index whole if it was."""
        with self._locks.of(repository):
            whole = self._is_whole(repository)
            if subject is not None:
                link = self._places.referrer_link(repository, subject, manifest.digest)
                layout.write_link(link, manifest.digest)
            self._manifests.put(repository, manifest)
            if whole:
                self._mark(repository, self._times(repository))

    def of(self, repository: str, subject: Digest) -> list[StoredManifest]:
        """Return the manifests of a repository that have this subject, ordered by digest."""
        if not self._is_whole(repository):
            try:
                self._scan(repository)
            except OSError as error:
                if error.errno not in _TAKES_NO_WRITES:
                    raise
                return self._search(repository, subject)
        found = []
        directory = f"{self._places.referrers(repository)}/{subject.algorithm}/{subject.hex}"
        for digest in sorted(linked(directory)):
            with contextlib.suppress(ManifestUnknown):
                found.append(self._manifests.get(repository, digest))
        return found

    def _search(self, repository: str, subject: Digest) -> list[StoredManifest]:
        """Read every manifest of a repository, and write nothing: a full disk is still pulled from."""
        found = []
        for digest in sorted(self._manifests.each(repository)):
            with contextlib.suppress(ManifestUnknown):
                stored = self._manifests.get(repository, digest)
                if content.subject_of(stored.content) == subject:
                    found.append(stored)
        return found

    def _scan(self, repository: str) -> None:
        """Read every manifest of a repository, write links that are missing and remove those of none."""
        with self._locks.of(repository):
            times = self._times(repository)
            there = set(self._manifests.each(repository))
            self._prune(repository, there)
            for digest in there:
                stored = self._blobs.read(digest, MAX_MANIFEST + 1)
                subject = content.subject_of(stored) if stored is not None else None
                if subject is not None:
                    layout.write_link(self._places.referrer_link(repository, subject, digest), digest)
            if times:
                self._mark(repository, times)

    def _prune(self, repository: str, there: set[Digest]) -> None:
        """Remove the links of manifests that are gone, and what is empty then."""
        top = self._places.referrers(repository)
        for directory, _, names in os.walk(top, topdown=False):
            if "link" in names and _named(directory) not in there:
                os.unlink(f"{directory}/link")
            if directory != top:
                with contextlib.suppress(OSError):  # there is something in it
                    os.rmdir(directory)

    def _is_whole(self, repository: str) -> bool:
        noted = durable.read(f"{self._places.referrers(repository)}/scanned", 256)
        return (noted or b"") == self._times(repository)

    def _times(self, repository: str) -> bytes:
        """Return the times of change of the revision directories; empty where there is none."""
        directory = self._places.revisions(repository)
        times = []
        for algorithm in ("sha256", "sha512"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                times.append(f"{algorithm} {os.stat(f'{directory}/{algorithm}').st_mtime_ns}")
        return "\n".join(times).encode()

    def _mark(self, repository: str, times: bytes) -> None:
        """Note what was scanned. Not synced: without the note it is only scanned again."""
        directory = self._places.referrers(repository)
        os.makedirs(directory, exist_ok=True)
        temporary = f"{directory}/scanned.{secrets.token_hex(4)}{durable.SUFFIX}"
        try:
            with open(temporary, "wb") as file:
                file.write(times)
            os.replace(temporary, f"{directory}/scanned")
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _named(directory: str) -> Digest | None:
    """Return the digest whose link lies in a directory."""
    algorithm, encoded = directory.rsplit("/", 2)[-2:]
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except BadReference:
        return None
