"""Waits until a registry that was started answers, or says why it never will."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from regsetup import acme
from regsetup.client import RegistryClient, RegistryError, TlsUntrusted
from regsetup.deployment import Tls
from regsetup.errors import RegsetupError
from regsetup.probe import answers, serves, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regsetup.backends.base import Runtime
    from regsetup.client import Endpoint
    from regsetup.deployment import Deployment

READY_TIMEOUT = 60.0  # seconds; a registry on a slow disk that checks a large tree at start needs some of it
_ORDER = 30.0  # seconds; the handshake that orders a certificate ends when it is there
_SHORTEST = 1.0  # seconds that any handshake gets
_LOG_DELAY = 2.0  # seconds from the end of a handshake to the line in the engine's log that explains it
_POLL = 0.05  # seconds between two looks at a starting registry
_LOG_LINES = 10  # of a registry that did not come up, in the error's cause
_LOG_TAIL = 200  # lines to find them in: Go's account of a panic takes about thirty


class NotHealthy(RegsetupError):
    """The registry did not come up; what ran before is back."""

    code = "not-healthy"

    def __init__(self, what: str, reason: str, lines: tuple[str, ...]) -> None:
        shown = "\n".join(lines)
        super().__init__(
            f"{what} did not become healthy",
            cause=f"{reason}\nits last lines:\n{shown}" if lines else f"{reason}; it wrote nothing",
            fix="mend what the lines say, then regsetup up again; nothing was changed",
        )


def ready_timeout(wanted: Deployment) -> float:
    """Return how long to wait for a registry, in seconds, unless somebody says otherwise."""
    return acme.TIMEOUT if wanted.tls is Tls.ACME else READY_TIMEOUT


def until_certified(runtime: Runtime, wanted: Deployment, where: Endpoint, timeout: float) -> None:
    """Wait until the registry answers for each of its names, ``timeout`` seconds at most for all of them.

    The first handshake for a name makes it order the certificate.

    Raises:
        NotCertified: an order failed, or gave what this machine does not trust.
        NotHealthy: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + timeout
    for host in wanted.hosts:
        left = max(deadline - time.monotonic(), 0)
        named = replace(where, certified_name=host)
        certified = partial(_is_certified, runtime, named, min(_ORDER, max(left, _SHORTEST)))
        _until(certified, f"no answer for {host}", runtime, wanted.name, left)


def _is_certified(runtime: Runtime, where: Endpoint, patience: float) -> bool:
    try:
        with RegistryClient(where, timeout=patience, patience=0) as client:
            return client.ping().status in (200, 401)
    except TlsUntrusted as error:
        raise acme.NotCertified(where.certified_name or "", _why_not(runtime, error)) from error
    except RegistryError:
        return False


def _why_not(runtime: Runtime, error: TlsUntrusted) -> str:
    """Return the registry's own account of a refused handshake, else what was seen of it here."""
    deadline = time.monotonic() + _LOG_DELAY
    while time.monotonic() < deadline:
        if why := acme.refusal(runtime.logs(tail=_LOG_TAIL)):
            return why
        time.sleep(_POLL)
    return f"{error.message}: {error.cause}"


def until_it_answers(runtime: Runtime, name: str, where: Endpoint, timeout: float) -> None:
    """Wait for ``timeout`` seconds at most.

    Raises:
        NotHealthy: it ended, or did not answer in time.
    """
    _until(lambda: answers(where), "no answer to GET /v2/", runtime, name, timeout)


def until_it_listens(runtime: Runtime, wanted: Deployment, timeout: float) -> None:
    """Wait until the registry shows a certificate, whichever, for ``timeout`` seconds at most.

    Raises:
        NotHealthy: it ended, or shows none.
    """
    _until(lambda: shown(wanted.local) is not None, "no certificate shown", runtime, wanted.name, timeout)


def until_it_serves(runtime: Runtime, wanted: Deployment, certificate: Path, timeout: float) -> None:
    """Wait until the registry answers with ``certificate``, for ``timeout`` seconds at most.

    Raises:
        NotHealthy: it ended, or goes on with another.
    """
    missing = "no answer with the new certificate"
    _until(lambda: serves(wanted.local, certificate), missing, runtime, wanted.name, timeout)


def _until(holds: Callable[[], bool], missing: str, runtime: Runtime, name: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        reason = runtime.failure()
        if reason is None and time.monotonic() > deadline:
            reason = f"{missing} within {timeout:.0f} s"
        if reason:
            lines = last_words(tuple(runtime.logs(tail=_LOG_TAIL)))
            raise NotHealthy(f"{runtime.kind} {name}", reason, lines)
        time.sleep(_POLL)


def last_words(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines that say why it ended: a Go program that panics says so first, and then where."""
    panics = [at for at, line in enumerate(lines) if line.startswith("panic:")]
    start = panics[-1] if panics else max(len(lines) - _LOG_LINES, 0)
    return lines[start : start + _LOG_LINES]
