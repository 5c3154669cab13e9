"""Engines that regsetup takes for another machine's: by ssh, by TCP with and without TLS, by a context.

The engine shares this machine's files all the same; that nothing of them is mounted is looked at here, and
tried on a whole host in ``tests/hosts``.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.reference import Digest
from regsetup.secret import Secret
from tests.bed.clients import DockerCli, run
from tests.bed.deployed import PASSWORD
from tests.bed.proxy import EngineProxy, make_tls
from tests.bed.sshd import URL
from tests.cli.test_gc import push, push_strong, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed.deployed import Deployed
    from tests.bed.engine import PrivateEngine
    from tests.bed.sshd import Sshd

pytestmark = pytest.mark.engine

BY_HAND = ("--trust", "none")  # or the clients of this machine would be told


def status(deployed: Deployed, host: str, user: str, password: str) -> str:
    ca = str(deployed.regsetup.home / deployed.name / "certs" / "ca.crt")
    url = f"https://{host}:{deployed.port}/v2/"
    flags = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", ca, "-u", f"{user}:{password}"]
    return run(["curl", *flags, url]).out


@pytest.fixture
def proxy(private_engine: PrivateEngine) -> Iterator[EngineProxy]:
    there = EngineProxy(private_engine.url.removeprefix("unix://"))
    there.start()
    yield there
    there.stop()


@pytest.mark.slow
def test_a_registry_by_ssh_has_no_file_of_this_machine_and_follows_its_users(
    deployed: Deployed, sshd: Sshd
) -> None:
    before = deployed.everything()
    deployed.regsetup.env = sshd.way() | {"DOCKER_HOST": URL}
    deployed.up_with_alice(*BY_HAND).ok()
    mounts = {(one["Type"], one["Destination"]) for one in deployed.container().attrs["Mounts"]}
    targets = ("/var/lib/registry", "/etc/docker/registry", "/etc/regsetup")
    assert mounts == {("volume", target) for target in targets}
    life = deployed.life()

    deployed.regsetup.env = sshd.way() | {"DOCKER_HOST": "unix:///nowhere"}  # it knows its engine
    assert deployed.json("up")["changed"] is False
    assert status(deployed, "127.0.0.1", "alice", PASSWORD) == "200"
    assert status(deployed, "127.0.0.1", "alice", "wrong") == "401"
    bob = deployed.json("adduser", "bob", "--generate")["data"]
    assert bob["proven"]
    assert status(deployed, "127.0.0.1", "bob", bob["password"]) == "200"
    assert deployed.json("rmuser", "bob")["data"]["proven"]
    assert status(deployed, "127.0.0.1", "bob", bob["password"]) == "401"
    assert deployed.life() == life
    renewed = deployed.regsetup.json("cert", "renew", "--name", deployed.name)
    assert {one["outcome"] for one in renewed["data"]["checks"]} == {"ok"}
    assert status(deployed, "127.0.0.1", "alice", PASSWORD) == "200"
    assert deployed.json("gc")["ok"]
    assert deployed.json("doctor")["data"]["findings"] == []
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before


@pytest.mark.parametrize(
    ("way", "cause", "fix"),
    [
        ({"key": "stranger"}, "Permission denied", "ssh-copy-id root@build1"),
        ({"known": False}, "Host key verification failed", "compare the key's fingerprint"),
        ({"port": 1}, "Connection refused", "start sshd"),
    ],
)
def test_an_ssh_that_does_not_get_in_says_why(
    deployed: Deployed, sshd: Sshd, way: dict[str, object], cause: str, fix: str
) -> None:
    env = sshd.way(**way) | {"DOCKER_HOST": URL}  # type: ignore[arg-type]
    error = deployed.error(deployed.up("--json", env=env))
    assert error["code"] == "ssh-failed"
    assert cause in error["cause"]
    assert fix in error["fix"]
    assert deployed.files() == {}


def test_without_ssh_it_is_the_program_that_is_missing(deployed: Deployed, tmp_path: Path) -> None:
    error = deployed.error(deployed.up("--json", env={"DOCKER_HOST": URL, "PATH": str(tmp_path)}))
    assert (error["code"], error["message"]) == ("program-missing", "ssh can't be started")


@pytest.mark.slow
def test_an_engine_that_goes_away_in_the_middle_is_an_error_and_the_next_up_goes_on(
    deployed: Deployed, proxy: EngineProxy
) -> None:
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    before = deployed.everything()
    for request in (b"/volumes/create", b"/archive", b"/start"):
        proxy.cut_at = request
        error = deployed.error(deployed.up_with_alice(*BY_HAND, "--json"))
        assert error["code"] == "engine-gone", request
        proxy.resume()
    deployed.up_with_alice(*BY_HAND).ok()
    assert status(deployed, proxy.host, "alice", PASSWORD) == "200"

    proxy.cut_at = b"/rename"
    assert deployed.error(deployed.up("--realm", "Other", "--json"))["code"] == "engine-gone"
    proxy.resume()
    deployed.up("--realm", "Other").ok()
    assert status(deployed, proxy.host, "alice", PASSWORD) == "200"
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.everything() == before


@pytest.mark.slow
def test_users_that_can_not_be_carried_are_as_they_were(deployed: Deployed, proxy: EngineProxy) -> None:
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    deployed.up_with_alice(*BY_HAND).ok()
    htpasswd = deployed.regsetup.home / deployed.name / "auth" / "htpasswd"
    before = htpasswd.read_text()
    proxy.cut_at = b"/exec"
    error = deployed.error(deployed("adduser", "bob", "--generate", "--json"))
    assert error["code"] == "engine-gone"
    assert htpasswd.read_text() == before
    assert status(deployed, proxy.host, "alice", PASSWORD) == "200"
    assert deployed.json("status")["data"]["state"] == "unknown"
    proxy.resume()
    assert deployed.json("rmuser", "alice")["data"]["proven"]
    assert status(deployed, proxy.host, "alice", PASSWORD) == "401"


def stored(deployed: Deployed) -> set[str]:
    return {one for one in deployed.engine_things() if one.startswith("volume")}


@pytest.mark.slow
def test_an_engine_that_goes_away_leaves_no_half_backup_and_no_half_restore(
    deployed: Deployed, proxy: EngineProxy, tmp_path: Path
) -> None:
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    deployed.up_with_alice(*BY_HAND).ok()
    ca = deployed.regsetup.home / deployed.name / "certs" / "ca.crt"
    address = f"https://{proxy.host}:{deployed.port}"
    backups, layer = tmp_path / "backups", os.urandom(64) * (1 << 14)
    backups.mkdir()
    file = backups / "b.tar.zst"
    with RegistryClient(Endpoint(address, ca, Credentials("alice", Secret(PASSWORD)))) as client:
        client.put_blob("team/app", layer)
        proxy.cut_at = layer[:64]
        assert deployed.error(deployed("backup", str(file), "--json"))["code"] == "engine-gone"
        assert list(backups.iterdir()) == []
        proxy.resume()
        deployed("backup", str(file)).ok()
        push(client, "later", "1")
        for moment in (b"/archive", b"/start"):  # while it is filled, and when the new one is to start
            proxy.cut_at = moment
            done = deployed("restore", str(file), "-y")
            assert done.code == 1
            assert "error: the engine stopped answering" in done.err
            assert "a volume stays until the next restore" in done.err
            (left,) = {one for one in stored(deployed) if ".restored-" in one}
            proxy.resume()
            deployed.up().ok()
            assert whole(client, "later", "1"), "what was there before the restore"
        deployed("restore", str(file), "-y").ok()
        assert b"".join(client.get_blob("team/app", Digest.of(layer))) == layer
        assert "later" not in list(client.catalog())
        (serving,) = {one for one in stored(deployed) if "data" in one}
        assert serving != left, "the old one is gone, and what earlier ones left"
    deployed("teardown", "--purge", "-y").ok()
    assert stored(deployed) == set()


@pytest.mark.slow
def test_a_docker_context_with_tls_is_used_and_remembered(
    deployed: Deployed, proxy: EngineProxy, tmp_path: Path
) -> None:
    proxy.tls = make_tls(tmp_path / "tls", proxy.host)
    config = tmp_path / "docker"
    files = ",".join(f"{key}={proxy.tls}/{key}.pem" for key in ("ca", "cert", "key"))
    docker = DockerCli(config)
    docker("--config", str(config), "context", "create", "far", "--docker", f"host={proxy.url},{files}").ok()
    deployed.regsetup.env = {"DOCKER_CONFIG": str(config)}
    deployed.up_with_alice(*BY_HAND, env={"DOCKER_CONTEXT": "far"}).ok()
    assert deployed.json("adduser", "bob", "--generate")["data"]["proven"]
    assert deployed.json("status")["data"]["answers"] is True


@pytest.mark.parametrize("wrong", ["no files", "another engine's CA", "no client certificate", "half a pair"])
def test_an_engine_with_tls_is_verified_and_verifies(
    deployed: Deployed, proxy: EngineProxy, tmp_path: Path, wrong: str
) -> None:
    proxy.tls = make_tls(tmp_path / "tls", proxy.host)
    own = tmp_path / "own"
    run(["cp", "-r", str(proxy.tls), str(own)]).ok()
    env = {"DOCKER_HOST": proxy.url, "DOCKER_CERT_PATH": str(own)}
    right = deployed.up("--dry-run", "--json", env=env)
    assert json.loads(right.out)["ok"], right.out
    if wrong == "no files":
        env.pop("DOCKER_CERT_PATH")
    elif wrong == "another engine's CA":
        (own / "ca.pem").write_bytes((make_tls(tmp_path / "other", proxy.host) / "ca.pem").read_bytes())
    else:
        (own / "key.pem").unlink()
        if wrong == "no client certificate":
            (own / "cert.pem").unlink()
    error = deployed.error(deployed.up("--dry-run", "--json", env=env))
    assert error["code"] in ("engine-tls", "engine-down") if wrong == "no files" else "engine-tls"
    assert deployed.files() == {}


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--data", "/srv/images"), "only-there"),
        (("--bind", "127.0.0.1"), "only-there"),
        (("--image-archive", "/nowhere.tar"), "bad-image-archive"),
    ],
)
def test_what_can_not_be_done_from_here_is_refused(
    deployed: Deployed, proxy: EngineProxy, flags: tuple[str, ...], code: str
) -> None:
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    error = deployed.error(deployed.up(*flags, "--json"))
    assert error["code"] == code
    assert deployed.files() == {}


def test_a_machine_that_is_asked_for_must_be_the_engines(deployed: Deployed) -> None:
    error = deployed.error(deployed.up("--machine", "build1", "--json"))
    assert error["code"] == "engine-here"
    assert deployed.files() == {}


def test_a_port_that_a_container_over_there_has_is_not_taken(deployed: Deployed, proxy: EngineProxy) -> None:
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    deployed.up_with_alice(*BY_HAND).ok()
    other = ("up", "--name", "second", "--no-check", "--port", str(deployed.port), "-y", *BY_HAND, "--json")
    error = deployed.error(deployed.regsetup(*other))
    assert error["code"] == "port-in-use"
    assert "container registry" in error["message"]


@pytest.mark.slow
def test_gc_by_the_collector_of_the_image_deletes_nothing_that_a_tag_leads_to(
    deployed: Deployed, proxy: EngineProxy
) -> None:
    """registry:2's own marks a blob by the digest in the manifest, and sweeps by that it is stored under."""
    deployed.regsetup.env["DOCKER_HOST"] = proxy.url
    deployed.up_with_alice(*BY_HAND, "--tls", "off").ok()
    with RegistryClient(
        Endpoint(f"http://127.0.0.1:{deployed.port}", credentials=Credentials("alice", Secret(PASSWORD)))
    ) as client:
        push(client, "app", "1.0")
        garbage = client.put_blob("app", b"garbage")
        done = deployed.json("gc")["data"]
        assert (done["eligible"], done["freed"], done["tags"]) == ([str(garbage)], None, 1)
        assert whole(client, "app", "1.0")
        assert deployed.json("gc", "--untagged")["errors"][0]["code"] == "untagged-unsafe"
        content, digest = push_strong(client)
        assert deployed.json("gc")["errors"][0]["code"] == "gc-would-harm"
        assert b"".join(client.get_blob("strong", digest)) == content
