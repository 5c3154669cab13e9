"""Fixtures for every kind of test; what they do stands in ``tests/bed``."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.bed.cli import Regsetup
from tests.bed.clients import DockerCli, Podman, Skopeo
from tests.bed.engine import PrivateEngine, connect, remove_marked
from tests.bed.images import REGISTRY_IMAGE, SCRATCH_IMAGE, ensure_registry_image
from tests.bed.processes import end_marked
from tests.bed.registry import RegistryProcess, start_registry
from tests.bed.run import RUN, RUN_VARIABLE, in_ci, missing, need, unique
from tests.bed.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

_ENGINE_FIXTURES = {"engine", "private_engine", "fresh_engine"}
_skipped: list[str] = []

# A property that takes 200 ms on a busy machine still holds; the suite's own time limit catches endless ones.
hypothesis.settings.register_profile("regsetup", deadline=None)
hypothesis.settings.load_profile("regsetup")


def pytest_configure(config: pytest.Config) -> None:
    """Mark this run: every child process inherits the variable. Clean up also when told to stop."""
    os.environ[RUN_VARIABLE] = RUN
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT may be ignored, below a shell's `&`
        signal.signal(number, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hold that a test which needs an engine says so, for those who deselect by mark."""
    for item in items:
        wants = _ENGINE_FIXTURES & set(getattr(item, "fixturenames", ()))
        if wants and not {"engine", "hosts"} & {mark.name for mark in item.iter_markers()}:
            raise pytest.UsageError(f"{item.nodeid} uses {wants} without @pytest.mark.engine")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which tests that need an engine were skipped, whatever skipped them."""
    if report.skipped and {"engine", "hosts"} & set(report.keywords) and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it left a container, volume, network or process (removed then), or skipped in CI."""
    left = [f"process {pid}: {command}" for pid, command in end_marked(f"{RUN_VARIABLE}={RUN}").items()]
    client = connect()
    if client is not None:
        left += remove_marked(client, RUN)
        client.close()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\n\nleft behind by this run (now removed):", *left, sep="\n  ")  # noqa: T201
    if _skipped and in_ci():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\n\nCI=true, and these tests of the engine were skipped:", *_skipped, sep="\n  ")  # noqa: T201


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The machine's own engine, shared with others: touch nothing but what the test made."""
    client = connect()
    if client is None:
        missing("no Docker engine answers")
    yield client
    client.close()


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a deployment, container, volume or network; all that carries it is removed at the end."""
    name = unique()
    yield name
    end_marked(name)
    if _ENGINE_FIXTURES & set(request.fixturenames):
        client = connect()
        if client is not None:
            remove_marked(client, name)
            client.close()


@pytest.fixture(scope="session")
def registry_image(engine: docker.DockerClient) -> str:
    """The tag of an image that is like the official registry:2."""
    return ensure_registry_image(engine, REGISTRY_IMAGE, shell=True)


@pytest.fixture(scope="session")
def scratch_registry_image(engine: docker.DockerClient) -> str:
    """The tag of a registry image without a shell or any tool."""
    return ensure_registry_image(engine, SCRATCH_IMAGE, shell=False)


@pytest.fixture(scope="session")
def registry_archive(
    engine: docker.DockerClient, registry_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ``docker save`` of the registry image, for ``--image-archive``."""
    path = tmp_path_factory.mktemp("archive") / "registry.tar"
    with path.open("wb") as file:
        for chunk in engine.images.get(registry_image).save(named=registry_image):
            file.write(chunk)
    return path


@pytest.fixture(scope="session")
def private_engine_session() -> Iterator[PrivateEngine]:
    """One private engine for the run, with the registry image as ``registry:2``; leave it as you found it."""
    need("dockerd")
    private = PrivateEngine()
    try:
        private.start()
        client = private.client()
        ensure_registry_image(client, "registry:2", shell=True)
        client.close()
        yield private
    finally:
        private.remove()


@pytest.fixture
def private_engine(private_engine_session: PrivateEngine) -> Iterator[PrivateEngine]:
    """The private engine; its containers, volumes and daemon.json are put back after each test."""
    yield private_engine_session
    private_engine_session.restore()


@pytest.fixture
def fresh_engine() -> Iterator[Callable[..., PrivateEngine]]:
    """Make engines that a test may break: ``fresh_engine(flags=(...))`` is not started yet."""
    made: list[PrivateEngine] = []

    def make(**more: object) -> PrivateEngine:
        need("dockerd")
        made.append(PrivateEngine(**more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for private in made:
        private.remove()


@pytest.fixture
def sshd(private_engine: PrivateEngine, tmp_path: Path) -> Iterator[Sshd]:
    """An sshd that leads to the private engine."""
    need("docker")
    there = Sshd(tmp_path / "sshd", private_engine.url)
    there.start()
    yield there
    there.stop()


@pytest.fixture
def registry_process(tmp_path: Path) -> Iterator[Callable[..., RegistryProcess]]:
    """Start Debian's docker-registry: ``registry_process(data=..., htpasswd=..., certificate=...)``."""
    running: list[RegistryProcess] = []

    def start(**more: object) -> RegistryProcess:
        options: dict[str, object] = {"data": tmp_path / "registry-data"} | more
        running.append(start_registry(tmp_path / "registry-process", **options))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for registry in running:
        registry.stop()


@pytest.fixture
def regsetup(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Regsetup]:
    """The command, with a home of its own; what it left running is ended after the test."""
    runner = Regsetup(tmp_path / "person")
    yield runner
    end_marked(str(tmp_path))
    if _ENGINE_FIXTURES & set(request.fixturenames):
        client = connect()
        if client is not None:
            remove_marked(client, str(tmp_path))
            client.close()


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """Skopeo, isolated."""
    need("skopeo")
    return Skopeo(tmp_path / "skopeo")


@pytest.fixture
def podman() -> Iterator[Podman]:
    """Podman, isolated."""
    need("podman")
    home = Path(tempfile.mkdtemp(prefix="rtp", dir="/tmp"))  # it refuses a runroot of more than 50 characters
    yield Podman(home)
    shutil.rmtree(home)


@pytest.fixture
def docker_cli(tmp_path: Path) -> DockerCli:
    """The docker command, with a configuration of its own."""
    need("docker")
    return DockerCli(tmp_path / "docker-cli")
