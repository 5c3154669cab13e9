"""The image that a container is made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.state import Kind
from regsetup.step import Action, Resource

if TYPE_CHECKING:
    from regsetup.step import Step
    from regsetup.steps.work import Table, Undo, Work


def pull(work: Work, step: Step) -> None:
    """Pull the image; it stays on the engine if a later step fails."""
    from regsetup.backends import images

    work.record(Kind.IMAGE, step.target)
    images.pull(work.survey.choice.docker(), step.target, work.reporter.transferred)


def load(work: Work, step: Step) -> Undo | None:
    """Load the image from its archive; it stays on the engine if a later step fails, without the name."""
    from regsetup.backends import images

    engine, wanted, before = work.survey.choice.docker(), work.survey.wanted.image, work.survey.seen.image
    if before is None:
        work.record(Kind.IMAGE, wanted)
    images.load(engine, Path(step.target), wanted, work.reporter.transferred)
    return (lambda: images.name(engine, before, wanted)) if before else None


DO: Table = {
    (Resource.IMAGE, Action.PULL): pull,
    (Resource.IMAGE, Action.LOAD): load,
}
