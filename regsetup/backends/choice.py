"""Which back end runs a registry: the one it has, the one that was asked for, or the one that can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.backends.context import BadContext
from regsetup.backends.engine import (
    Engine,
    EngineDown,
    EngineElsewhere,
    EngineError,
    EngineNoRights,
    connect,
)
from regsetup.deployment import Backend, Deployment, Volume
from regsetup.errors import RegsetupError
from regsetup.state import Kind

if TYPE_CHECKING:
    from regsetup.backends.base import Runtime
    from regsetup.deployment import Paths
    from regsetup.state import State


class OtherBackend(RegsetupError):
    """The registry runs on another back end than the one asked for."""

    code = "other-backend"

    def __init__(self, name: str, has: str, wanted: str) -> None:
        super().__init__(
            f"{name} runs on the back end {has}, not {wanted}",
            fix=f"regsetup teardown --name {name} (images and users stay), "
            f"then regsetup up --name {name} --backend {wanted}",
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A back end, the engine behind it (None for the bundled registry), and why it was taken."""

    runtime: Runtime
    engine: Engine | None
    reason: str

    def docker(self) -> Engine:
        """Return the engine; only steps of the Docker back end ask for it."""
        if self.engine is None:
            raise AssertionError("the bundled registry has no engine")
        return self.engine


def choose(wanted: Deployment, paths: Paths, state: State | None) -> Choice:
    """Choose for ``up``: a registry stays where it is; else Docker where it can run, else the bundled one.

    Raises:
        OtherBackend: it exists on another back end than ``wanted.backend``.
        EngineDown, EngineNoRights, EngineElsewhere, BadContext: Docker was asked for, or is needed.
    """
    if state and (state.of(Kind.CONTAINER) or state.of(Kind.SERVICE)):
        if wanted.backend not in (Backend.AUTO, state.backend):
            raise OtherBackend(wanted.name, state.backend, wanted.backend)
        return reopen(paths, state)
    if wanted.backend is Backend.EMBEDDED:
        return embedded(paths, "asked for")
    try:
        engine = connect()
    except (EngineDown, EngineNoRights, EngineElsewhere, BadContext) as error:
        if wanted.backend is Backend.DOCKER or isinstance(wanted.storage, Volume):
            raise
        return embedded(paths, error.message)
    if wanted.backend is Backend.AUTO and not isinstance(wanted.storage, Volume):
        problem = _no_image(engine, wanted)
        if problem:
            engine.client.close()
            return embedded(paths, problem)
    return _docker(engine, paths, "asked for" if wanted.backend is Backend.DOCKER else "an engine answers")


def move(paths: Paths, to: Backend) -> Choice:
    """Return the back end that a registry moves to.

    Raises:
        EngineDown, EngineNoRights, EngineElsewhere, BadContext: Docker was asked for.
    """
    if to is Backend.EMBEDDED:
        return embedded(paths, "asked for")
    return _docker(connect(), paths, "asked for")


def other_side(paths: Paths, state: State, choice: Choice) -> Choice | None:
    """Return the other back end, where the ledger has something on it: a move is under way, or was cut short.

    Raises:
        EngineDown, EngineNoRights: the engine of that container does not answer.
    """
    if choice.engine is None:
        return _docker(connect(state.engine), paths, "a move") if state.of(Kind.CONTAINER) else None
    return embedded(paths, "a move") if state.of(Kind.SERVICE) else None


def reopen(paths: Paths, state: State) -> Choice:
    """Return the back end that ``state`` names, on the engine that it was made on.

    Raises:
        EngineDown, EngineNoRights: that engine does not answer.
    """
    if state.backend == Backend.EMBEDDED:
        return embedded(paths, "it runs there")
    return _docker(connect(state.engine), paths, "it runs there")


def embedded(paths: Paths, reason: str) -> Choice:
    """Return the bundled registry."""
    from regsetup.backends.embedded import EmbeddedRuntime

    return Choice(EmbeddedRuntime(paths), None, reason)


def _docker(engine: Engine, paths: Paths, reason: str) -> Choice:
    from regsetup.backends.docker import DockerRuntime

    return Choice(DockerRuntime(engine, paths), engine, reason)


def _no_image(engine: Engine, wanted: Deployment) -> str | None:
    """Return why Docker can't have the image, without pulling it: it is asked for by its manifest only."""
    from regsetup.backends.engine import translated
    from regsetup.backends.images import find

    if wanted.image_archive or find(engine, wanted.image):
        return None
    try:
        with translated():
            engine.client.images.get_registry_data(wanted.image)
    except EngineError as error:
        return f"image {wanted.image} is not on this engine and can't be pulled: {error.cause}"
    return None
