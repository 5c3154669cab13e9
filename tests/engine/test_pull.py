"""``up`` pulls the image from a registry that has it: told on a terminal, noted, and taken away by purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.clients import DockerCli
    from tests.bed.deployed import Deployed
    from tests.bed.registry import RegistryProcess

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def upstream(
    deployed: Deployed, private_docker: DockerCli, registry_process: Callable[..., RegistryProcess]
) -> Iterator[str]:
    """The name of a registry image that the engine does not have, and can pull."""
    reference = f"{registry_process().address}/mirror/registry:2"
    private_docker("tag", "registry:2", reference).ok()
    private_docker("push", reference).ok()
    private_docker("rmi", reference).ok()
    yield reference
    private_docker("rmi", "-f", reference)


def test_an_image_that_is_not_here_is_pulled_and_goes_with_purge(deployed: Deployed, upstream: str) -> None:
    found = deployed.json("up", "--backend", "docker", "--port", str(deployed.port), "--image", upstream)
    assert found["ok"], found["errors"]
    steps = {(one["action"], one["resource"], one["target"]) for one in found["data"]["steps"]}
    assert ("pull", "image", upstream) in steps
    assert deployed.container().attrs["Config"]["Image"] == upstream
    assert not deployed.json("up")["changed"]
    deployed("teardown", "--purge", "-y").ok()
    assert upstream not in {tag for image in deployed.client.images.list() for tag in image.tags}


def test_on_a_terminal_the_pull_is_told_step_by_step(deployed: Deployed, upstream: str) -> None:
    arguments = ["up", "--name", deployed.name, "--no-check", "--port", str(deployed.port)]
    with deployed.regsetup.on_terminal(*arguments, "--image", upstream) as terminal:
        terminal.expect(f"image {upstream}")
        done = terminal.wait()
    assert done.code == 0, done.out
    assert f"is up at http://{deployed.address}" in done.out


def test_what_the_upstream_does_not_have_is_said_and_nothing_is_made(
    deployed: Deployed, upstream: str
) -> None:
    missing = upstream.replace(":2", ":3")
    done = deployed("up", "--backend", "docker", "--json", "--image", missing)
    assert deployed.error(done)["code"] == "image-not-found"
    assert not deployed.regsetup.home.exists()
