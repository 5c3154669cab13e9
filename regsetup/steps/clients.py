"""The clients of this machine that are told of the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.state import Entry, Kind
from regsetup.step import Action, Resource
from regsetup.trust import install as trust
from regsetup.trust_here import TrustFile, forget, registry

if TYPE_CHECKING:
    from regsetup.step import Step
    from regsetup.steps.work import Table, Undo, Work
    from regsetup.trust.base import Client


def tell_client(work: Work, step: Step) -> Undo:
    """Make a client of this machine trust the registry; what is left to a person is told."""
    name, _, address = step.target.partition(" ")
    client = next(one for one in work.survey.clients if one.name == name)
    ledger = TrustFile(work.survey.paths.home)
    work.record(Kind.TRUST, address)
    told = registry(work.survey.wanted, work.survey.paths, address)
    try:
        done = trust.install(client, told, ledger)
    except RegsetupError:
        _forget(client, address, ledger)
        raise
    for note in done.notes:
        work.reporter.noted(note)
    return lambda: _forget(client, address, ledger)


def untell_clients(work: Work, step: Step) -> None:
    """Take back what clients were told of an address that the registry had."""
    for note in forget(work.survey.clients, step.target, work.survey.paths.home):
        work.reporter.noted(note)
    kept = tuple(one for one in work.state.ledger if one != Entry(Kind.TRUST, step.target))
    work.save(replace(work.state, ledger=kept))


def _forget(client: Client, address: str, ledger: TrustFile) -> None:
    trust.remove(client, address, ledger)


DO: Table = {
    (Resource.TRUST, Action.WRITE): tell_client,
    (Resource.TRUST, Action.REMOVE): untell_clients,
}
