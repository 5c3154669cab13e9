"""Does a plan: one step at a time, and all of them undone when one fails or is interrupted.

Afterwards the caller looks at the machine again: a plan that leaves something to do has failed, whatever
its steps said. What a step does stands in ``steps``.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host import signals
from regsetup.step import Action, Plan, Step
from regsetup.steps import do

if TYPE_CHECKING:
    from regsetup.state import State
    from regsetup.steps.work import Undo, Work

_LONG = frozenset({Action.PULL, Action.LOAD, Action.WAIT, Action.RELOAD})  # minutes, and nothing to take back


class Interrupted(RegsetupError):
    """The user stopped it; what had been done was undone."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__("interrupted; what had been done was undone", fix="regsetup up starts again")


class NotConverged(RegsetupError):
    """All steps were done, and still something is not as wanted."""

    code = "not-converged"

    def __init__(self, steps: tuple[Step, ...]) -> None:
        left = ", ".join(f"{step.action} {step.resource} {step.target} ({step.reason})" for step in steps)
        super().__init__(
            "the machine is not as wanted after all steps",
            cause=f"still to do: {left}",
            fix="regsetup up again; something else may have changed the registry meanwhile",
        )


@dataclass
class Executor:
    """Runs steps, and remembers how to take them back."""

    work: Work
    _undo: list[tuple[Step, Undo, State]] = field(default_factory=list)

    def run(self, plan: Plan) -> State:
        """Do every step.

        Raises:
            RegsetupError: what made a step fail; every step before it was undone.
            Interrupted: SIGINT or SIGTERM.
        """
        fresh = not self.work.survey.paths.state.exists()
        try:
            for step in plan.pending:
                self.work.reporter.started(step)
                self._do(step)
                self.work.reporter.done(step)
        except BaseException as error:
            self._take_back(fresh=fresh)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted from error
            raise
        return self.work.state

    def _do(self, step: Step) -> None:
        """Do a step; a signal in its middle counts only when the way back is known."""
        before = self.work.state
        with contextlib.nullcontext() if step.action in _LONG else signals.held():
            if step.action is Action.DISCARD:
                self._undo.clear()  # from here on there is no way back to the old one
            undo = do(self.work, step)
            if undo:
                self._undo.append((step, undo, before))

    def _take_back(self, *, fresh: bool) -> None:
        """Undo in reverse order, the ledger with it; a second Ctrl-C must not leave half of it."""
        stuck = False  # what could not be undone stays in the ledger, for teardown and the next `up`
        with signals.ignored():
            while self._undo:
                step, undo, before = self._undo.pop()
                try:
                    undo()
                except RegsetupError as trouble:  # the rest can still be taken back
                    self.work.reporter.noted(f"{step.action} {step.target} was not undone: {trouble.message}")
                    stuck = True
                    continue
                if not stuck:
                    self.work.save(before)
                self.work.reporter.undone(step)
            if fresh and not stuck:
                self.work.survey.paths.state.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty: somebody put something in it
                    self.work.survey.paths.root.rmdir()
