"""What a registry is doing now, gathered from the back end, the disk and the registry itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from regsetup import history, storage
from regsetup.backends.choice import reopen
from regsetup.certify import ending
from regsetup.certify import look as look_at_certificates
from regsetup.deployment import Directory, Paths, Tls
from regsetup.errors import RegsetupError
from regsetup.host.certificate_files import CertificatesHidden
from regsetup.load import load
from regsetup.observe import read_users
from regsetup.probe import answers, endpoint
from regsetup.state import Kind, read

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.deployment import Deployment
    from regsetup.history import Event
    from regsetup.observed import Seen


@dataclass(frozen=True, slots=True)
class Status:
    """One registry at one moment.

    Attributes:
        state: ``running``, ``stopped``, ``torn down`` or ``unknown`` (its engine does not answer).
        answers: whether ``GET /v2/`` is answered on this machine.
        size: bytes stored, ``free`` bytes that its file system has left; None where it can't be told.
        problem: why the state is unknown.
        uptime: seconds since it was started.
        days_until_full: if the disk goes on filling up like this; None where that can't be told.
        jobs: what is scheduled.
    """

    name: str
    backend: str
    kind: str
    state: str
    running: bool
    answers: bool
    health: str
    url: str
    auth: bool
    users: tuple[str, ...]
    storage: str
    size: int | None
    free: int | None
    repositories: int | None
    image: str | None
    id: str | None
    started_at: str | None
    since: str
    problem: str | None = None
    uptime: int | None = None
    days_until_full: int | None = None
    certificate_days: int | None = None
    last_backup: Event | None = None
    last_collection: Event | None = None
    jobs: tuple[str, ...] = ()


def look(paths: Paths) -> Status | None:
    """Return the status, None where there is no registry of this name."""
    state = read(paths.state)
    if state is None:
        return None
    wanted = remembered(paths)
    kind, seen, problem = "container" if state.backend == "docker" else "service", None, None
    try:
        seen = reopen(paths, state).runtime.current()
    except RegsetupError as error:
        problem = error.message
    running = bool(seen and seen.running)
    now = datetime.now(UTC)
    facts = storage.look(wanted.storage.path) if isinstance(wanted.storage, Directory) else None
    return Status(
        name=state.name,
        backend=state.backend,
        kind=kind,
        state=_state(seen, problem),
        running=running,
        answers=running and answers(endpoint(wanted, paths)),
        health=seen.health if seen else "unknown",
        url=f"{wanted.scheme}://{wanted.address}",
        auth=wanted.auth,
        users=read_users(paths) or (),
        storage=str(wanted.storage),
        size=facts.size if facts else None,
        free=facts.free if facts else None,
        repositories=facts.repositories if facts else None,
        image=seen.image if seen else None,
        id=seen.id if seen else None,
        started_at=seen.started_at if seen else None,
        since=state.since,
        problem=problem,
        uptime=_seconds_since(seen.started_at, now) if seen else None,
        certificate_days=_certificate_days(wanted, paths, now),
        jobs=state.of(Kind.TIMER),
        **_remembered_too(paths, facts, now),
    )


def _seconds_since(moment: str | None, now: datetime) -> int | None:
    """Return how long ago it was; Docker writes nanoseconds, of which Python reads six digits."""
    if moment is None:
        return None
    found = datetime.fromisoformat(moment[:19] + "+00:00")
    return max(int((now - found).total_seconds()), 0)


def _certificate_days(wanted: Deployment, paths: Paths, now: datetime) -> int | None:
    """Return how many days the certificate is still good for; None without TLS, or where it is hidden."""
    if wanted.tls is Tls.OFF:
        return None
    with contextlib.suppress(CertificatesHidden):
        leaf = look_at_certificates(wanted, paths).leaf
        return leaf.days_left(now) if leaf else None
    return None


def _remembered_too(paths: Paths, facts: storage.Facts | None, now: datetime) -> dict[str, Any]:
    """Take a sample of the disk, and return what the history says."""
    if facts is not None and facts.size is not None and facts.exists:
        history.note_sample(paths, facts.size, facts.free, now)
    known = history.read(paths)
    full = history.days_until_full(known, facts.free, now) if facts else None
    return {"days_until_full": full, "last_backup": known.backup, "last_collection": known.collection}


def look_at_all(home: Path) -> tuple[Status, ...]:
    """Return every registry below ``home``, by name; one that is damaged or closed to us hides no other."""
    names = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else ()
    found = (_look_or_say_why(Paths(home, name)) for name in names)
    return tuple(one for one in found if one)


def _look_or_say_why(paths: Paths) -> Status | None:
    try:
        return look(paths)
    except RegsetupError as error:
        return Status(
            name=paths.name,
            backend="unknown",
            kind="unknown",
            state="unknown",
            running=False,
            answers=False,
            health="unknown",
            url="",
            auth=False,
            users=(),
            storage="",
            size=None,
            free=None,
            repositories=None,
            image=None,
            id=None,
            started_at=None,
            since="",
            problem=error.message,
        )


def warnings(paths: Paths) -> tuple[RegsetupError, ...]:
    """Return what will go wrong if nobody does anything; nothing that this user can't see."""
    with contextlib.suppress(CertificatesHidden):
        return ending(remembered(paths), paths, datetime.now(UTC))
    return ()


def remembered(paths: Paths) -> Deployment:
    """Return the deployment that the last ``up`` made, from what it wrote down."""
    return load({"name": paths.name}, {}, None, paths.home, cwd=paths.root).deployment


def _state(seen: Seen | None, problem: str | None) -> str:
    if problem:
        return "unknown"
    if seen is None or seen.spec is None:
        return "torn down"
    return "running" if seen.running else "stopped"
