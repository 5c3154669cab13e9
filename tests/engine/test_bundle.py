"""A bundle on a machine without a network: installed from its own wheels, brought up from its own image.

The machine is a network namespace that has loopback and no route, with an engine of its own inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.bundle.format import About
from tests.bed.cli import Regsetup
from tests.bed.clients import Completed, run
from tests.bed.engine import PrivateEngine
from tests.bed.images import busybox_archive, image_archive, tar_of
from tests.bed.processes import end_marked
from tests.bed.run import free_port, missing, need, unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle(registry_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with wheels of this checkout and the registry's image from the machine's engine."""
    place = tmp_path_factory.mktemp("bundle")
    made = Regsetup(place / "person").json(
        "bundle", "create", str(place / "b.tar"), "--image", registry_image, timeout=600
    )
    assert made["errors"] == []
    assert made["data"]["image"]["reference"] == registry_image
    assert made["data"]["wheels"]["python"] == "{}.{}".format(*sys.version_info[:2])
    return place / "b.tar"


@pytest.fixture(scope="module")
def namespace() -> Iterator[tuple[str, ...]]:
    """What is put before a command so that it has loopback, and no route to anywhere."""
    if os.geteuid() != 0:
        missing("a network namespace needs root")
    name = unique()
    ip = need("ip")
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        subprocess.run([ip, "-n", name, "link", "set", "lo", "up"], check=True)
        # Not `ip netns exec`: it mounts another /sys, and the engine needs the cgroups below it.
        yield (need("nsenter"), f"--net=/run/netns/{name}")
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine without a network; ``program`` is the regsetup that the bundle's installer put there."""

    inside: tuple[str, ...]
    program: Path
    home: Path

    def __call__(self, *args: str, **env: str) -> Completed:
        told = {"REGSETUP_HOME": str(self.home / "regsetup"), "HOME": str(self.home), **env}
        return run([*self.inside, str(self.program), *args], env=told, timeout=300)

    def json(self, *args: str, **env: str) -> dict[str, Any]:
        envelope: dict[str, Any] = json.loads(self(*args, "--json", **env).out)
        return envelope


