"""``upgrade`` and ``migrate``: another image, or another back end, under the same data, users and address.

Both are an ``up`` that proves the new one, and compares what it serves, before the old one goes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup.backends import distribution
from regsetup.backends.choice import reopen
from regsetup.deploy import Deployed, Manner, deploy, look
from regsetup.deployment import Backend, Volume
from regsetup.errors import RegsetupError
from regsetup.load import load
from regsetup.safeguard import Safeguard, contents
from regsetup.step import Action
from regsetup.waiting import READY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regsetup.backends.engine import Engine
    from regsetup.contents.inventory import Inventory
    from regsetup.deploy import Passwords
    from regsetup.deployment import Paths
    from regsetup.load import Loaded
    from regsetup.smoke import Check
    from regsetup.state import State
    from regsetup.step import Progress, Reporter, Step


class VolumeStays(RegsetupError):
    """Images in a named volume can't be served by the bundled registry."""

    code = "volume-stays"

    def __init__(self, volume: Volume) -> None:
        super().__init__(
            f"the images lie in {volume}, which only its engine can mount",
            cause="the bundled registry stores images in a directory",
            fix="regsetup backup FILE, then: regsetup restore FILE --backend embedded --data DIRECTORY",
        )


class NoNewerImage(RegsetupError):
    """The image is here and runs, but whether there is a newer one can't be had."""

    code = "no-newer-image"

    def __init__(self, reference: str, cause: str | None) -> None:
        super().__init__(
            f"{reference} can't be pulled anew; the registry runs on with the image it has",
            cause=cause,
            fix=f"where there is a network: docker save -o FILE {reference}; "
            "here: regsetup upgrade --image-archive FILE",
        )


@dataclass(frozen=True, slots=True)
class How:
    """How it is done: who tells passwords, who is told of steps and checks, and how many seconds it may take.

    Attributes:
        ask: of users that are remembered and have no password any more.
    """

    ask: Passwords
    reporter: Reporter
    told: Callable[[Check], None]
    ready_timeout: float = READY_TIMEOUT


