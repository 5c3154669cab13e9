"""The whole story where no engine answers: the bundled registry, with skopeo and podman as its clients."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.bed.images import busybox_archive
from tests.bed.processes import marked_processes
from tests.bed.run import free_port, port_open, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup
    from tests.bed.clients import Podman, Skopeo

pytestmark = pytest.mark.slow

ALICE, BOB = "alices-own-password", "bobs-own-password"


def files(regsetup: Regsetup) -> set[str]:
    return {str(path.relative_to(regsetup.place)) for path in regsetup.place.rglob("*")}


def test_the_whole_story_without_docker(
    regsetup: Regsetup, skopeo: Skopeo, podman: Podman, tmp_path: Path
) -> None:
    regsetup.env["DOCKER_HOST"] = f"unix://{tmp_path}/nobody.sock"
    regsetup.place.mkdir()
    port = free_port()
    address = f"localhost:{port}"
    image = f"docker://{address}/team/one:1"
    (tmp_path / "one.tar").write_bytes(busybox_archive("one:1", noise=1 << 16))

    up = ("up", "--port", str(port), "--user", "alice", "--password-stdin")
    done = regsetup(*up, stdin=f"{ALICE}\n").ok()
    assert f"is up at http://{address}" in done.out
    assert "without Docker: no Docker engine answers at" in done.out
    assert "checks hold" in done.out

    source = f"docker-archive:{tmp_path}/one.tar"
    plain = "--dest-tls-verify=false"
    assert skopeo("copy", plain, source, image).code != 0, "nobody enters without a password"
    assert skopeo("copy", plain, "--dest-creds", "alice:wrong", source, image).code != 0
    skopeo("copy", plain, "--dest-creds", f"alice:{ALICE}", source, image).ok()

    process = _process(regsetup)
    regsetup("adduser", "bob", "--password-stdin", stdin=f"{BOB}\n").ok()
    podman("login", "--tls-verify=false", "-u", "bob", "--password-stdin", address, stdin=BOB).ok()
    podman("pull", "--tls-verify=false", f"{address}/team/one:1").ok()
    podman("tag", f"{address}/team/one:1", f"{address}/team/two:1").ok()
    podman("push", "--tls-verify=false", f"{address}/team/two:1").ok()
    assert _process(regsetup) == process, "a new user needs no restart"

    again = regsetup("up").ok()
    assert "(no changes)" in again.out
    assert again.err == ""
    assert _process(regsetup) == process

    regsetup("teardown").ok()
    wait_for("the end of the service", lambda: not port_open(port))
    regsetup("up").ok()
    skopeo("inspect", "--tls-verify=false", "--creds", f"alice:{ALICE}", image).ok()
    assert regsetup.json("status")["data"]["repositories"] == 2

    regsetup("teardown", "--purge", "-y").ok()
    assert files(regsetup) == set()
    assert not port_open(port)
    assert marked_processes(str(regsetup.home)) == {}


def _process(regsetup: Regsetup) -> tuple[str, str]:
    seen = regsetup.json("status")["data"]
    assert seen["running"]
    assert seen["kind"] == "service"
    return seen["id"], seen["started_at"]


def test_a_changed_flag_replaces_the_service_and_a_broken_one_is_taken_back(regsetup: Regsetup) -> None:
    port, other = free_port(), free_port()
    regsetup("up", "--backend", "embedded", "--port", str(port), "--no-check").ok()
    before = _process(regsetup)
    done = regsetup("up", "--port", str(other), "--no-check").ok()
    assert f"port {port} -> {other}" in done.err
    assert _process(regsetup) != before
    assert not port_open(port)
    assert port_open(other)
    listener_taken = regsetup("up", "--port", "1", "--bind", "192.0.2.1", "--json")
    assert listener_taken.code in (1, 2)
    assert port_open(other), "what ran still runs"


def test_a_registry_stays_on_its_back_end_until_it_is_moved_or_torn_down(regsetup: Regsetup) -> None:
    regsetup("up", "--backend", "embedded", "--port", str(free_port()), "--no-check").ok()
    done = regsetup("up", "--backend", "docker", "--json")
    assert done.code == 1
    (error,) = json.loads(done.out)["errors"]
    assert error["code"] == "other-backend"
    assert error["fix"].startswith("regsetup migrate --name registry --to docker; ")
    assert "teardown" in error["fix"]


def test_a_volume_is_dockers_alone(regsetup: Regsetup) -> None:
    done = regsetup("up", "--backend", "embedded", "--data", "volume:images", "--json")
    assert done.code in (1, 2)
    (error,) = json.loads(done.out)["errors"]
    assert error["code"] != "defect", error
    assert not regsetup.home.exists()


def test_a_killed_service_is_started_again_by_up(regsetup: Regsetup) -> None:
    regsetup("up", "--backend", "embedded", "--port", str(free_port()), "--no-check").ok()
    pids = marked_processes(str(regsetup.home))
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: regsetup("status").code == 3)
    done = regsetup("up", "--no-check").ok()
    assert "start" in done.err
    assert regsetup("status").code == 0
