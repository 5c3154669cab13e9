"""Which back end runs a registry: the one it has, the one that was asked for, or the one that can."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.context import BadContext
from regsetup.backends.engine import (
    Engine,
    EngineDown,
    EngineError,
    EngineNoRights,
    connect,
    find_address,
    is_elsewhere,
    machine,
)
from regsetup.deployment import Backend, Deployment, Volume
from regsetup.errors import RegsetupError, UsageError
from regsetup.given import Given
from regsetup.state import Kind, read
from regsetup.users import stays

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.backends.base import Runtime
    from regsetup.deployment import Paths
    from regsetup.state import State
    from regsetup.users import Carry


class OtherBackend(RegsetupError):
    """The registry runs on another back end than the one asked for."""

    code = "other-backend"

    def __init__(self, name: str, has: str, wanted: str) -> None:
        super().__init__(
            f"{name} runs on the back end {has}, not {wanted}",
            cause="up leaves a registry on the back end that it has",
            fix=f"regsetup migrate --name {name} --to {wanted}; if it does not run any more: "
            f"regsetup teardown --name {name} (images and users stay), then the same again",
        )


class EngineElsewhere(RegsetupError):
    """A registry of this machine can't move to an engine on another one."""

    code = "engine-elsewhere"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the Docker engine at {address} is on another machine",
            cause="the images are in a directory of this one",
            fix="unset DOCKER_HOST and choose a local docker context; or set a second registry up over "
            "there, and copy the images: regsetup copy",
        )


class EngineHere(UsageError):
    """``--machine`` names another machine, and the engine is this one's."""

    code = "engine-here"

    def __init__(self, machine: str, address: str) -> None:
        super().__init__(
            f"the registry was to run on {machine}, and the engine at {address} is this machine's",
            fix=f"DOCKER_HOST=ssh://{machine} regsetup up, or leave --machine out; "
            "under another --name if one was set up there",
        )


