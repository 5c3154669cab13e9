"""The container that ``up`` makes, and the engines it may meet: down, elsewhere, forbidden, by context."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.observed import Spec
from tests.bed.clients import DockerCli, run
from tests.bed.images import SCRATCH_IMAGE, ensure_registry_image, tiny_archive
from tests.bed.run import missing, need, wait_for
from tests.cli.test_gc import push, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.clients import Completed
    from tests.bed.deployed import Deployed
    from tests.bed.engine import PrivateEngine

pytestmark = pytest.mark.engine


def code(done: Completed) -> str:
    (error,) = json.loads(done.out)["errors"]
    assert "Traceback" not in done.err
    return str(error["code"])


def mounts(attrs: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {one["Destination"]: (one["Source"], one["RW"]) for one in attrs["Mounts"]}


def test_the_container_is_what_the_flags_say(deployed: Deployed) -> None:
    deployed.up_with_alice(
        "--listen", "0.0.0.0:5001", "--restart-policy", "on-failure", "--env", "REGISTRY_LOG_LEVEL=debug",
        "--realm", "Ours",
    ).ok()  # fmt: skip
    attrs = deployed.container().attrs
    root = deployed.regsetup.home / "registry"
    assert mounts(attrs) == {
        "/var/lib/registry": (str(root / "data"), True),
        "/etc/docker/registry/config.yml": (str(root / "config.yml"), False),
        "/etc/regsetup/auth": (str(root / "auth"), False),
    }
    env = dict(one.split("=", 1) for one in attrs["Config"]["Env"])
    assert env.keys() == {"PATH", "REGISTRY_HTTP_ADDR", "REGISTRY_LOG_LEVEL"}
    assert env["REGISTRY_HTTP_ADDR"] == "0.0.0.0:5001"
    host = attrs["HostConfig"]
    assert host["PortBindings"] == {"5001/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(deployed.port)}]}
    assert host["RestartPolicy"]["Name"] == "on-failure"
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    labels = attrs["Config"]["Labels"]
    spec = Spec(json.loads(labels["io.regsetup.spec"]))
    assert labels["io.regsetup.name"] == "registry"
    assert labels["io.regsetup.spec-hash"] == spec.hash
    assert spec.settings["port"] == str(deployed.port)
    assert spec.settings["auth"] == "Ours"


def test_an_image_with_wget_is_watched_and_becomes_healthy(deployed: Deployed) -> None:
    deployed.up("--listen", ":5001").ok()
    check = deployed.container().attrs["Config"]["Healthcheck"]
    assert check["Test"][:2] == ["CMD", "wget"]
    assert check["Test"][-1] == "http://127.0.0.1:5001/"
    wait_for(
        "a healthy container",
        lambda: deployed.json("status")["data"]["health"] == "healthy",
        seconds=40,
    )


@pytest.mark.slow
def test_over_tls_it_becomes_healthy_too(deployed: Deployed) -> None:
    deployed.up_with_alice("--tls", "self-signed").ok()
    container = deployed.container()
    assert container.attrs["Config"]["Healthcheck"]["Test"][-1] == "https://127.0.0.1:5000/"
    assert mounts(container.attrs)["/etc/regsetup/certs"][1] is False
    wait_for(
        "a healthy container", lambda: deployed.json("status")["data"]["health"] == "healthy", seconds=40
    )


def test_an_image_without_any_tool_gets_no_health_check(deployed: Deployed) -> None:
    ensure_registry_image(deployed.client, SCRATCH_IMAGE, shell=False)
    deployed("up", "--image", SCRATCH_IMAGE, "--port", str(deployed.port)).ok()
    assert "Healthcheck" not in deployed.container().attrs["Config"]
    assert deployed.json("status")["data"]["health"] == "unknown"


def test_looking_into_the_image_leaves_no_volume_behind(deployed: Deployed) -> None:
    before = deployed.engine_things()
    deployed.up().ok()
    assert deployed.engine_things() - before == {"container registry"}


def test_an_image_that_is_neither_here_nor_to_be_had(deployed: Deployed) -> None:
    before = deployed.everything()
    done = deployed.up("--image", "registry.invalid/nothing:1", "--json")
    assert (done.code, code(done)) == (1, "image-not-found")
    assert "--image-archive" in deployed.error(done)["fix"]
    assert deployed.error(done)["cause"]
    assert deployed.everything() == before


def test_without_an_image_the_bundled_registry_takes_over_and_says_why(deployed: Deployed) -> None:
    envelope = deployed.json("up", "--image", "registry.invalid/nothing:1", "--port", str(deployed.port))
    try:
        assert envelope["ok"], envelope
        assert envelope["data"]["backend"] == "embedded"
        assert "registry.invalid/nothing:1 is not on this engine" in envelope["data"]["backend_reason"]
    finally:
        deployed("teardown", "--purge", "-y").ok()
    assert deployed.files() == {}


def not_a_tar(path: Path) -> None:
    path.write_bytes(b"no archive at all")


def no_manifest(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("layer.tar"))


def two_images(path: Path) -> None:
    text = json.dumps([{"Config": "a.json"}, {"Config": "b.json"}]).encode()
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))


def cut_short(path: Path) -> None:
    """The engine refuses it: its manifest names layers that are not there."""
    text = json.dumps([{"Config": "a.json", "RepoTags": ["registry:2"], "Layers": ["x/layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))


def another(path: Path) -> None:
    path.write_bytes(tiny_archive("somebody/else:1"))


@pytest.mark.parametrize("make", [not_a_tar, no_manifest, two_images, cut_short, another, None])
def test_a_bad_archive_is_refused_and_leaves_nothing(
    deployed: Deployed, make: Callable[[Path], None] | None, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    if make:
        make(archive)
    before = deployed.everything()
    images = {str(one.id) for one in deployed.client.images.list()}
    wanted = ("--image", "registry:wanted") if make is another else ()
    done = deployed.up("--image-archive", str(archive), *wanted, "--json")
    assert (done.code, code(done)) == (1, "bad-image-archive"), done.out
    assert deployed.everything() == before
    for brought in {str(one.id) for one in deployed.client.images.list()} - images:
        deployed.client.images.remove(brought, force=True)


def dead_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(("make", "cause"), [(dead_socket, "nothing listens"), (None, "no such socket")])
def test_an_engine_that_is_down(
    deployed: Deployed, make: Callable[[Path], None] | None, cause: str, tmp_path: Path
) -> None:
    address = tmp_path / "d.sock"
    if make:
        make(address)
    down = {"DOCKER_HOST": f"unix://{address}"}
    done = deployed.up("--json", env=down)
    assert (done.code, code(done)) == (1, "engine-down")
    error = deployed.error(done)
    assert cause in error["cause"]
    assert str(address) in error["message"]
    assert "--backend embedded" in error["fix"]
    assert deployed.files() == {}


def test_an_engine_that_accepts_and_says_nothing_is_given_up(deployed: Deployed, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(tmp_path / "d.sock"))
        sock.listen()
        done = deployed.up("--json", env={"DOCKER_HOST": f"unix://{tmp_path}/d.sock"}, timeout=30)
    assert (done.code, code(done)) == (1, "engine-down")


@pytest.mark.parametrize(
    ("address", "expected"),
    [("tcp://192.0.2.1:2375", "engine-down"), ("ssh://somebody@192.0.2.1", "ssh-failed")],
)
def test_a_machine_that_does_not_answer_is_given_up(
    deployed: Deployed, address: str, expected: str
) -> None:  # RFC 5737: nobody has 192.0.2.1
    need("ssh")
    done = deployed.up("--json", env={"DOCKER_HOST": address}, timeout=30)
    assert (done.code, code(done)) == (1, expected)
    assert address in deployed.error(done)["message"]
    assert deployed.files() == {}


@pytest.mark.parametrize("address", ["nonsense", "tcp://[::1", "fd://3", "tcp://localhost:x"])
def test_an_address_that_is_none_is_an_error_of_the_engine(deployed: Deployed, address: str) -> None:
    done = deployed.up("--json", env={"DOCKER_HOST": address}, timeout=30)
    assert done.code == 1
    assert code(done) == "engine-down"


def context(private_engine: PrivateEngine, config: Path, *, use: bool) -> None:
    docker_cli = DockerCli(config)
    config.mkdir()
    (config / "config.json").write_text("{}")  # the SDK looks for contexts only beside a file of this name
    docker_cli(
        "--config", str(config), "context", "create", "ours", "--docker", f"host={private_engine.url}"
    ).ok()
    if use:
        docker_cli("--config", str(config), "context", "use", "ours").ok()


@pytest.mark.parametrize("chosen", ["by variable", "by docker context use"])
def test_a_docker_context_is_followed(
    deployed: Deployed, private_engine: PrivateEngine, chosen: str, tmp_path: Path
) -> None:
    config = tmp_path / "docker-config"
    context(private_engine, config, use=chosen != "by variable")
    del deployed.regsetup.env["DOCKER_HOST"]
    deployed.regsetup.env["DOCKER_CONFIG"] = str(config)
    if chosen == "by variable":
        deployed.regsetup.env["DOCKER_CONTEXT"] = "ours"
    deployed.up().ok()
    assert deployed.container().status == "running"
    state = json.loads((deployed.regsetup.home / "registry" / "state.json").read_text())
    assert state["engine"] == private_engine.url
    del deployed.regsetup.env["DOCKER_CONFIG"]
    deployed.regsetup.env.pop("DOCKER_CONTEXT", None)
    assert deployed.json("status")["data"]["running"], "it is looked for on the engine that it was made on"
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.engine_things() == {"network bridge", "network host", "network none"}


def test_docker_host_wins_over_a_context(deployed: Deployed, tmp_path: Path) -> None:
    done = deployed.up(env={"DOCKER_CONTEXT": "nobody-made-it", "DOCKER_CONFIG": str(tmp_path)})
    assert done.code == 0, done.err


def test_a_context_that_is_not_there(deployed: Deployed, tmp_path: Path) -> None:
    del deployed.regsetup.env["DOCKER_HOST"]
    done = deployed.up("--json", env={"DOCKER_CONTEXT": "nobody-made-it", "DOCKER_CONFIG": str(tmp_path)})
    assert (done.code, code(done)) == (1, "bad-docker-context")
    assert "nobody-made-it" in done.out


def test_a_damaged_docker_config_is_said(deployed: Deployed, tmp_path: Path) -> None:
    del deployed.regsetup.env["DOCKER_HOST"]
    (tmp_path / "config.json").write_text("{")
    done = deployed.up("--json", "--dry-run", env={"DOCKER_CONFIG": str(tmp_path)})
    assert done.code in (0, 1)
    if done.code:
        assert code(done) == "bad-docker-context"


@pytest.mark.slow
def test_a_registry_whose_engine_is_down_is_unknown_and_not_forgotten(
    deployed: Deployed, fresh_engine: Callable[..., PrivateEngine]
) -> None:
    engine = fresh_engine()
    engine.start()
    client = engine.client()
    ensure_registry_image(client, "registry:2", shell=True)
    client.close()
    deployed.regsetup.env["DOCKER_HOST"] = engine.url
    deployed.up().ok()
    engine.stop()
    done = deployed("status", "--json")
    assert done.code == 3
    seen = json.loads(done.out)["data"]
    assert (seen["state"], seen["running"]) == ("unknown", False)
    assert engine.url in seen["problem"]
    for command in (("teardown",), ("up",), ("logs",), ("check",)):
        done = deployed(*command, "--json")
        assert (command, done.code, code(done)) == (command, 1, "engine-down")
    engine.start()
    deployed.up().ok()
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.files() == {}


@pytest.fixture
def nobodys(private_engine: PrivateEngine) -> Iterator[Path]:
    """A directory of an ordinary user, who can reach the private engine's socket as far as it lets him."""
    if os.geteuid() != 0:
        missing("only root can become somebody else")
    place = Path(tempfile.mkdtemp(prefix="rtn", dir="/tmp"))
    shutil.chown(place, "nobody", "nogroup")
    mode = private_engine.home.stat().st_mode
    private_engine.home.chmod(0o711)
    yield place
    private_engine.home.chmod(mode)
    shutil.rmtree(place)


