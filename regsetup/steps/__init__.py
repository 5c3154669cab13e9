"""What each step of a plan does to the machine, and how it is taken back.

Every thing made is in the ledger before it exists. A function does one step and returns what undoes it, or
None where there is nothing to undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.steps import clients, files, image, runtime

if TYPE_CHECKING:
    from regsetup.step import Step
    from regsetup.steps.work import Undo, Work

_DO = {**files.DO, **image.DO, **runtime.DO, **clients.DO}


def do(work: Work, step: Step) -> Undo | None:
    """Do one step; returns what takes it back."""
    return _DO[step.resource, step.action](work, step)
