"""Checks as values, and the order in which they are run."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.smoke.steps import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regsetup.client import Endpoint
    from regsetup.smoke.steps import Cleanup


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUN = "not-run"
    """One that it builds on did not hold."""
    SKIPPED = "skipped"
    """There is nothing to check, or no password to check it with."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, how it ended, how long it took, and what it saw or why it did not hold."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str
    error: RegsetupError | None = None

    @property
    def ok(self) -> bool:
        """Whether it was run and held."""
        return self.outcome is Outcome.OK

    def as_dict(self) -> dict[str, object]:
        """Return the check as ``--json`` shows it."""
        return {
            "name": self.name,
            "outcome": str(self.outcome),
            "seconds": round(self.seconds, 4),
            "detail": self.detail,
            "error": self.error.as_dict() if self.error else None,
        }


def timed(name: str, step: Callable[[], str]) -> Check:
    """Run one step, which returns what it saw; a RegsetupError of it makes the check fail."""
    started = time.perf_counter()
    try:
        detail = step()
    except RegsetupError as error:
        return Check(name, Outcome.FAILED, time.perf_counter() - started, error.message, error)
    return Check(name, Outcome.OK, time.perf_counter() - started, detail)


def holds(checks: tuple[Check, ...]) -> bool:
    """Tell whether nothing failed; what was skipped does not count."""
    return not any(check.outcome in {Outcome.FAILED, Outcome.NOT_RUN} for check in checks)


def prove(
    endpoint: Endpoint,
    *,
    expects_auth: bool,
    no_pushes: str | None = None,
    timeout: float = 10.0,
    progress: Callable[[Check], None] | None = None,
    cleanup: Cleanup | None = None,
) -> tuple[Check, ...]:
    """Run every check against a registry and return them in order; a failing check is returned, not raised.

    Args:
        endpoint: whom to ask; without credentials, what needs some is skipped.
        expects_auth: whether users exist, so that nobody may enter without a password.
        no_pushes: why nothing is pushed, where that is so; a pull-through cache takes nothing.
        timeout: seconds for each answer.
        progress: called with each check when it has ended.
        cleanup: removes the proof's repository and blobs where storage is local (``forget``).
    """
    skips = _skips(endpoint, expects_auth=expects_auth, no_pushes=no_pushes)
    ended: dict[str, Check] = {}
    with Proof(endpoint, timeout, cleanup) as proof:
        try:
            for name, (needs, step) in proof.steps().items():
                ended[name] = _run(name, needs, step, skips, ended)
                if progress:
                    progress(ended[name])
        except BaseException:  # interrupted: nothing is left then either
            with suppress(RegsetupError):
                proof.nothing_left()
            raise
    return tuple(ended.values())


def _skips(endpoint: Endpoint, *, expects_auth: bool, no_pushes: str | None) -> dict[str, str]:
    """Return the checks that make no sense here, and why."""
    skips: dict[str, str] = {}
    content = ("push", "head", "pull-by-tag", "pull-by-digest", "delete", "nothing-left")
    if no_pushes:
        skips |= dict.fromkeys(content, no_pushes)
    if not expects_auth:
        skips |= dict.fromkeys(("anonymous-refused", "wrong-password-refused", "login"), "it has no users")
    elif endpoint.credentials is None:
        skips |= dict.fromkeys(("login", *content), "no password of any user is known here")
    return skips


def _run(
    name: str,
    needs: tuple[str, ...],
    step: Callable[[], str],
    skips: Mapping[str, str],
    ended: Mapping[str, Check],
) -> Check:
    """Run one check, unless it can't be."""
    broken = [need for need in needs if ended[need].outcome in {Outcome.FAILED, Outcome.NOT_RUN}]
    if broken:
        return Check(name, Outcome.NOT_RUN, 0.0, f"{broken[0]} did not hold")
    if name in skips:
        return Check(name, Outcome.SKIPPED, 0.0, skips[name])
    return timed(name, step)