@dataclass(frozen=True, slots=True)
class Preview:
    """What ``upgrade --check`` found.

    Attributes:
        newest: whether the engine has what the image's name means at its registry; None where that was not
            asked, because the image is another one, an archive, or none at all.
        unknown: why it could not be asked.
        notes: what changes in meaning with the new image.
        tags: how many tags are served, ``damaged`` how much of what they lead to is not whole.
    """

    planned: Deployed
    newest: bool | None
    unknown: RegsetupError | None
    notes: tuple[str, ...]
    tags: int
    damaged: tuple[str, ...]

    @property
    def pending(self) -> bool:
        """Whether ``upgrade`` would change something."""
        return self.planned.changed or self.newest is False


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done, how the proof ended, and for how long the registry did not answer, in seconds."""

    done: Deployed
    checks: tuple[Check, ...]
    tags: int
    downtime: float | None


class Stopwatch:
    """A reporter that notes how long nothing answered: from the old one's stop to the new one's first 200."""

    def __init__(self, told: Reporter) -> None:
        self._told = told
        self._stopped: float | None = None
        self.downtime: float | None = None

    def started(self, step: Step) -> None:
        """See ``Reporter``."""
        if step.action is Action.SET_ASIDE:
            self._stopped = time.monotonic()
        self._told.started(step)

    def done(self, step: Step) -> None:
        """See ``Reporter``."""
        if step.action is Action.WAIT and self._stopped is not None:
            self.downtime = time.monotonic() - self._stopped
        self._told.done(step)

    def transferred(self, progress: Progress) -> None:
        """See ``Reporter``."""
        self._told.transferred(progress)

    def noted(self, note: str) -> None:
        """See ``Reporter``."""
        self._told.noted(note)

    def undone(self, step: Step) -> None:
        """See ``Reporter``."""
        self._told.undone(step)


def preview(paths: Paths, state: State, image: str | None, archive: Path | None) -> Preview:
    """Look at what ``upgrade`` would do; changes nothing.

    Raises:
        NotServing: the registry does not answer.
    """
    wanted = _wanted(paths, image, archive)
    found = contents(_wanted(paths).deployment, paths)
    planned = look(wanted, paths, Manner(guard=Safeguard(found, lambda _check: None)))
    engine, newest, unknown = reopen(paths, state).engine, None, None
    if engine and image is None and archive is None:
        from regsetup.backends.images import ImageNotFound
        from regsetup.backends.images import newest as ask

        try:
            newest = ask(engine, wanted.deployment.image)
        except ImageNotFound as error:
            unknown = error
    damaged = tuple(f"{one.repository} {one.what}: {one.reason}" for one in found.troubles)
    notes = _notes(engine, _wanted(paths), wanted) if engine else ()
    return Preview(planned, newest, unknown, notes, len(found.tags), damaged)


def upgrade(
    paths: Paths, state: State, how: How, *, image: str | None = None, archive: Path | None = None
) -> Upgraded:
    """Replace the container by one of another or a newer image, or the service by this program's.

    Raises:
        NotServing: there is nothing to compare with.
        NotProven, ContentLost, NotHealthy: the old one is back, and so is the meaning of the image's name.
    """
    _settle(paths, how)
    wanted = _wanted(paths, image, archive)
    before = contents(_wanted(paths).deployment, paths)
    engine = reopen(paths, state).engine
    if engine is None or image or archive:
        return _replace(wanted, paths, how, before)
    return _pulled(engine, wanted, paths, how, before)


def _pulled(engine: Engine, wanted: Loaded, paths: Paths, how: How, before: Inventory) -> Upgraded:
    from regsetup.backends import images

    reference = wanted.deployment.image
    old = images.find(engine, reference)
    try:
        images.pull(engine, reference, how.reporter.transferred)
    except images.ImageNotFound as error:
        raise NoNewerImage(reference, error.cause) from error
    try:
        return _replace(wanted, paths, how, before)
    except BaseException:
        if old:
            images.name(engine, old.id, reference)
        raise


def migrate(paths: Paths, to: Backend, how: How) -> Upgraded:
    """Have the other back end serve the same data, users, certificates and address.

    Raises:
        VolumeStays: the data can't be reached from there.
        NotServing: there is nothing to compare with.
        NotProven, ContentLost, NotHealthy: the old one is back.
    """
    _settle(paths, how)
    loaded = _wanted(paths)
    if to is Backend.EMBEDDED and isinstance(loaded.deployment.storage, Volume):
        raise VolumeStays(loaded.deployment.storage)
    # Left to itself a registry stays where it is: at every moment of the move the same file is right.
    wished = {key: value for key, value in loaded.wished.items() if key != "backend"}
    wanted = replace(loaded, wished=wished, deployment=replace(loaded.deployment, backend=Backend.AUTO))
    return _replace(wanted, paths, how, contents(loaded.deployment, paths), to=to)


def _settle(paths: Paths, how: How) -> None:
    """Finish or take back what an interrupted run left, as ``up`` does: what was not proven is no measure."""
    seen = look(_wanted(paths), paths).survey.seen
    if seen.aside or seen.other:
        deploy(_wanted(paths), paths, how.ask, how.reporter, Manner(ready_timeout=how.ready_timeout))


def _replace(
    wanted: Loaded, paths: Paths, how: How, before: Inventory, to: Backend | None = None
) -> Upgraded:
    watch, guard = Stopwatch(how.reporter), Safeguard(before, how.told)
    manner = Manner(guard=guard, to=to, ready_timeout=how.ready_timeout)
    done = deploy(wanted, paths, how.ask, watch, manner)
    return Upgraded(done, guard.checks, len(before.tags), watch.downtime)


def _wanted(paths: Paths, image: str | None = None, archive: Path | None = None) -> Loaded:
    """Return what the last ``up`` was told, with another image."""
    flags = {"name": paths.name, "image": image, "image_archive": archive}
    return load(flags, {}, None, paths.home, cwd=paths.root)


def _notes(engine: Engine, before: Loaded, after: Loaded) -> tuple[str, ...]:
    """Return what the new image reads otherwise, as far as it is here to be looked at, or named ``:3``."""
    from regsetup.backends import images

    old, new = images.find(engine, before.deployment.image), images.find(engine, after.deployment.image)
    third = new.config_path == distribution.CONFIG_3 if new else _says_three(after.deployment.image)
    if not third or (old and old.config_path == distribution.CONFIG_3):
        return ()
    moved = f"its configuration is mounted at {distribution.CONFIG_3} instead of {distribution.CONFIG_2}"
    return (moved, *distribution.lost_meaning(dict(after.deployment.env)))


def _says_three(reference: str) -> bool:
    tag = reference.rpartition(":")[2]
    return tag == "3" or tag.startswith("3.")
