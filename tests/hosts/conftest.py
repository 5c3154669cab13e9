"""Fixtures for whole machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.engine import remove_marked
from tests.bed.hosts import HOST, Host, HostFactory, regsetup_packages
from tests.bed.roots import ensure_root_image
from tests.bed.run import unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker


@pytest.fixture(scope="session")
def host_image(engine: docker.DockerClient) -> str:
    """The image that hosts are made of; the first run on a machine takes minutes to make it."""
    return ensure_root_image(engine, HOST)


@pytest.fixture(scope="session")
def host_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``Host.install_regsetup`` takes: this checkout as a wheel, unpacked with all it needs."""
    return regsetup_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def host_factory(engine: docker.DockerClient, host_image: str) -> Iterator[HostFactory]:
    """Boot hosts on one network: ``host_factory("server")`` is reached by the others as ``server``.

    They live as long as the tests of one module.
    """
    mark = unique("hosts")
    yield HostFactory(engine, host_image, engine.networks.create(mark), mark)
    remove_marked(engine, mark)


@pytest.fixture(scope="module")
def server(host_factory: HostFactory, host_packages: Path) -> Host:
    """A host with regsetup, without an engine that runs."""
    host = host_factory("server")
    host.install_regsetup(host_packages)
    return host
