"""Both registries behind the same requests: the bundled one, and registry:2 as Debian builds it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.registry.harness import Client, DockerRegistry, Running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=["bundled", "docker-registry"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running | DockerRegistry]:
    """One of the two, shared by the session."""
    root = tmp_path_factory.mktemp("contract") / "data"
    root.mkdir()
    if request.param == "bundled":
        with Running.start(root) as running:
            yield running
        return
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    with DockerRegistry.start(root) as theirs:
        yield theirs


@pytest.fixture
def client(server: Running | DockerRegistry, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A connection to it. A test marked ``differs`` must fail on registry:2, for the reason that it names."""
    marker = request.node.get_closest_marker("differs")
    if marker is not None and isinstance(server, DockerRegistry):
        request.applymarker(pytest.mark.xfail(reason=f"registry:2 {marker.args[0]}", strict=True))
    with server.client() as connected:
        yield connected


@pytest.fixture
def repository() -> str:
    """A repository name that nobody used yet."""
    return f"contract/{uuid4().hex}"
