"""A bundled registry for the tests of a module, and one of its own for a test that needs it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.registry.harness import Client, Running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An open registry with nothing but defaults, shared by the session."""
    with Running.start(tmp_path_factory.mktemp("registry") / "data") as running:
        yield running


@pytest.fixture
def client(registry: Running) -> Iterator[Client]:
    """A connection to the shared registry."""
    with registry.client() as connected:
        yield connected


@pytest.fixture
def repository() -> str:
    """A repository name that nobody used yet."""
    return f"test/{uuid4().hex}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a tmpfs")
    yield path
    subprocess.run(["umount", str(path)], check=True)
