"""Scrub: everything that is stored is read and hashed again, beside a registry that runs or without one.

Changes nothing, and makes nothing young for the collector. What a push or a collection changes meanwhile is
looked at again before it is called damaged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.registry.disk.store import open_store
from regsetup.registry.errors import ManifestUnknown
from regsetup.registry.survey import Damage, Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from regsetup.reference import Digest, Reference
    from regsetup.registry.store import Entry, Store

    Told = Callable[[int, int], None]
    Names = dict[Digest, dict[Digest, str]]


@dataclass(slots=True)
class Scrubbed:
    """What was verified; size in bytes."""

    blobs: int = 0
    size: int = 0
    damaged: list[Damage] = field(default_factory=list)


def scrub(root: Path, told: Told, only: Reference | None = None, *, sparse: bool = False) -> Scrubbed:
    """Verify a data directory, or one repository of it, or one tag or digest.

    Args:
        told: is called with bytes read and bytes in all, as it goes on.
        sparse: manifests may need what is not stored, as in a pull-through cache.

    Raises:
        OSError: the disk.
    """
    store = open_store(root)
    done = Scrubbed()
    users: dict[Digest, str] = {}
    names: Names = {}  # other digests of the same bytes, as registry:2 keeps sha512, and their repositories
    for repository in [only.repository] if only else sorted(store.repositories.each()):
        survey = Survey(store, repository)
        done.damaged += _relevant(survey, only)
        for digest in _chosen(survey, only, done):
            users.update(dict.fromkeys(survey.manifests[digest] & {digest}, repository))
            _note_needs(survey, digest, users, names, done, sparse=sparse)
    found = (store.blobs.entry(digest) for digest in users) if only else store.blobs.each()
    entries = [entry for entry in found if entry is not None]
    total = sum(entry.size for entry in entries)
    for entry in entries:
        others = names.get(entry.digest, {})
        wrong = _wrong(store, entry, others, lambda read: told(done.size + read, total))
        done.damaged += [
            Damage(others.get(digest) or users.get(digest, ""), f"{digest} has other bytes on disk")
            for digest in wrong
        ]
        done.blobs += 1
        done.size += entry.size
    return done


def _relevant(survey: Survey, only: Reference | None) -> list[Damage]:
    """Return what is damaged, of one tag or digest if only that is asked for."""
    if only is None or not (only.tag or only.digest):
        return survey.damaged
    marks = [f"tag {only.tag} "] if only.tag and not only.digest else [f"manifest {only.digest} "]
    return [one for one in survey.damaged if one.what.startswith(tuple(marks))]


def _chosen(survey: Survey, only: Reference | None, done: Scrubbed) -> set[Digest]:
    """Return the manifests to verify."""
    if only is None or not (only.tag or only.digest):
        if only is not None and not survey.manifests and not survey.damaged:
            done.damaged.append(Damage(survey.name, "no such repository, or nothing in it"))
        return set(survey.manifests)
    root = only.digest or survey.tagged.get(only.tag or "")
    if root not in survey.manifests:
        if not done.damaged:
            done.damaged.append(Damage(survey.name, f"{only.target} is not there"))
        return set()
    return survey.below([root])


def _note_needs(
    survey: Survey,
    digest: Digest,
    users: dict[Digest, str],
    names: Names,
    done: Scrubbed,
    *,
    sparse: bool,
) -> None:
    for need in survey.references[digest].needs:
        target = survey.target(need.digest)
        stored = survey.store.blobs.entry(target) is not None
        if stored:
            users.setdefault(target, survey.name)
            if target != need.digest:
                names.setdefault(target, {})[need.digest] = survey.name
        if (stored and survey.links_to(need.digest)) or need.elsewhere or sparse:
            continue
        if _still_there(survey, digest):
            what = "has no readable link" if stored else "is missing"
            done.damaged.append(Damage(survey.name, f"{need.digest} {what}; {digest} needs it"))


def _still_there(survey: Survey, digest: Digest) -> bool:
    try:
        survey.store.manifests.get(survey.name, digest)
    except ManifestUnknown:
        return False
    return True


def _wrong(store: Store, entry: Entry, others: Iterable[Digest], told: Callable[[int], None]) -> list[Digest]:
    """Return which digests the bytes of a blob do not have: its own, and the ``others`` that it goes by."""
    digests = [entry.digest, *others]
    hashers = {digest.algorithm: hashlib.new(digest.algorithm) for digest in digests}
    read = 0
    for piece in store.blobs.pieces(entry.digest):
        for hasher in hashers.values():
            hasher.update(piece)
        read += len(piece)
        told(read)
    wrong = [digest for digest in digests if hashers[digest.algorithm].hexdigest() != digest.hex]
    return [] if store.blobs.entry(entry.digest) is None else wrong
