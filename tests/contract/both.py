"""Both registries as processes, started alike: Debian's docker-registry (registry:2) and the bundled one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bed.registry import start_registry
from tests.registry.harness import Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REGISTRIES = ["registry2", "bundled"]


@dataclass(frozen=True, slots=True)
class Served:
    """A registry that runs; ``data`` has ``docker/registry/v2`` below it."""

    url: str
    data: Path
    stop: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Serve:
    """Starts registries of one kind in a directory of the test."""

    kind: str
    place: Path
    started: list[Served]

    def __call__(
        self, *, htpasswd: Path | None = None, certificate: tuple[Path, Path] | None = None
    ) -> Served:
        place = self.place / f"registry-{len(self.started)}"
        place.mkdir()
        start = _start_registry2 if self.kind == "registry2" else _start_bundled
        self.started.append(start(place, htpasswd, certificate))
        return self.started[-1]


def _start_registry2(place: Path, htpasswd: Path | None, certificate: tuple[Path, Path] | None) -> Served:
    running = start_registry(place, data=place / "data", htpasswd=htpasswd, certificate=certificate)
    return Served(running.url, running.data, running.stop)


def _start_bundled(place: Path, htpasswd: Path | None, certificate: tuple[Path, Path] | None) -> Served:
    cert, key = certificate or (None, None)
    running = Running.start(place / "data", htpasswd=htpasswd, tls_cert=cert, tls_key=key)
    scheme = "https" if certificate else "http"
    return Served(f"{scheme}://127.0.0.1:{running.port}", running.root, running.stop)
