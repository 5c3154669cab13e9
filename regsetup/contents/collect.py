"""Collection of a registry that runs as a container: stopped, checked before and after, put back if need be.

The order: inventory of all that tags lead to; a dry run while the registry still serves, and if that finds
nothing, the end. Then stop, dry run, refuse if it would delete anything that is tagged, hard-linked snapshot,
collect, start, and ask for the whole inventory again.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup import storage
from regsetup.backends.docker_collector import DockerCollector
from regsetup.client import RegistryClient
from regsetup.contents import inventory
from regsetup.contents.collector import InPlace
from regsetup.deployment import Directory
from regsetup.errors import RegsetupError, UsageError
from regsetup.host import snapshot
from regsetup.probe import answers, endpoint
from regsetup.prove import entered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.client import Endpoint
    from regsetup.contents.collector import Collector
    from regsetup.deployment import Deployment, Paths
    from regsetup.reference import Digest
    from regsetup.registry.survey import Damage

READY_TIMEOUT = 60.0  # seconds; as for ``up``
_POLL = 0.05  # seconds
_SNAPSHOT = ".regsetup-gc"  # beside docker/, where registries pass dot files over


class NotRunning(RegsetupError):
    """What is stored can be listed only while the registry runs."""

    code = "not-running"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"registry {name} does not run, so its content can't be listed before a collection",
            fix=f"regsetup up --name {name}, then regsetup gc --name {name} again",
        )


class CacheCollectsItself(UsageError):
    """A pull-through cache of registry:2 expires its content itself."""

    code = "cache-collects-itself"

    def __init__(self) -> None:
        super().__init__(
            "a pull-through cache on registry:2 is not collected",
            cause="it removes content by itself, a week after it was pulled (proxy.ttl)",
        )


class UntaggedUnsafe(UsageError):
    """registry:2 can't remove untagged manifests without harm, and the storage is out of our own reach."""

    code = "untagged-unsafe"

    def __init__(self) -> None:
        super().__init__(
            "--untagged needs storage that can be changed from here",
            cause="registry:2's own collector with -m deletes the platforms of tagged multi-platform images "
            "(distribution#3178)",
            fix="run it as root on the machine of the engine, or without --untagged",
        )


class WouldHarm(RegsetupError):
    """The collector is about to delete what tags lead to; it was not let."""

    code = "gc-would-harm"

    def __init__(self, wanted: frozenset[Digest]) -> None:
        shown = ", ".join(sorted(str(digest) for digest in wanted)[:3])
        super().__init__(
            f"the collector would delete {len(wanted)} objects that tagged images need; nothing was deleted",
            cause=f"its dry run lists {shown}",
            fix="run it as root on the machine of the engine, where regsetup collects itself",
        )


class Harmed(RegsetupError):
    """After the collection something that was tagged before is not served any more."""

    code = "gc-harmed"

    def __init__(self, lost: tuple[str, ...], restored: int | None) -> None:
        super().__init__(
            f"after the collection {len(lost)} objects of tagged images were missing",
            cause=", ".join(lost[:3]),
            fix="they could not be put back: push these images again"
            if restored is None
            else f"what was deleted is back (files: {restored}); the registry serves as before",
        )


@dataclass(frozen=True, slots=True)
class Swept:
    """What a collection did, or would do. Sizes in bytes.

    Attributes:
        freed: measured on the disk before and after, None where the storage can't be read from here.
        downtime: seconds that the registry did not answer, 0 if it was not stopped.
        tags: how many still resolve.
        damaged: what leads nowhere; its repositories were left alone.
    """

    eligible: tuple[Digest, ...]
    freed: int | None
    downtime: float
    tags: int
    damaged: tuple[Damage, ...] = ()


def sweep(
    wanted: Deployment,
    paths: Paths,
    choice: Choice,
    *,
    untagged: bool,
    dry_run: bool,
    told: Callable[[str], None],
) -> Swept:
    """Collect; the registry runs afterwards, whatever happens.

    Raises:
        NotRunning, CacheCollectsItself, UntaggedUnsafe, WouldHarm, CollectorFailed: nothing was deleted.
        Harmed: says whether it was put back.
    """
    if wanted.mirror_of:
        raise CacheCollectsItself
    data = _data(wanted, choice)
    if untagged and data is None:
        raise UntaggedUnsafe
    if not answers(endpoint(wanted, paths)):
        raise NotRunning(wanted.name)
    collector = InPlace(data, untagged) if data else DockerCollector(choice.docker(), paths.name)
    with entered(wanted, paths) as where:
        told("listing what is tagged")
        before = _there(where)
        found = collector.eligible()
        _refuse_harm(found, before)
        if dry_run or not found:
            freed = 0 if not found else None
            return Swept(tuple(sorted(found)), freed, 0.0, len(before.tags), tuple(collector.damaged))
        return _Stopped(wanted, choice, collector, where, before).run(data, told)


