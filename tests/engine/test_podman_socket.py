"""podman by its Docker-compatible socket is an engine like any other, but for whom it trusts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from tests.bed.deployed import Deployed
from tests.bed.engine import connect, remove_marked
from tests.bed.run import free_port, missing, need, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.cli import Regsetup

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# What a root without CAP_SYS_RESOURCE may give: podman asks for 1048576 open files otherwise.
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@pytest.fixture
def podman_url() -> Iterator[str]:
    """The socket of a podman of the test's own; all that it has is removed with it."""
    program = need("podman")
    if os.geteuid() != 0:
        missing("another user's podman needs subordinate ids, and a runtime directory")
    home = Path(tempfile.mkdtemp(prefix="rtp", dir="/tmp"))  # it refuses a runroot of more than 50 characters
    (home / "containers.conf").write_text(LIMITS)
    places = [f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/tmp"]
    more = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]
    with (home / "log").open("wb") as log:
        service = subprocess.Popen(
            [program, *places, *more, "system", "service", "--time=0", f"unix://{home}/s"],
            env=os.environ | {"CONTAINERS_CONF": f"{home}/containers.conf"},
            stdout=log,
            stderr=log,
        )
    wait_for("podman's socket", (home / "s").exists)
    yield f"unix://{home}/s"
    client = connect(f"unix://{home}/s")
    if client is not None:
        remove_marked(client, "registry")
        client.close()
    service.send_signal(signal.SIGTERM)
    service.wait(timeout=30)
    shutil.rmtree(home)


def test_podman_runs_a_registry_from_up_to_teardown(
    podman_url: str, regsetup: Regsetup, registry_archive: Path, registry_image: str
) -> None:
    regsetup.env["DOCKER_HOST"] = podman_url
    client = docker.DockerClient(base_url=podman_url)
    deployed = Deployed(regsetup, client, "registry", free_port())
    regsetup.place.mkdir()
    before = deployed.everything()
    image = ("--image", registry_image, "--image-archive", str(registry_archive))
    deployed.up_with_alice(*image).ok()
    assert deployed.json("gc")["data"]["eligible"] == [], "nobody has pushed yet"
    assert deployed.json("up")["changed"] is False
    checks = {one["name"]: one["outcome"] for one in deployed.json("check")["data"]["checks"]}
    assert checks.pop("engine") == "skipped"
    assert set(checks.values()) == {"ok"}
    assert deployed.json("adduser", "bob", "--generate")["data"]["proven"]
    assert deployed.json("rmuser", "bob")["data"]["proven"]
    deployed.up("--realm", "Other").ok()
    assert deployed.json("gc")["ok"]
    assert deployed.json("status")["data"]["answers"] is True
    assert deployed("logs", "--tail", "1").ok().out
    deployed.up("--data", "volume:registry-data").ok()
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before
    client.close()
