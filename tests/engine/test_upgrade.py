"""``upgrade`` and ``migrate`` on a real engine: the same is served afterwards, or the old one is back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.bed.deployed import PASSWORD
from tests.bed.dying import KILLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bed.clients import DockerCli
    from tests.bed.deployed import Deployed
    from tests.bed.registry import RegistryProcess

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MOVED = 'CMD ["/etc/distribution/config.yml"]'  # where registry:3 reads its configuration
READ_ONLY = "ENV REGISTRY_STORAGE_MAINTENANCE='{readonly: {enabled: true}}'"
FORGETFUL = "ENV REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/tmp"  # it comes up, and serves nothing of old


@contextmanager
def changed_image(deployed: Deployed, reference: str, change: str) -> Iterator[None]:
    """Have ``reference`` mean the registry's image with one instruction more; the name goes at the end."""
    container = deployed.client.containers.create("registry:2")
    container.commit(*reference.split(":"), changes=[change])
    container.remove(v=True)
    try:
        yield
    finally:
        deployed("teardown", "--purge", "-y").ok()
        if any(reference in one.tags for one in deployed.client.images.list()):
            deployed.client.images.remove(reference, force=True)


def with_an_image(deployed: Deployed, docker_cli: DockerCli, *args: str) -> tuple[str, str]:
    """Bring a registry with users up, push an image, and return its name and id."""
    deployed.up_with_alice(*args).ok()
    docker_cli("login", "-u", "alice", "--password-stdin", deployed.address, stdin=PASSWORD).ok()
    reference = f"{deployed.address}/team/app:1"
    return reference, deployed.push(docker_cli, reference)


def test_another_image_serves_what_the_old_one_did(deployed: Deployed, private_docker: DockerCli) -> None:
    reference, pushed = with_an_image(deployed, private_docker, "--env", "REGISTRY_REDIS_POOL_MAXIDLE=1")
    before = deployed.life()
    with changed_image(deployed, "moved:1", MOVED):
        looked = deployed("upgrade", "--image", "moved:1", "--check", "--exit-code")
        assert looked.code == 3
        assert "mounted at /etc/distribution/config.yml" in looked.out
        assert "REGISTRY_REDIS_POOL_MAXIDLE means nothing to registry:3" in looked.out
        assert "1 tags, all whole" in looked.out
        assert deployed.life() == before, "a check changes nothing"

        done = deployed("upgrade", "--image", "moved:1").ok()
        assert "prove     container registry" in done.err
        assert "serves    what it did before: 1 tags" in done.out
        container = deployed.container()
        assert container.attrs["Config"]["Image"] == "moved:1"
        assert "/etc/distribution/config.yml" in {one["Destination"] for one in container.attrs["Mounts"]}
        assert "OTEL_TRACES_EXPORTER=none" in container.attrs["Config"]["Env"]
        assert deployed.pull(private_docker, reference) == pushed
        assert [one.name for one in deployed.client.containers.list(all=True)] == ["registry"]
        assert deployed.json("up", "--no-check")["changed"] is False


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        ("image", FORGETFUL, "content-lost"),
        ("archive", FORGETFUL, "content-lost"),
        ("image", READ_ONLY, "not-proven"),
    ],
)
def test_an_image_that_does_not_do_goes_and_the_old_one_is_back(
    deployed: Deployed, private_docker: DockerCli, tmp_path: Path, kind: str, change: str, code: str
) -> None:
    deployed.client.images.get("registry:2").tag("moving", "1")
    reference, pushed = with_an_image(deployed, private_docker, "--image", "moving:1")
    life, old = deployed.life()[0], str(deployed.client.images.get("moving:1").id)
    files = deployed.files()
    with changed_image(deployed, "forgetful:1", change):
        words = ["--image", "forgetful:1"]
        if kind == "archive":
            private_docker("tag", "forgetful:1", "moving:1").ok()
            private_docker("save", "-o", str(tmp_path / "a.tar"), "moving:1").ok()
            private_docker("tag", old, "moving:1").ok()
            words = ["--image-archive", str(tmp_path / "a.tar")]
        done = deployed("upgrade", *words, "--json")
        error = deployed.error(done)
        assert (done.code, error["code"]) == (1, code)
        assert ("team/app:1" if code == "content-lost" else "push") in error["cause"]
        assert deployed.life()[0] == life
        assert deployed.container().status == "running"
        assert str(deployed.client.images.get("moving:1").id) == old
        assert deployed.files().keys() == files.keys()
        assert deployed.pull(private_docker, reference) == pushed
        assert deployed.json("up", "--no-check")["changed"] is False
    deployed.client.images.remove("moving:1", force=True)