def _data(wanted: Deployment, choice: Choice) -> Path | None:
    """Return the data directory if this process may change it; a volume's is root's."""
    if choice.docker().elsewhere:  # a path over there, whatever is at the same path here
        return None
    if isinstance(wanted.storage, Directory):
        place: Path | None = wanted.storage.path
    else:
        from regsetup.backends import volumes

        place = volumes.mountpoint(choice.docker(), wanted.storage.name)
    return place if place and storage.look(place).is_registry and storage.look(place).writable else None


@dataclass(slots=True)
class _There:
    """What tags lead to and the registry has.

    Attributes:
        stored: the digests under which it keeps that: registry:2 keeps a sha512 blob under its sha256.
    """

    tags: Collection[tuple[str, str]]
    manifests: Collection[tuple[str, Digest]]
    blobs: dict[tuple[str, Digest], Digest]

    @property
    def stored(self) -> frozenset[Digest]:
        return frozenset({digest for _, digest in self.manifests} | set(self.blobs.values()))


def _there(where: Endpoint) -> _There:
    with RegistryClient(where) as client:
        found = inventory.take(client)
        blobs = {at: client.stored_as(*at) for at in found.blobs}
    here = {at: digest for at, digest in blobs.items() if digest is not None}
    return _There(found.tags, found.manifests, here)


def _refuse_harm(found: frozenset[Digest], before: _There) -> None:
    if found & before.stored:
        raise WouldHarm(found & before.stored)


@dataclass(slots=True)
class _Stopped:
    """A collection while the registry is stopped."""

    wanted: Deployment
    choice: Choice
    collector: Collector
    where: Endpoint
    before: _There
    eligible: frozenset[Digest] = frozenset()
    downtime: float = 0.0

    def run(self, data: Path | None, told: Callable[[str], None]) -> Swept:
        size = storage.look(data).size if data else None
        with _snapshot(data, told) as kept:
            with self._pause(told):
                self.eligible = self.collector.eligible()
                _refuse_harm(self.eligible, self.before)
                if kept and data:
                    snapshot.take(data / "docker", kept)
                told(f"collecting {len(self.eligible)} objects")
                self.collector.collect()
            told("asking for all that is tagged again")
            lost = self._lost()
            if lost:
                restored = None
                if kept and data:
                    with self._pause(told):
                        restored = snapshot.put_back(data / "docker", kept)
                raise Harmed(lost, restored)
        left = storage.look(data).size if data else None
        freed = None if size is None or left is None else size - left
        damaged = tuple(self.collector.damaged)
        return Swept(tuple(sorted(self.eligible)), freed, self.downtime, len(self.before.tags), damaged)

    @contextlib.contextmanager
    def _pause(self, told: Callable[[str], None]) -> Iterator[None]:
        """Stop the registry and start it again; its cache of what exists is gone with it."""
        told(f"stopping {self.wanted.name}: pushes and pulls wait")
        begin = time.monotonic()
        self.choice.runtime.stop()
        try:
            yield
        finally:
            self.collector.clear()
            self.choice.runtime.start()
            while not answers(self.where) and time.monotonic() - begin < READY_TIMEOUT:
                time.sleep(_POLL)
            self.downtime += time.monotonic() - begin
            told(f"{self.wanted.name} serves again after {self.downtime:.1f} s")

    def _lost(self) -> tuple[str, ...]:
        """Return what was there before and is not now."""
        with RegistryClient(self.where) as client:
            lost = [
                f"{repository}:{tag}"
                for repository, tag in self.before.tags
                if client.head_manifest(repository, tag) is None
            ]
            lost += [
                f"{repository}@{digest}"
                for repository, digest in self.before.manifests
                if client.head_manifest(repository, digest) is None
            ]
            lost += [
                f"{repository} {digest}"
                for repository, digest in self.before.blobs
                if not client.has_blob(repository, digest)
            ]
        return tuple(lost)


@contextlib.contextmanager
def _snapshot(data: Path | None, told: Callable[[str], None]) -> Iterator[Path | None]:
    """Give a directory for a snapshot, None where there can't be one; it is gone afterwards."""
    if data is None:
        told("the storage can't be changed from here: no snapshot, and no measure of what is freed")
        yield None
        return
    place = data / _SNAPSHOT
    snapshot.discard(place)
    try:
        yield place
    finally:
        snapshot.discard(place)
