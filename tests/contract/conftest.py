"""Fixtures of the contract tests."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from tests.bed.run import free_port
from tests.contract.both import REGISTRIES, Serve
from tests.contract.calling import Calling
from tests.contract.filled import Filled
from tests.contract.runtimes import SYSTEMD, Bench, docker, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

collect_ignore = [] if SYSTEMD else ["test_systemd.py"]
BACKENDS = ["detached", "systemd"] if SYSTEMD else ["detached"]  # tests/hosts runs these where systemd runs


@pytest.fixture(params=[*BACKENDS, pytest.param("docker", marks=pytest.mark.engine)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Iterator[Bench]:
    """One registry on each back end; whatever it left is removed."""
    if request.param == "docker":
        image = request.getfixturevalue("registry_image")
        made = docker(tmp_path, unique_name, free_port(), image)
    else:
        made = embedded(tmp_path, unique_name, free_port(), detached=request.param == "detached")
    yield made
    made.open().discard_aside()
    made.open().remove()
    made.close()


@pytest.fixture(params=REGISTRIES)
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Start registries of each kind: ``serve(htpasswd=..., certificate=...)``."""
    made = Serve(request.param, tmp_path, [])
    yield made
    for served in made.started:
        served.stop()


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Calling:
    """Call regsetup in this process, in an empty home and without a terminal."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "REGSETUP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REGSETUP_HOME", str(home / "regsetup"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Calling(home, capsysbinary)


@pytest.fixture
def filled(serve: Serve) -> Iterator[Filled]:
    """A registry of each kind, with the means to put images into it."""
    url = serve().url
    with RegistryClient(Endpoint(url)) as client:
        yield Filled(client, url.removeprefix("http://"))