def test_the_same_name_is_pulled_anew(
    deployed: Deployed, private_docker: DockerCli, registry_process: Callable[..., RegistryProcess]
) -> None:
    upstream = registry_process()
    image = f"{upstream.address}/mirror/registry:2"
    private_docker("tag", "registry:2", image).ok()
    private_docker("push", image).ok()
    reference, pushed = with_an_image(deployed, private_docker, "--image", image)
    life = deployed.life()
    assert "is the newest of its name" in deployed("upgrade", "--check", "--exit-code").ok().out
    assert "nothing to do" in deployed("upgrade").ok().out
    assert deployed.life() == life

    container = deployed.client.containers.create("registry:2")
    container.commit("newer", "1", changes=["LABEL newer=1"])
    container.remove(v=True)
    private_docker("tag", "newer:1", image).ok()
    private_docker("push", image).ok()
    private_docker("tag", "registry:2", image).ok()
    looked = deployed.json("upgrade", "--check")
    assert (looked["data"]["newest"], looked["data"]["pending"]) == (False, True)
    upgraded = deployed.json("upgrade")
    assert upgraded["changed"]
    assert upgraded["data"]["downtime_seconds"] > 0
    assert deployed.container().labels["newer"] == "1"
    assert deployed.pull(private_docker, reference) == pushed

    upstream.stop()
    looked = deployed.json("upgrade", "--check")
    assert (looked["ok"], looked["data"]["newest"]) == (True, None)
    done = deployed("upgrade", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "no-newer-image")
    assert deployed.container().status == "running"
    deployed("teardown", "--purge", "-y").ok()
    for name in ("newer:1", image):
        private_docker("rmi", "-f", name)


def test_there_and_back_again(deployed: Deployed, private_docker: DockerCli) -> None:
    before = deployed.everything()
    reference, pushed = with_an_image(deployed, private_docker)
    done = deployed("migrate", "--to", "embedded").ok()
    assert "runs as   service registry" in done.out
    assert "downtime" in done.out
    assert deployed.engine_things() == before[0], "the container is gone"
    assert deployed.pull(private_docker, reference) == pushed, "alice may still enter"
    assert deployed.json("up", "--no-check")["changed"] is False
    assert deployed.json("status")["data"]["backend"] == "embedded"
    assert "nothing to do" in deployed("migrate", "--to", "embedded").ok().out
    second = deployed.push(private_docker, f"{deployed.address}/team/app:2")

    moved = deployed.json("migrate", "--to", "docker")
    assert moved["changed"], moved["errors"]
    assert moved["data"]["tags"] == 2
    assert deployed.container().status == "running"
    assert deployed.pull(private_docker, reference) == pushed
    assert deployed.pull(private_docker, f"{deployed.address}/team/app:2") == second
    assert deployed.json("up", "--no-check")["changed"] is False
    deployed("migrate", "--to", "embedded").ok()
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before


