"""A registry of the test's own on the private engine, and a docker command that talks to that engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.clients import DockerCli
from tests.bed.deployed import Deployed
from tests.bed.run import free_port, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed.cli import Regsetup
    from tests.bed.engine import PrivateEngine


@pytest.fixture
def deployed(private_engine: PrivateEngine, regsetup: Regsetup) -> Iterator[Deployed]:
    """The program, for a registry that is not there yet."""
    regsetup.place.mkdir()
    regsetup.env["DOCKER_HOST"] = private_engine.url
    client = private_engine.client()
    yield Deployed(regsetup, client, "registry", free_port())
    client.close()


@pytest.fixture
def private_docker(private_engine: PrivateEngine, tmp_path: Path) -> DockerCli:
    """The docker command of a person with credentials of his own, on the private engine."""
    need("docker")
    return DockerCli(tmp_path / "docker-cli", private_engine.url)