def as_nobody(place: Path, url: str, *args: str, stdin: str | None = None) -> Completed:
    env = {"HOME": str(place), "REGSETUP_HOME": str(place / "home"), "DOCKER_HOST": url, "NO_COLOR": "1"}
    return run([sys.executable, "-m", "tests.bed.nobody", *args], env=env, stdin=stdin)


def test_without_rights_on_the_socket(private_engine: PrivateEngine, nobodys: Path) -> None:
    done = as_nobody(nobodys, private_engine.url, "up", "--backend", "docker", "--json")
    assert (done.code, code(done)) == (1, "engine-no-rights")
    assert "usermod -aG docker" in done.out
    assert list(nobodys.iterdir()) == []


def test_an_ordinary_user_with_rights_on_the_engine_owns_what_is_stored(
    deployed: Deployed, private_engine: PrivateEngine, private_docker: DockerCli, nobodys: Path
) -> None:
    sock = Path(private_engine.url.removeprefix("unix://"))
    mode = sock.stat().st_mode
    sock.chmod(0o666)
    try:
        up = ("up", "--backend", "docker", "--port", str(deployed.port))
        as_nobody(nobodys, private_engine.url, *up).ok()
        assert deployed.container().attrs["Config"]["User"] == "65534:65534"
        deployed.push(private_docker, f"{deployed.address}/a:1")
        owners = {path.stat().st_uid for path in (nobodys / "home").rglob("*")}
        assert owners == {65534}
        as_nobody(nobodys, private_engine.url, "teardown", "--purge", "-y").ok()
        assert list(nobodys.iterdir()) == []
    finally:
        sock.chmod(mode)