class BundleLacksImage(RegsetupError):
    """Docker was asked for, nothing may be pulled, and the bundle has no image."""

    code = "bundle-lacks-image"

    def __init__(self, bundle: Path, image: str) -> None:
        super().__init__(
            f"{bundle} holds no image, and {image} is not on this engine",
            cause="with --bundle nothing is pulled",
            fix="a bundle made with --image; or --backend embedded, which needs no image",
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
        EngineDown, EngineNoRights, EngineTls, SshFailed, BadContext: Docker was asked for, or is needed.
        EngineHere: another machine was asked for.
    """
    if state and (state.of(Kind.CONTAINER) or state.of(Kind.SERVICE)):
        if wanted.backend not in (Backend.AUTO, state.backend):
            raise OtherBackend(wanted.name, state.backend, wanted.backend)
        return reopen(paths, state)
    if wanted.machine and state and state.engine and is_elsewhere(state.engine):
        return reopen(paths, state)  # its images are in a volume over there
    if wanted.backend is Backend.EMBEDDED:
        return embedded(paths, "asked for")
    if wanted.backend is Backend.AUTO and wanted.only_bundled and not wanted.machine:
        return embedded(paths, f"only it has {', '.join(wanted.only_bundled)}")
    try:
        engine = connect()
    except (EngineDown, EngineNoRights, BadContext) as error:
        if wanted.backend is Backend.DOCKER or isinstance(wanted.storage, Volume):
            raise
        return embedded(paths, error.message)
    if wanted.machine and not engine.elsewhere:
        engine.client.close()
        raise EngineHere(wanted.machine, engine.address)
    if wanted.backend is Backend.AUTO and not isinstance(wanted.storage, Volume):
        problem = _no_image(engine, wanted)
        if problem:
            engine.client.close()
            return embedded(paths, problem)
    return _docker(engine, paths, "asked for" if wanted.backend is Backend.DOCKER else "an engine answers")


def move(paths: Paths, to: Backend) -> Choice:
    """Return the back end that a registry moves to.

    Raises:
        EngineDown, EngineNoRights, BadContext: Docker was asked for.
        EngineElsewhere: that engine can't have the images of this machine.
    """
    if to is Backend.EMBEDDED:
        return embedded(paths, "asked for")
    engine = connect()
    if engine.elsewhere:
        engine.client.close()
        raise EngineElsewhere(engine.address)
    return _docker(engine, paths, "asked for")


def other_side(paths: Paths, state: State, choice: Choice) -> Choice | None:
    """Return the other back end, where the ledger has something on it: a move is under way, or was cut short.

    Raises:
        EngineDown, EngineNoRights: the engine of that container does not answer.
    """
    if choice.engine is None:
        return _docker(engine_of(state), paths, "a move") if state.of(Kind.CONTAINER) else None
    return embedded(paths, "a move") if state.of(Kind.SERVICE) else None


def reopen(paths: Paths, state: State) -> Choice:
    """Return the back end that ``state`` names, on the engine that it was made on.

    Raises:
        EngineDown, EngineNoRights: that engine does not answer.
    """
    if state.backend == Backend.EMBEDDED:
        return embedded(paths, "it was set up so")
    return _docker(engine_of(state), paths, "it was set up so")


def engine_of(state: State) -> Engine:
    """Connect to the engine that a registry is, or was, on.

    Raises:
        EngineDown, EngineNoRights, EngineTls, SshFailed: it does not answer.
    """
    return connect(state.engine, Path(state.engine_tls) if state.engine_tls else None)


def settings_of_engine(
    wanted: Deployment, state: State | None, environ: Mapping[str, str]
) -> dict[str, Given]:
    """Return what an engine elsewhere adds to the settings: its machine, which others follow from.

    The engine is the one that the registry has, else the one that environment and contexts name.
    """
    if wanted.machine or wanted.backend is Backend.EMBEDDED:
        return {}
    if state and (state.of(Kind.CONTAINER) or state.of(Kind.SERVICE)):
        address = state.engine if state.backend == Backend.DOCKER else None
    else:
        address = None
        with contextlib.suppress(BadContext):  # said by who needs the engine
            address, _ = find_address(environ)
    found = machine(address) if address else None
    return {"machine": Given((found,), f"the engine at {address}", Path())} if found else {}


def users_carrier(wanted: Deployment, paths: Paths) -> Carry:
    """Return what brings an edited users' file to the registry; nothing, unless it is on another machine."""
    state = read(paths.state) if wanted.machine else None
    return reopen(paths, state).runtime.carry_users if state else stays


def embedded(paths: Paths, reason: str) -> Choice:
    """Return the bundled registry."""
    from regsetup.backends.embedded import EmbeddedRuntime

    return Choice(EmbeddedRuntime(paths), None, reason)


def _docker(engine: Engine, paths: Paths, reason: str) -> Choice:
    from regsetup.backends.docker import DockerRuntime

    return Choice(DockerRuntime(engine, paths), engine, reason)


def require_here(engine: Engine, wanted: Deployment) -> None:
    """See that the image is on the engine, where a bundle has none and forbids to pull.

    Raises:
        BundleLacksImage: it is not.
    """
    from regsetup.backends.images import find

    if wanted.bundle and find(engine, wanted.image) is None:
        raise BundleLacksImage(wanted.bundle, wanted.image)


def _no_image(engine: Engine, wanted: Deployment) -> str | None:
    """Return why Docker can't have the image, without pulling it: it is asked for by its manifest only."""
    from regsetup.backends.engine import translated
    from regsetup.backends.images import find, foreign, read_archive

    if wanted.image_archive:
        return foreign(engine, read_archive(wanted.image_archive)) if wanted.bundle else None
    if find(engine, wanted.image):
        return None
    if wanted.bundle:
        return f"{wanted.bundle.name} holds no image, and {wanted.image} is not on this engine"
    try:
        with translated():
            engine.client.images.get_registry_data(wanted.image)
    except EngineError as error:
        return f"image {wanted.image} is not on this engine and can't be pulled: {error.cause}"
    return None
