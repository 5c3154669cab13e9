"""Which repositories there are: directories with ``_manifests`` or ``_layers``, at any depth."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regsetup.reference import is_repository
from regsetup.registry.disk.blobs import linked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.registry.disk.layout import Layout


class Repositories:
    """The repositories of a registry."""

    def __init__(self, places: Layout) -> None:
        self._places = places

    def each(self) -> Iterator[str]:
        """Yield every repository, also one without a manifest, in no order."""
        waiting = [""]
        while waiting:
            parent = waiting.pop()
            names = _directories(f"{self._places.repositories}/{parent}")
            if parent and not {"_manifests", "_layers", "_uploads"}.isdisjoint(names):
                yield parent
            waiting.extend(
                name
                for name in (f"{parent}/{child}" if parent else child for child in names if child[0] != "_")
                if is_repository(name)
            )

    def listed(self) -> list[str]:
        """Return the repositories that have a manifest, in byte order, as the catalog shows them."""
        return sorted(name for name in self.each() if self.has_manifest(name))

    def has_manifest(self, repository: str) -> bool:
        """Tell whether a repository has a manifest."""
        return any(True for _ in linked(self._places.revisions(repository)))

    def exists(self, repository: str) -> bool:
        """Tell whether something was ever pushed to a repository."""
        directory = self._places.repository(repository)
        return os.path.isdir(f"{directory}/_manifests") or os.path.isdir(f"{directory}/_layers")


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