@pytest.mark.slow
def test_an_ordinary_user_restores_a_volume_that_only_the_engine_may_enter(
    deployed: Deployed, private_engine: PrivateEngine, nobodys: Path
) -> None:
    sock, file = Path(private_engine.url.removeprefix("unix://")), str(nobodys / "b.tar.zst")
    mode = sock.stat().st_mode
    sock.chmod(0o666)
    try:
        where = ("--port", str(deployed.port), "--data", "volume:images")
        as_nobody(nobodys, private_engine.url, "up", "--backend", "docker", "--no-check", *where).ok()
        with RegistryClient(Endpoint(f"http://127.0.0.1:{deployed.port}")) as client:
            push(client, "team/app", "1.0", 200_000)
            as_nobody(nobodys, private_engine.url, "backup", file).ok()
            push(client, "later", "1")
            for _ in range(2):  # the second takes the place of a volume that the first made
                before = deployed.engine_things()
                as_nobody(nobodys, private_engine.url, "restore", file, "-y").ok()
                assert whole(client, "team/app", "1.0")
                assert "later" not in list(client.catalog())
                (gone,) = before - deployed.engine_things()
                assert gone.startswith("volume images")
                assert len(deployed.engine_things()) == len(before)
        as_nobody(nobodys, private_engine.url, "teardown", "--purge", "-y").ok()
        assert [one for one in deployed.engine_things() if one.startswith("volume")] == []
    finally:
        sock.chmod(mode)
