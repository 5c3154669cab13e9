"""What ``render compose`` writes is what ``up`` does: the same container, made by docker-compose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from regsetup.backends.docker import LABEL_HASH
from regsetup.backends.reported import LABEL_SPEC
from tests.bed.clients import DockerCli, run
from tests.bed.deployed import PASSWORD, Deployed
from tests.bed.run import need, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def described(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a container what it is; config.yml by its content, for it is another file."""
    config, host = attrs["Config"], attrs["HostConfig"]
    binds = {source: rest for source, _, rest in (bind.partition(":") for bind in host["Binds"])}
    marks = {LABEL_SPEC, LABEL_HASH}  # that regsetup made it: compose's are compose's
    return {
        "image": config["Image"],
        "env": sorted(config["Env"]),
        "user": config["User"],
        "health": config["Healthcheck"],
        "labels": {
            key: value
            for key, value in config["Labels"].items()
            if key not in marks and not key.startswith("com.docker.compose")
        },
        "ports": host["PortBindings"],
        "binds": {
            Path(source).read_text() if source.endswith(".yml") else source: rest
            for source, rest in binds.items()
        },
        "restart": host["RestartPolicy"],
        "security": host["SecurityOpt"],
        "log": host["LogConfig"],
    }


@pytest.fixture
def compose_down(private_engine: PrivateEngine, unique_name: str, tmp_path: Path) -> Iterator[list[str]]:
    command = [need("docker-compose"), "-p", unique_name, "-f", str(tmp_path / "out/compose.yaml")]
    yield command
    run([*command, "down", "-v"], env={"DOCKER_HOST": private_engine.url}).ok()


def test_compose_makes_the_container_that_up_made(
    deployed: Deployed,
    private_docker: DockerCli,
    private_engine: PrivateEngine,
    compose_down: list[str],
    tmp_path: Path,
) -> None:
    deployed.up_with_alice("--env", "REGISTRY_LOG_FIELDS_PLACE=a $b %c", "--restart-policy", "no").ok()
    private_docker("login", "-u", "alice", "--password-stdin", deployed.address, stdin=PASSWORD).ok()
    pushed = deployed.push(private_docker, f"{deployed.address}/team/app:1")
    made_by_up = described(deployed.container().attrs)
    in_cluster = list(yaml.safe_load_all(deployed("render", "kubernetes").ok().out))
    users = next(one for one in in_cluster if one["metadata"]["name"] == "registry-users")
    kept = deployed.regsetup.home / "registry/auth/htpasswd"
    assert users["stringData"] == {"htpasswd": kept.read_text()}

    rendered = deployed("render", "compose", "-o", str(tmp_path / "out")).ok()
    assert "regsetup teardown --name registry" in rendered.out
    deployed("teardown").ok()
    env = {"DOCKER_HOST": private_engine.url}
    run([*compose_down, "up", "-d"], env=env).ok()
    assert described(deployed.container().attrs) == made_by_up

    wait_for("the registry", lambda: private_docker("pull", f"{deployed.address}/team/app:1").code == 0)
    assert str(deployed.client.images.get(f"{deployed.address}/team/app:1").id) == pushed
    deployed.client.images.remove(pushed, force=True)
    wrong = private_docker("login", "-u", "alice", "--password-stdin", deployed.address, stdin="wrong")
    assert "401" in wrong.err
    refused = deployed("up", "--json")
    assert deployed.error(refused)["code"] in {"not-ours", "port-in-use"}