def test_what_cannot_move_stays_and_says_why(deployed: Deployed, private_docker: DockerCli) -> None:
    done = deployed("migrate", "--to", "podman", "--json")
    assert (done.code, deployed.error(done)["code"]) == (2, "no-such-backend")
    done = deployed("upgrade", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "no-registry")
    deployed.up("--data", "volume:images").ok()
    done = deployed("migrate", "--to", "embedded", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "volume-stays")
    deployed.container().stop(timeout=5)
    for command in (["upgrade"], ["upgrade", "--check"]):
        done = deployed(*command, "--json")
        assert (done.code, deployed.error(done)["code"]) == (1, "not-serving")
    deployed("teardown", "--purge", "-y").ok()

    # The bundled registry takes no heed of variables; the container does, and will not come up.
    port = str(deployed.port)
    words = ["--backend", "embedded", "--env", "REGISTRY_STORAGE=nonsense", "--port", port, "--no-check"]
    deployed("up", *words, "--user", "alice", "--password-stdin", stdin=f"{PASSWORD}\n").ok()
    private_docker("login", "-u", "alice", "--password-stdin", deployed.address, stdin=PASSWORD).ok()
    pushed = deployed.push(private_docker, f"{deployed.address}/a:1")
    done = deployed("migrate", "--to", "docker", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "not-healthy")
    assert deployed.json("status")["data"]["backend"] == "embedded"
    assert deployed.pull(private_docker, f"{deployed.address}/a:1") == pushed
    assert deployed.client.containers.list(all=True) == []
    deployed("teardown", "--purge", "-y").ok()


def test_without_a_network_an_upgrade_says_that_the_image_stays(deployed: Deployed) -> None:
    deployed.up("--no-check").ok()
    before = deployed.life()
    done = deployed("upgrade", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "no-newer-image")
    assert "runs on with the image it has" in deployed.error(done)["message"]
    assert "regsetup upgrade --image-archive FILE" in deployed.error(done)["fix"]
    assert deployed.life() == before
    deployed("teardown", "--purge", "-y").ok()


def test_a_move_notes_the_variables_that_only_a_container_reads(deployed: Deployed) -> None:
    variables = ("--env", "REGISTRY_LOG_LEVEL=warn", "--env", "TZ=UTC")
    assert "means nothing" not in deployed.up(*variables, "--no-check").ok().out
    note = "--env REGISTRY_LOG_LEVEL means nothing to the bundled registry: only a container reads it"
    assert f"note      {note}\n" in deployed("migrate", "--to", "embedded").ok().out
    data = deployed.json("migrate", "--to", "docker")["data"]
    assert not [one for one in data["notes"] if "means nothing" in one]
    assert "REGISTRY_LOG_LEVEL=warn" in deployed.container().attrs["Config"]["Env"]
    assert note in deployed.json("migrate", "--to", "embedded")["data"]["notes"]
    deployed("teardown", "--purge", "-y").ok()


