"""The contract of what keeps a service running: systemd, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import psutil

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_SECONDS = 20  # between SIGTERM and SIGKILL; a running upload of a layer may end, a stuck client not


class ServiceError(RegsetupError):
    """The service could not be started or stopped."""

    code = "service-error"


@dataclass(frozen=True, slots=True)
class Life:
    """Whether a service runs: ``exit_code`` of the last end where somebody noted it, ``trouble`` in words."""

    running: bool
    pid: int | None = None
    exit_code: int | None = None
    trouble: str | None = None

    @property
    def started_at(self) -> str | None:
        """RFC 3339 UTC, to the second."""
        try:
            if self.pid is None:
                return None
            born = psutil.Process(self.pid).create_time()
        except psutil.Error:
            return None
        return datetime.fromtimestamp(born, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Manager(Protocol):
    """Looks after one service. Every verb may be repeated, and may follow one that was killed half-way."""

    def install(self) -> None:
        """Prepare it, not yet running."""
        ...

    def uninstall(self) -> None:
        """Take back what ``install`` did; it is stopped."""
        ...

    def start(self) -> None:
        """Start it, now and with the machine, unless it runs already."""
        ...

    def stop(self) -> None:
        """Stop it and wait for its end; it does not start with the machine any more."""
        ...

    def life(self) -> Life:
        """Tell whether it runs."""
        ...

    def drift(self) -> str | None:
        """Tell what somebody changed since ``install``, None if nothing."""
        ...

    def logs(self, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yield the lines it wrote."""
        ...
