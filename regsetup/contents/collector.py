"""What deletes from the storage of a registry that is stopped: our own collector, or that of its image.

Ours, wherever this process may change the storage: it keeps the platforms of tagged images when it removes
untagged manifests (registry:2's does not, distribution#3178), knows blobs that are stored under another
algorithm's digest, and steps over what is damaged. The image's own is for storage out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from regsetup.registry.collecting import collect_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from regsetup.reference import Digest
    from regsetup.registry.gc import Collected
    from regsetup.registry.survey import Damage


class Collector(Protocol):
    """Deletes what nothing refers to."""

    @property
    def damaged(self) -> Sequence[Damage]:
        """What it stepped over, known after either method."""

    def eligible(self) -> frozenset[Digest]:
        """Return what ``collect`` would delete: digests of blobs and manifests, as they are stored."""

    def collect(self) -> None:
        """Delete it."""

    def clear(self) -> None:
        """Remove what a killed run left of its own."""


@dataclass(slots=True)
class InPlace:
    """The bundled registry's collector, on a directory that no registry writes to meanwhile.

    Methods raise CollectorRuns and CannotCollect.
    """

    data: Path
    untagged: bool
    damaged: list[Damage] = field(default_factory=list)

    def eligible(self) -> frozenset[Digest]:
        """See ``Collector.eligible``."""
        found = self._run(dry_run=True)
        return frozenset(digest for _, digest in found.manifests) | {blob.digest for blob in found.blobs}

    def collect(self) -> None:
        """See ``Collector.collect``."""
        self._run(dry_run=False)

    def clear(self) -> None:
        """See ``Collector.clear``: a killed run leaves nothing that needs it."""

    def _run(self, *, dry_run: bool) -> Collected:
        done = collect_in(self.data, grace=0, untagged=self.untagged, dry_run=dry_run)
        self.damaged = done.damaged
        return done