@pytest.fixture(scope="module")
def machine(
    bundle: Path, namespace: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    place = tmp_path_factory.mktemp("machine")
    unreachable = run([*namespace, "ip", "route", "get", "192.0.2.1"])
    assert "unreachable" in unreachable.err.lower()
    run(["tar", "-xf", str(bundle), "-C", str(place)]).ok()
    install = ["sh", str(place / "regsetup-bundle/install.sh"), "--prefix", str(place / "opt")]
    env = {"HOME": str(place), "PYTHON": sys.executable, "PIP_INDEX_URL": "https://pypi.org/simple"}
    command = [*namespace, *install, "--bin", str(place / "bin")]
    done = run(command, env=env, timeout=300).ok()
    assert f"is at {place}/bin/regsetup" in done.out
    again = run(command, env=env, timeout=300).ok()
    assert again.out == done.out
    yield Machine(namespace, place / "bin/regsetup", place)
    end_marked(str(place))


@pytest.fixture(scope="module")
def offline_engine(namespace: tuple[str, ...]) -> Iterator[PrivateEngine]:
    need("dockerd")
    engine = PrivateEngine(inside=namespace)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


def proven(envelope: dict[str, Any]) -> bool:
    outcomes = [one["outcome"] for one in envelope["data"]["checks"]]
    return outcomes.count("ok") > 5 and set(outcomes) <= {"ok", "skipped"}


def nothing_left(machine: Machine, name: str) -> None:
    machine("teardown", "--name", name, "--purge", "-y").ok()
    assert not (machine.home / "regsetup" / name).exists()


def test_the_bundled_registry_comes_up_from_a_bundle_without_a_network(
    machine: Machine, bundle: Path
) -> None:
    port = str(free_port())
    done = machine.json(
        "up", "--bundle", str(bundle), "--port", port, "--user", "alice", "-y", DOCKER_HOST="unix:///none"
    )
    assert done["errors"] == []
    assert done["data"]["backend"] == "embedded"
    assert proven(done)
    again = machine("up", DOCKER_HOST="unix:///none").ok()
    assert "(no changes)" in again.out
    nothing_left(machine, "registry")


def test_docker_runs_the_image_of_the_bundle_and_nothing_is_pulled(
    machine: Machine, bundle: Path, offline_engine: PrivateEngine, registry_image: str
) -> None:
    here = {"DOCKER_HOST": offline_engine.url}
    up = ("up", "--name", "boxed", "--bundle", str(bundle), "--port", str(free_port()))
    dry = machine("up", *up[1:], "--dry-run", **here).ok()
    assert f"from {bundle}" in dry.out
    done = machine.json(*up, **here)
    assert done["errors"] == []
    assert done["data"]["backend"] == "docker"
    steps = {(one["action"], one["resource"]) for one in done["data"]["steps"]}
    assert ("load", "image") in steps
    assert ("pull", "image") not in steps
    assert proven(done)
    state = json.loads((machine.home / "regsetup/boxed/state.json").read_text())
    assert {"kind": "image", "target": registry_image} in state["ledger"]
    assert machine.json(*up, **here)["changed"] is False, "the image is here already"
    nothing_left(machine, "boxed")
    client = offline_engine.client()
    assert client.images.list() == [], "what the bundle brought goes with the registry"
    client.close()


def test_without_an_image_inside_it_is_the_bundled_registry_or_nothing(
    machine: Machine, offline_engine: PrivateEngine, tmp_path: Path
) -> None:
    small = tmp_path / "small.tar"
    _wheels_only(small)
    here = {"DOCKER_HOST": offline_engine.url}
    up = ("up", "--name", "plain", "--bundle", str(small), "--port", str(free_port()), "--no-check")
    refused = machine.json(*up, "--backend", "docker", **here)
    assert refused["errors"][0]["code"] == "bundle-lacks-image"
    done = machine.json(*up, **here)
    assert done["data"]["backend"] == "embedded"
    assert "small.tar holds no image" in done["data"]["backend_reason"]
    nothing_left(machine, "plain")


def _wheels_only(path: Path) -> None:
    """Write a bundle that has neither image nor wheels, which no command makes."""
    about = About("0.1.0", None, None).as_json()
    digest = hashlib.sha256(about.encode()).hexdigest()
    path.write_bytes(
        tar_of(
            {
                "regsetup-bundle/bundle.json": about.encode(),
                "regsetup-bundle/SHA256SUMS": f"{digest}  bundle.json\n".encode(),
            }
        )
    )


def test_an_image_for_another_machine_is_refused_or_done_without(
    regsetup: Regsetup, offline_engine: PrivateEngine, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(image_archive("registry:2", [tar_of({"a": b"b"})]).replace(b'"amd64"', b'"s390x"'))
    path = tmp_path / "b.tar"
    made = regsetup.json("bundle", "create", str(path), "--image-archive", str(archive), "--no-wheels")
    assert made["data"]["image"] == {"reference": "registry:2", "os": "linux", "architecture": "s390x"}
    regsetup.env["DOCKER_HOST"] = offline_engine.url
    up = ("up", "--bundle", str(path), "--port", str(free_port()))
    refused = regsetup.json(*up, "--backend", "docker")
    assert refused["errors"][0]["code"] == "bad-image-archive"
    assert "for s390x, and this engine runs amd64" in refused["errors"][0]["cause"]
    dry = regsetup.json(*up, "--dry-run")
    assert (dry["data"]["backend"], "s390x" in dry["data"]["backend_reason"]) == ("embedded", True)


def test_a_damaged_bundle_changes_nothing(regsetup: Regsetup, bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tar"
    content = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as tar:
        member = next(one for one in tar if "/wheels/regsetup-" in one.name)
    content[member.offset_data + 1000] ^= 1
    damaged.write_bytes(content)
    for command in (("bundle", "verify", str(damaged)), ("bundle", "list", str(damaged))):
        assert regsetup.json(*command)["errors"][0]["code"] == "bundle-damaged"
    done = regsetup("up", "--bundle", str(damaged), "--port", str(free_port()))
    assert done.code == 1
    assert f"{member.name.partition('/')[2]} does not have the checksum" in done.err
    assert not regsetup.home.exists()
    both = regsetup.json("up", "--bundle", str(bundle), "--image-archive", str(bundle))
    assert both["errors"][0]["code"] == "contradiction"


def test_a_bundle_is_shown_and_verified(regsetup: Regsetup, bundle: Path, registry_image: str) -> None:
    shown = regsetup("bundle", "list", str(bundle)).ok().out
    assert f"image     {registry_image}, linux/amd64" in shown
    assert "wheels/regsetup-" in shown
    whole = regsetup("bundle", "verify", str(bundle)).ok().out
    assert "is whole" in whole


def test_what_can_not_be_packed_is_told_and_leaves_no_file(
    regsetup: Regsetup, engine: docker.DockerClient, tmp_path: Path
) -> None:
    path, archive = tmp_path / "b.tar", tmp_path / "other.tar"
    archive.write_bytes(busybox_archive("other:1", noise=1 << 10))
    create = ("bundle", "create", str(path))
    wrong = {
        (*create, "--image", "no-such/image:1"): "image-not-found",
        (*create, "--no-image", "--image", "registry:2"): "usage",
        (*create, "--no-image", "--no-wheels"): "nothing-to-bundle",
        (*create, "--no-image", "--python-version", "2.7"): "bad-wheel-target",
        (*create, "--image-archive", str(archive), "--image", "registry:2"): "bad-image-archive",
        (*create, "--image-archive", str(tmp_path / "gone")): "bad-image-archive",
    }
    for command, code in wrong.items():
        assert regsetup.json(*command)["errors"][0]["code"] == code, command
    regsetup.env["PIP_NO_INDEX"] = "1"
    failed = regsetup.json(*create, "--no-image")
    assert failed["errors"][0]["code"] == "wheels-unavailable"
    regsetup.env["DOCKER_HOST"] = "unix:///none"
    assert regsetup.json(*create, "--image", "registry:2")["errors"][0]["code"] == "engine-down"
    assert not path.exists()
    made = regsetup.json(*create, "--image-archive", str(archive), "--no-wheels")
    assert made["data"]["image"]["reference"] == "other:1"
    assert regsetup.json(*create, "--image-archive", str(archive))["errors"][0]["code"] == "bundle-exists"
    said = regsetup("bundle", "create", str(tmp_path / "c.tar"), "--no-wheels")
    assert (said.code, "empty" in said.err) == (2, True)
