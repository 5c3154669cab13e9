"""What a registry is doing now, gathered from the back end, the disk and the registry itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from regsetup import storage
from regsetup.backends.choice import reopen
from regsetup.certify import ending
from regsetup.deployment import Directory, Paths
from regsetup.errors import RegsetupError
from regsetup.host.certificate_files import CertificatesHidden
from regsetup.load import load
from regsetup.observe import read_users
from regsetup.probe import answers, endpoint
from regsetup.state import read

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.deployment import Deployment
    from regsetup.observed import Seen


@dataclass(frozen=True, slots=True)
class Status:
    """One registry at one moment.

    Attributes:
        state: ``running``, ``stopped``, ``torn down`` or ``unknown`` (its engine does not answer).
        answers: whether ``GET /v2/`` is answered on this machine.
        size: bytes stored, ``free`` bytes that its file system has left; None where it can't be told.
        problem: why the state is unknown.
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
    )


def look_at_all(home: Path) -> tuple[Status, ...]:
    """Return every registry below ``home``, by name; one whose files are damaged hides no other."""
    found = (_look_or_say_why(Paths(home, path.parent.name)) for path in sorted(home.glob("*/state.json")))
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
