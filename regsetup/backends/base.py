"""The contract of a back end: what runs one registry, be it a container or a service.

``apply`` drives either by the same small verbs. Every verb is safe to repeat: a run that was killed is
continued by doing the next one again. At most two things exist at a time: ``current``, under the
registry's own name, and ``aside``, the old one that is kept until the new one is healthy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.deployment import Deployment
    from regsetup.observed import Seen, Spec


class Runtime(Protocol):
    """One registry's container or service."""

    @property
    def backend(self) -> str:
        """``docker`` or ``embedded``."""
        ...

    @property
    def kind(self) -> str:
        """What a person calls it: ``container`` or ``service``."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it is kept running here, a sentence each; often nothing."""
        ...

    def spec(self, wanted: Deployment) -> Spec:
        """Return what ``create`` would make of ``wanted``; changes nothing."""
        ...

    def current(self) -> Seen | None:
        """Return what stands under the registry's name, made by regsetup or not."""
        ...

    def aside(self) -> Seen | None:
        """Return the old one that ``set_aside`` put away, if any."""
        ...

    def create(self, wanted: Deployment, spec: Spec) -> None:
        """Make it, not yet running, and write ``spec`` down in it."""
        ...

    def start(self) -> None:
        """Start ``current``."""
        ...

    def stop(self) -> None:
        """Stop ``current`` gracefully; it stays stopped after a reboot."""
        ...

    def failure(self) -> str | None:
        """Return why ``current`` can't become healthy any more (it exited, it restarts), else None."""
        ...

    def set_aside(self) -> None:
        """Stop ``current`` and put it away as ``aside``, ready to be put back."""
        ...

    def put_back(self) -> None:
        """Make ``aside`` current again and start it."""
        ...

    def remove(self) -> None:
        """Stop and remove ``current``; the data stay."""
        ...

    def discard_aside(self) -> None:
        """Remove ``aside``; the data stay."""
        ...

    def carry_users(self) -> None:
        """Bring the users' file to ``current``, live; nothing to do where it reads the file itself."""
        ...

    def logs(self, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Yield the lines it wrote, the last ``tail`` of them; with ``follow`` until interrupted."""
        ...