def dying(deployed: Deployed, n: int, *words: str) -> bool:
    """Run ``migrate`` or ``upgrade`` and kill it at its n-th event; False when it ended before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bed.dying", str(n), *words, deployed.name],
        env=dict(os.environ) | deployed.regsetup.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode == KILLED


def killed_once(deployed: Deployed, n: int, here: str, to: str) -> bool:
    """Kill a move, and see that ``up`` settles it on one side, with the images; True if it was killed."""
    killed = dying(deployed, n, "--to", to)
    done = deployed("up", "--no-check")
    assert done.code == 0, f"killed at event {n}: {done.err}"
    status = deployed.json("status")["data"]
    assert status["answers"], f"killed at event {n}"
    assert status["backend"] in (here, to)
    containers = [one.name for one in deployed.client.containers.list(all=True)]
    assert containers == ([deployed.name] if status["backend"] == "docker" else []), f"killed at event {n}"
    served = deployed.json("upgrade", "--check")["data"]
    assert (served["tags"], served["damaged"]) == (1, [])
    assert deployed.json("up", "--no-check")["changed"] is False
    if status["backend"] != here:
        deployed("migrate", "--to", here).ok()
    return killed


@pytest.mark.parametrize(("here", "to"), [("docker", "embedded"), ("embedded", "docker")])
def test_a_move_killed_at_any_step_ends_on_one_side_with_all_images(
    deployed: Deployed, private_docker: DockerCli, here: str, to: str
) -> None:
    before = deployed.everything()
    with_an_image(deployed, private_docker)
    if here == "embedded":
        deployed("migrate", "--to", here).ok()
    n = 2
    while killed_once(deployed, n, here, to):
        n += 2
    assert n >= 12, "two events a step"
    dying(deployed, 8, "--to", to)
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before, "teardown knows both sides of a move"


def test_what_was_not_proven_is_no_measure_for_the_next_upgrade(
    deployed: Deployed, private_docker: DockerCli
) -> None:
    reference, pushed = with_an_image(deployed, private_docker)
    with changed_image(deployed, "forgetful:1", FORGETFUL):
        assert dying(deployed, 8, "--image", "forgetful:1"), "it runs, and nobody has looked what it serves"
        done = deployed("upgrade", "--image", "forgetful:1", "--json")
        assert deployed.error(done)["code"] == "content-lost"
        assert deployed.pull(private_docker, reference) == pushed
        assert deployed.json("up", "--no-check")["changed"] is False


def test_an_upgrade_to_the_same_name_killed_at_any_step_loses_nothing(
    deployed: Deployed, private_docker: DockerCli, registry_process: Callable[..., RegistryProcess]
) -> None:
    image = f"{registry_process().address}/mirror/registry:2"
    with changed_image(deployed, "newer:1", "LABEL newer=1"):
        deployed.client.images.get("registry:2").tag(*image.rsplit(":", 1))
        reference, pushed = with_an_image(deployed, private_docker, "--image", image)
        private_docker("tag", "newer:1", image).ok()
        private_docker("push", image).ok()
        n, killed = 0, True
        while killed:
            deployed.client.images.get("registry:2").tag(*image.rsplit(":", 1))
            deployed.up().ok()
            killed = dying(deployed, n := n + 2, "--image", "")
            settled(deployed, n, "up")
            assert deployed.pull(private_docker, reference) == pushed
        assert n >= 12
    private_docker("rmi", "-f", image)


def settled(deployed: Deployed, n: int, then: str) -> None:
    """Run what a person runs after a kill; see that one container serves all, and nothing else is left."""
    done = deployed.up() if then == "up" else deployed("upgrade", "--image", "older:1")
    assert done.code == 0, f"killed at event {n}: {done.err}"
    (only,) = deployed.client.containers.list(all=True)
    assert (only.name, only.status) == (deployed.name, "running")
    served = deployed.json("upgrade", "--check")["data"]
    assert (served["tags"], served["damaged"]) == (1, []), f"killed at event {n}"
    assert deployed.json("up", "--no-check")["changed"] is False


@pytest.mark.parametrize("then", ["up", "upgrade back"])
def test_an_upgrade_killed_at_any_step_ends_on_one_side_with_all_images(
    deployed: Deployed, private_docker: DockerCli, then: str
) -> None:
    before = deployed.everything()
    deployed.client.images.get("registry:2").tag("older", "1")
    reference, pushed = with_an_image(deployed, private_docker, "--image", "older:1")
    with changed_image(deployed, "moved:1", MOVED):
        files, n, sides = deployed.files().keys(), 0, list[str]()
        while dying(deployed, n := n + 2, "--image", "moved:1"):
            settled(deployed, n, then)
            sides.append(deployed.container().attrs["Config"]["Image"])
            assert deployed.files().keys() == files, f"killed at event {n}"
            assert deployed.pull(private_docker, reference) == pushed
            deployed("upgrade", "--image", "older:1").ok()
        assert n >= 12, "two events a step"
        last = "moved:1" if then == "up" else "older:1"
        assert sides == ["older:1"] * (len(sides) - 2) + [last] * 2, "on the old one, unless it was proven"
        dying(deployed, 8, "--image", "moved:1")
        deployed("teardown", "--purge", "-y").ok()
        assert deployed.everything() == before
    deployed.client.images.remove("older:1", force=True)


def test_the_bundled_registry_is_replaced_by_this_program(deployed: Deployed) -> None:
    deployed("up", "--backend", "embedded", "--port", str(deployed.port), "--no-check").ok()
    assert "nothing to do" in deployed("upgrade").ok().out
    described = deployed.regsetup.home / deployed.name / "service.json"
    older = json.loads(described.read_text())
    older["spec"]["version"] = "0.0.1"
    described.write_text(json.dumps(older))
    done = deployed("upgrade").ok()
    assert "version 0.0.1 ->" in done.err
    assert "prove     service registry" in done.err
    deployed("teardown", "--purge", "-y").ok()
