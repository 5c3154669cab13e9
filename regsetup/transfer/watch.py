"""What is told while an image travels, and what became of each blob in the end."""

from __future__ import annotations

import enum
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from regsetup.reference import Digest


class Fate(enum.StrEnum):
    """What became of a blob."""

    MOVED = "moved"
    THERE = "there"  # nothing to do
    MOUNTED = "mounted"  # taken over from another repository of the same registry
    RESUMED = "resumed"  # an earlier run had moved a part


class Audience(Protocol):
    """Who is told; from several threads, often: keep it short."""

    def total(self, size: int, blobs: int) -> None:
        """So many bytes and blobs there are in all."""
        ...

    def began(self, digest: Digest, size: int) -> None:
        """A blob is looked at."""
        ...

    def moved(self, digest: Digest, count: int) -> None:
        """So many bytes of it were dealt with; fewer than none where it begins again."""
        ...

    def ended(self, digest: Digest, fate: Fate) -> None:
        """It is done."""
        ...


class Silence:
    """Tells nobody."""

    def total(self, size: int, blobs: int) -> None:
        """See ``Audience``."""

    def began(self, digest: Digest, size: int) -> None:
        """See ``Audience``."""

    def moved(self, digest: Digest, count: int) -> None:
        """See ``Audience``."""

    def ended(self, digest: Digest, fate: Fate) -> None:
        """See ``Audience``."""


class Abandoned(BaseException):
    """This thread's work is not wanted any more: another one failed, or a person pressed Ctrl-C."""


class Watch:
    """Counts, tells, and stops: every piece that moves is a moment to end."""

    def __init__(self, audience: Audience) -> None:
        self.fates: Counter[Fate] = Counter()
        self.bytes = 0
        self.stop = threading.Event()
        self._audience = audience
        self._counting = threading.Lock()

    def total(self, size: int, blobs: int) -> None:
        """Tell how much there is."""
        self._audience.total(size, blobs)

    def began(self, digest: Digest, size: int) -> None:
        """Tell that a blob is begun."""
        self.check()
        self._audience.began(digest, size)

    def moved(self, digest: Digest, count: int) -> None:
        """Tell that bytes moved.

        Raises:
            Abandoned: they are not wanted any more.
        """
        self.check()
        self._audience.moved(digest, count)

    def ended(self, digest: Digest, fate: Fate, moved: int = 0) -> None:
        """Tell that a blob is done, with ``moved`` bytes over the network."""
        with self._counting:
            self.fates[fate] += 1
            self.bytes += moved
        self._audience.ended(digest, fate)

    def check(self) -> None:
        """End here if all has to end.

        Raises:
            Abandoned: it has.
        """
        if self.stop.is_set():
            raise Abandoned
