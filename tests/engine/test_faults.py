"""What goes wrong half-way: killed, interrupted, raced, out of space. Nothing is lost, nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from itertools import chain, count
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from tests.bed.dying import KILLED
from tests.bed.run import missing, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed.deployed import Deployed

pytestmark = pytest.mark.engine


def dying_up(deployed: Deployed, n: int, *words: str, data: str = "") -> bool:
    """Run ``up`` and kill it at its n-th event; False when it came to its end before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bed.dying", str(n), deployed.name, str(deployed.port), data, *words],
        env=dict(os.environ) | deployed.regsetup.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode == KILLED


def starting(deployed: Deployed, *args: str) -> subprocess.Popen[str]:
    """Start ``up`` and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-m", "regsetup", "up", "--backend", "docker", "--no-check", "--port",
         str(deployed.port), *args],
        env=dict(os.environ) | deployed.regsetup.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_any_step_the_next_up_converges(deployed: Deployed) -> None:
    before = deployed.everything()
    events = chain([1], count(2, 2))  # before the first step, and after each
    while dying_up(deployed, n := next(events)):
        done = deployed.up_with_alice()
        assert done.code == 0, f"killed at event {n}: {done.err}"
        assert deployed.container().status == "running"
        assert deployed.json("up", "--no-check")["changed"] is False
        deployed("teardown", "--purge", "-y").ok()
        assert deployed.everything() == before, f"killed at event {n}"
    assert n > 20, "two events a step"
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before


@pytest.mark.slow
def test_killed_at_any_step_purge_takes_it_all_away(deployed: Deployed) -> None:
    before = deployed.everything()
    n = 0
    while dying_up(deployed, n := n + 2, data="volume:images"):
        deployed("teardown", "--purge", "-y").ok()
        assert deployed.everything() == before, f"killed at event {n}"
    assert n > 20


@pytest.mark.slow
def test_killed_at_any_step_of_a_replacement_it_is_done_or_undone(deployed: Deployed) -> None:
    """Whether the next ``up`` wants the new one or the old one."""
    n = 0
    deployed.up_with_alice().ok()
    while dying_up(deployed, n := n + 2, "REGISTRY_LOG_LEVEL=debug"):
        wanted = ("--env", "REGISTRY_LOG_LEVEL=debug") if n % 4 else ("--env", "REGISTRY_LOG_LEVEL=info")
        done = deployed.up(*wanted)
        assert done.code == 0, f"killed at event {n}: {done.err}"
        (only,) = deployed.client.containers.list(all=True)
        assert (only.name, only.status) == ("registry", "running")
        assert wanted[1] in only.attrs["Config"]["Env"]
        assert deployed.json("up", "--no-check")["changed"] is False
        deployed.up("--env", "REGISTRY_LOG_LEVEL=warn").ok()
    assert n > 12


@pytest.mark.slow
def test_killed_while_it_takes_over_a_container_the_images_stay_with_it(
    deployed: Deployed, tmp_path: Path
) -> None:
    n, killed = 0, True
    while killed:
        n += 2
        data = tmp_path / f"data-{n}"
        deployed.client.containers.run(
            "registry:2", name="registry", detach=True, ports={"5000/tcp": ("127.0.0.1", deployed.port)},
            volumes=[f"{data}:/var/lib/registry"],
        )  # fmt: skip
        killed = dying_up(deployed, n, "--adopt")
        done = deployed.up("--adopt", "--json")
        assert done.code == 0, f"killed at event {n}: {done.out}"
        assert deployed.json("status")["data"]["storage"] == str(data), f"killed at event {n}"
        (only,) = deployed.client.containers.list(all=True)
        assert only.labels["io.regsetup.name"] == "registry"
        deployed("teardown", "--purge", "-y").ok()
        assert deployed.files() == {}
    assert n > 16


STEPS = ["create    directory", "create    container", "start     container", "wait for  container"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_the_first_up_nothing_is_left(
    deployed: Deployed, step: str, number: signal.Signals
) -> None:
    before = deployed.everything()
    with starting(deployed, "--listen", "127.0.0.1:5000") as process:  # it never answers
        assert process.stderr is not None
        for line in process.stderr:
            if step in line:
                process.send_signal(number)
                break
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: interrupted; what had been done was undone" in err
    assert "Traceback" not in err
    assert deployed.everything() == before


@pytest.mark.parametrize("step", ["set aside container", *STEPS[1:]])
def test_interrupted_at_a_replacement_the_old_one_runs(deployed: Deployed, step: str) -> None:
    deployed.up().ok()
    identity, files = deployed.life()[0], deployed.files()
    with starting(deployed, "--listen", "127.0.0.1:5001") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if step in line:
                process.send_signal(signal.SIGINT)
                break
        process.communicate(timeout=60)
    assert process.returncode == 1
    (only,) = deployed.client.containers.list(all=True)
    assert (only.id, only.name, only.status) == (identity, "registry", "running")
    assert deployed.files() == files


def test_interrupted_with_json_there_is_still_one_envelope(deployed: Deployed) -> None:
    with starting(deployed, "--listen", "127.0.0.1:5001", "--json") as process:
        wait_for("the container", lambda: "container registry" in deployed.engine_things())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    assert json.loads(out)["errors"][0]["code"] == "interrupted"
    assert "container registry" not in deployed.engine_things()


def test_two_ups_at_once_make_one_registry(deployed: Deployed) -> None:
    with starting(deployed, "--json") as one, starting(deployed, "--json") as two:
        outs = [process.communicate(timeout=120)[0] for process in (one, two)]
    envelopes = [json.loads(out) for out in outs]
    assert sorted(envelope["changed"] for envelope in envelopes) == [False, True], envelopes
    for envelope in envelopes:
        assert envelope["ok"] or envelope["errors"][0]["code"] == "locked", envelope
    (only,) = deployed.client.containers.list(all=True)
    assert only.status == "running"
    assert deployed.json("up", "--no-check")["changed"] is False


def test_a_port_held_by_a_process_is_named_and_the_next_free_one_works(deployed: Deployed) -> None:
    before = deployed.everything()
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", deployed.port))
        holder.listen()
        done = deployed.up("--json")
        error = deployed.error(done)
        assert (done.code, error["code"]) == (1, "port-in-use")
        assert f"127.0.0.1:{deployed.port} is already used by" in error["message"]
        assert f"(pid {os.getpid()})" in error["message"]
        assert deployed.everything() == before
        offered = re.search(r"--port (\d+)", error["fix"])
        assert offered
        assert deployed.up("--port", offered[1]).code == 0


def test_a_port_held_by_a_container_is_named(deployed: Deployed) -> None:
    deployed.client.containers.run(
        "registry:2", name="somebody", detach=True, ports={"5000/tcp": ("127.0.0.1", deployed.port)}
    )
    before = deployed.engine_things()
    done = deployed.up("--json")
    assert deployed.error(done)["code"] == "port-in-use"
    assert "container somebody" in deployed.error(done)["message"]
    assert deployed.engine_things() == before
    assert deployed.files() == {}


def test_a_port_that_is_taken_on_the_new_address_brings_the_old_one_back(deployed: Deployed) -> None:
    deployed.up().ok()
    identity, files = deployed.life()[0], deployed.files()
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.2", deployed.port))
        holder.listen()
        done = deployed.up("--bind", "127.0.0.2", "--json")
    assert deployed.error(done)["code"] == "port-in-use"
    assert deployed.life()[0] == identity
    assert deployed.container().status == "running"
    assert deployed.files() == files


def test_a_stranger_of_the_same_name_is_not_touched(deployed: Deployed) -> None:
    deployed.client.containers.run("registry:2", name="registry", detach=True)
    before, life = deployed.everything(), deployed.life()
    done = deployed.up("--json")
    error = deployed.error(done)
    assert (done.code, error["code"]) == (1, "not-ours")
    assert "--adopt" in error["fix"]
    assert "registry:2" in error["cause"]
    assert deployed.everything() == before
    assert deployed.life() == life
    assert deployed("teardown", "--purge", "-y").ok().out.startswith("nothing to do")
    assert deployed.life() == life


def test_a_stranger_with_the_name_of_a_helper_is_named_and_stays(deployed: Deployed) -> None:
    create = deployed.client.containers.create
    strangers = [create("registry:2", name=f"registry.regsetup-{one}") for one in ("probe", "gc", "new")]
    error = deployed.error(deployed.up("--json"))
    assert error["code"] == "engine-error"
    assert "registry.regsetup-probe" in error["cause"]
    strangers.pop(0).remove()
    deployed.up().ok()
    RegistryClient(Endpoint(f"http://127.0.0.1:{deployed.port}")).put_blob("app", b"garbage")
    assert deployed.json("gc", "--dry-run")["ok"], "our own collector needs no container"
    deployed("teardown", "--purge", "-y").ok()
    assert {one.name for one in deployed.client.containers.list(all=True)} == {one.name for one in strangers}


def test_teardown_leaves_a_stranger_that_took_the_place_of_ours(deployed: Deployed) -> None:
    deployed.up().ok()
    deployed.container().remove(force=True)
    deployed.client.containers.run("registry:2", name="registry", detach=True)
    life = deployed.life()
    done = deployed("teardown").ok()
    assert "container registry was not made by regsetup and stays" in done.out
    assert deployed.life() == life


@pytest.mark.parametrize("kind", ["directory", "named volume", "anonymous volume"])
def test_adopt_takes_a_stranger_over_with_its_images(deployed: Deployed, kind: str, tmp_path: Path) -> None:
    binds = {"directory": [f"{tmp_path}/data:/var/lib/registry"], "named volume": ["old:/var/lib/registry"]}
    deployed.client.containers.run(
        "registry:2",
        name="registry",
        detach=True,
        ports={"5000/tcp": ("127.0.0.1", deployed.port)},
        volumes=binds.get(kind, []),
    )
    (mount,) = deployed.container().attrs["Mounts"]
    deployed.container().exec_run(["mkdir", "-p", "/var/lib/registry/docker/registry/v2/repositories/kept"])
    done = deployed.up("--adopt", "--json")
    assert done.code == 0, done.out
    (after,) = [
        one for one in deployed.container().attrs["Mounts"] if one["Destination"] == mount["Destination"]
    ]
    assert after["Source"] == mount["Source"]
    kept = deployed.container().exec_run(["ls", "/var/lib/registry/docker/registry/v2/repositories"])
    assert kept.output == b"kept\n"
    assert len(deployed.client.containers.list(all=True)) == 1
    assert deployed.json("up", "--no-check")["changed"] is False, "and it stays so without --adopt"
    deployed("teardown").ok()
    assert deployed.json("up", "--no-check")["ok"]
    kept = deployed.container().exec_run(["ls", "/var/lib/registry/docker/registry/v2/repositories"])
    assert kept.output == b"kept\n"


def test_adopting_what_will_not_work_gives_it_back_as_it_was(deployed: Deployed) -> None:
    deployed.client.containers.run("registry:2", name="registry", detach=True, environment={"MARK": "theirs"})
    identity = deployed.life()[0]
    done = deployed.up("--adopt", "--env", "REGISTRY_STORAGE=nonsense", "--json")
    assert deployed.error(done)["code"] == "not-healthy"
    assert deployed.life()[0] == identity
    assert deployed.container().status == "running"
    assert deployed.files() == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        missing("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing(deployed: Deployed, small_disk: Path) -> None:
    before = deployed.engine_things()
    fill(small_disk / "full")
    done = deployed.up("--json", env={"REGSETUP_HOME": str(small_disk / "home")})
    error = deployed.error(done)
    assert (done.code, error["code"]) == (1, "cannot-write")
    assert "No space left" in error["cause"]
    assert [path.name for path in small_disk.iterdir()] == ["full"]
    assert deployed.engine_things() == before


def test_a_disk_that_fills_up_at_a_change_loses_nothing(deployed: Deployed, small_disk: Path) -> None:
    home = {"REGSETUP_HOME": str(small_disk / "home")}
    deployed.up_with_alice("--data", "volume:images", env=home).ok()
    root = small_disk / "home" / "registry"
    kept = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    identity = deployed.life()[0]
    fill(small_disk / "full")
    done = deployed.up("--env", "REGISTRY_LOG_LEVEL=debug", "--json", env=home)
    assert deployed.error(done)["code"] == "cannot-write"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == kept
    assert deployed.life()[0] == identity
    assert deployed.container().status == "running"
    user = deployed("adduser", "bob", "--generate", "--json", env=home)
    assert deployed.error(user)["code"] == "cannot-write"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == kept
    (small_disk / "full").unlink()
    deployed.up("--env", "REGISTRY_LOG_LEVEL=debug", env=home).ok()


def fill(path: Path) -> None:
    """Take all the space there is, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_a_home_that_cannot_be_written_is_said(deployed: Deployed) -> None:
    done = deployed.up("--json", env={"REGSETUP_HOME": "/proc/regsetup"})
    assert (done.code, deployed.error(done)["code"]) == (1, "cannot-write")
