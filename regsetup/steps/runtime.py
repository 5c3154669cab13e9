"""The container or service: made, started, waited for, set aside, and put back."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from regsetup.certify import certificate_files
from regsetup.deployment import Tls
from regsetup.errors import RegsetupError
from regsetup.probe import endpoint
from regsetup.state import Kind
from regsetup.step import Action, Resource
from regsetup.waiting import until_certified, until_it_answers, until_it_listens, until_it_serves

if TYPE_CHECKING:
    from regsetup.backends.base import Runtime
    from regsetup.step import Step
    from regsetup.steps.work import Table, Undo, Work


def create(work: Work, _step: Step) -> Undo:
    """Make the container or service; the image is here now, so the spec is worked out anew.

    From here on the images are its own, also where their directory was there before.
    """
    runtime, wanted = work.survey.choice.runtime, work.survey.wanted
    work.record_storage()
    work.record(Kind(runtime.kind), wanted.name)
    forget_volume = _make_acme_volume(work)
    runtime.create(wanted, runtime.spec(wanted))

    def undo() -> None:
        runtime.remove()
        forget_volume()

    return undo


def _make_acme_volume(work: Work) -> Undo:
    """Make the volume that an engine elsewhere keeps for a registry with ``--tls acme``."""
    wanted = work.survey.wanted
    if wanted.tls is not Tls.ACME or wanted.machine is None:
        return lambda: None
    from regsetup.backends import container, volumes

    engine, name = work.survey.choice.docker(), container.acme_volume(wanted.name)
    work.record(Kind.KEYS, name)
    if volumes.exists(engine, name):
        return lambda: None
    volumes.create(engine, name, {"io.regsetup.name": wanted.name})
    return lambda: volumes.remove(engine, name)


def start(work: Work, _step: Step) -> Undo:
    """Start it."""
    work.survey.choice.runtime.start()
    return work.survey.choice.runtime.stop


def _runtime(work: Work, step: Step) -> Runtime:
    """Return the back end that a step is about: a move has two."""
    here, other = work.survey.choice.runtime, work.survey.other
    return other.runtime if other and other.runtime.kind == step.resource else here


def set_aside(work: Work, step: Step) -> Undo:
    """Stop the old one and keep it; half-done, it is taken back at once."""
    runtime = _runtime(work, step)
    try:
        runtime.set_aside()
    except RegsetupError:
        runtime.put_back()
        raise
    return runtime.put_back


def put_back(work: Work, _step: Step) -> None:
    """Bring back what an interrupted run set aside."""
    work.survey.choice.runtime.put_back()


def remove(work: Work, step: Step) -> None:
    """Remove what an interrupted run did not finish."""
    _runtime(work, step).remove()


def prove(work: Work, _step: Step) -> None:
    """Have the guard look at the new one; what it raises brings the old one back."""
    if work.guard is None:
        raise AssertionError("a plan that proves has somebody who does")
    work.guard(work.survey)


def discard(work: Work, step: Step) -> None:
    """Remove the old one; from here on there is no way back.

    Where it is the other back end's, the ledger says first which of the two counts.
    """
    here, gone = work.survey.choice, _runtime(work, step)
    if gone is not here.runtime:
        work.save(replace(work.state, backend=here.runtime.backend))
    gone.discard_aside()
    if gone is not here.runtime:
        work.save(work.state.without(Kind(gone.kind)))
        if here.engine is None:
            work.survey.paths.config.unlink(missing_ok=True)
    if work.survey.wanted.tls is not Tls.OFF:
        certificate_files(work.survey.paths).forget_previous()


def wait(work: Work, _step: Step) -> None:
    """Wait until it answers, or say why it never will."""
    wanted, runtime = work.survey.wanted, work.survey.choice.runtime
    where = endpoint(wanted, work.survey.paths)
    if wanted.tls is Tls.ACME:
        until_certified(runtime, wanted, where, work.ready_timeout)
    else:
        until_it_answers(runtime, wanted.name, where, work.ready_timeout)
    if work.survey.goal.certificate:
        _until_it_serves_the_new_certificate(work)


def reload(work: Work, _step: Step) -> None:
    """Make it read its certificate again, and hold that it answers with it.

    One that was put back just now may still be starting, and would be ended by the signal.
    """
    runtime = work.survey.choice.runtime
    until_it_listens(runtime, work.survey.wanted, work.ready_timeout)
    seen = runtime.current()
    if seen and seen.pid:
        os.kill(seen.pid, signal.SIGHUP)
    _until_it_serves_the_new_certificate(work)


def _until_it_serves_the_new_certificate(work: Work) -> None:
    files = certificate_files(work.survey.paths)
    until_it_serves(work.survey.choice.runtime, work.survey.wanted, files.certificate, work.ready_timeout)


DO: Table = {
    (resource, action): done
    for resource in (Resource.CONTAINER, Resource.SERVICE)
    for action, done in (
        (Action.CREATE, create),
        (Action.START, start),
        (Action.WAIT, wait),
        (Action.RELOAD, reload),
        (Action.SET_ASIDE, set_aside),
        (Action.REMOVE, remove),
        (Action.PROVE, prove),
        (Action.PUT_BACK, put_back),
        (Action.DISCARD, discard),
    )
}
