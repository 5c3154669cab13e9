"""``up`` from beginning to end: choose, observe, plan, apply, and look again.

Knows no terminal: passwords come from a callback, progress goes to a reporter.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup.apply import Executor, NotConverged
from regsetup.backends.choice import choose, move
from regsetup.backup.swap import recover, unfinished
from regsetup.errors import RegsetupError
from regsetup.observe import survey
from regsetup.plan import plan
from regsetup.state import Kind, State, exclusive, storage_entry
from regsetup.steps.work import Work
from regsetup.trust_here import no_restart
from regsetup.waiting import READY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from regsetup.auth.htpasswd import Password
    from regsetup.deployment import Backend, Paths
    from regsetup.load import Loaded
    from regsetup.observe import Survey
    from regsetup.step import Plan, Reporter
    from regsetup.steps.work import Guard
    from regsetup.trust_here import Confirm

    Passwords = Callable[[tuple[str, ...]], Mapping[str, Password]]


class RestoreUnfinished(RegsetupError):
    """A restore was killed half-way, and what was there before is to be put back first."""

    code = "restore-unfinished"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a restore of {name} was killed half-way",
            fix=f"regsetup up --name {name} puts back what was there before",
        )


def mend(paths: Paths) -> bool:
    """Take back a restore that was killed half-way; tells whether there was one.

    Raises:
        Locked, EngineDown: nothing was changed.
    """
    if unfinished(paths) is None:
        return False
    with exclusive(paths):
        return recover(paths)


@dataclass(frozen=True, slots=True)
class Manner:
    """How ``up`` goes about it.

    Attributes:
        adopt: a container of the name that regsetup did not make is taken over.
        renew_certificate: a new certificate is made, however long the one before is good.
        guard: proves what replaces something before the old one goes; raises to have that one back.
        to: the back end that the registry moves to.
        confirm: asked whether the engine may be restarted, given the containers that this would stop.
        ready_timeout: seconds that the registry has to answer.
    """

    adopt: bool = False
    renew_certificate: bool = False
    guard: Guard | None = None
    to: Backend | None = None
    confirm: Confirm = no_restart
    ready_timeout: float = READY_TIMEOUT


USUAL = Manner()


@dataclass(frozen=True, slots=True)
class Deployed:
    """What ``up`` found and did.

    Attributes:
        plan: all steps, also those that kept something.
        passwords: of the users that were added.
    """

    survey: Survey
    plan: Plan
    passwords: Mapping[str, Password]

    @property
    def changed(self) -> bool:
        """Whether a step had anything to do."""
        return bool(self.plan.pending)


def look(loaded: Loaded, paths: Paths, manner: Manner = USUAL) -> Deployed:
    """Plan and change nothing: ``--dry-run``."""
    to = manner.to
    found = survey(
        loaded.deployment,
        loaded.wished,
        move(paths, to) if to else choose(loaded.deployment, paths, states.read(paths.state)),
        paths,
        manner.confirm,
        adopt=manner.adopt,
        renew_certificate=manner.renew_certificate,
        guarded=manner.guard is not None,
    )
    return Deployed(found, plan(found.goal, found.seen), {})


def deploy(
    loaded: Loaded, paths: Paths, ask: Passwords, reporter: Reporter, manner: Manner = USUAL
) -> Deployed:
    """Bring the registry to what is wanted, or leave everything as it was.

    Args:
        ask: returns the passwords of the users that will be added.

    Raises:
        RegsetupError: what went wrong; the steps done so far were undone.
    """
    with exclusive(paths) as made:
        if unfinished(paths):
            raise RestoreUnfinished(paths.name)
        return deploy_locked(made, loaded, paths, ask, reporter, manner)


def deploy_locked(
    made: list[Path],
    loaded: Loaded,
    paths: Paths,
    ask: Passwords,
    reporter: Reporter,
    manner: Manner = USUAL,
) -> Deployed:
    """Do what ``deploy`` does, for a caller that is ``exclusive`` already, which gave him ``made``.

    Raises:
        RegsetupError: what went wrong; the steps done so far were undone.
    """
    before = look(loaded, paths, manner)
    state = _state(before.survey, paths, made)
    if not before.changed:
        if not paths.state.exists():
            states.write(paths.state, _found_out(state, before.survey))
        return before
    passwords = ask(before.plan.new_users)
    work = Work(before.survey, state, passwords, reporter, manner.ready_timeout, manner.guard)
    Executor(work).run(before.plan)
    # With --adopt the images' place was found out, not told; the container is ours now.
    left = look(replace(loaded, deployment=before.survey.wanted), paths).plan.pending
    if left:
        raise NotConverged(left)
    return Deployed(before.survey, before.plan, passwords)


def _state(found: Survey, paths: Paths, made: list[Path]) -> State:
    engine = found.choice.engine
    tls = str(engine.tls) if engine and engine.tls else None
    new = State.new(paths.name, found.choice.runtime.backend, engine.address if engine else None, tls)
    before = states.read(paths.state)
    if before and found.other:  # which back end counts changes when the old one goes, not sooner
        state = before if new.engine is None else replace(before, engine=new.engine, engine_tls=tls)
    else:
        state = new if before is None else replace(new, since=before.since, ledger=before.ledger)
    for directory in reversed([str(path) for path in made] or _made_for_others(paths)):
        state = state.with_entry(Kind.DIRECTORY, directory)
    return state


def _made_for_others(paths: Paths) -> list[str]:
    """Return what was made to hold the first registry, innermost first: the last one takes it along."""
    above = {str(path) for path in (paths.home, *paths.home.parents)}
    for other in paths.home.glob("*/state.json"):
        with contextlib.suppress(RegsetupError):  # another registry's trouble is not ours
            state = states.read(other)
            made = [target for target in state.of(Kind.DIRECTORY) if target in above] if state else []
            if made:
                return sorted(made, key=len, reverse=True)
    return []


def _found_out(state: State, found: Survey) -> State:
    """Return the ledger of a registry that runs as wanted, and whose state was lost."""
    paths = found.paths
    files = (paths.deployment, paths.config, paths.http_secret, paths.htpasswd)
    directories = (paths.root, paths.auth)
    for kind, things in ((Kind.DIRECTORY, directories), (Kind.FILE, files)):
        for path in things:
            state = state.with_entry(kind, str(path)) if path.exists() else state
    state = state.with_entry(*storage_entry(found.wanted))
    return state.with_entry(Kind(found.choice.runtime.kind), paths.name)
