"""``up``, users and ``teardown`` on a real engine, from the first command to nothing left."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.bed.clients import DockerCli
from tests.bed.deployed import PASSWORD
from tests.bed.run import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.deployed import Deployed
    from tests.bed.engine import PrivateEngine

pytestmark = pytest.mark.engine


def login(docker_cli: DockerCli, address: str, user: str, password: str) -> None:
    docker_cli("login", "-u", user, "--password-stdin", address, stdin=password).ok()


def test_the_whole_story(
    deployed: Deployed, private_docker: DockerCli, private_engine: PrivateEngine, tmp_path: Path
) -> None:
    before = deployed.everything()
    one, two = f"{deployed.address}/team/one:1", f"{deployed.address}/team/two:1"

    done = deployed(
        "up", "--port", str(deployed.port), "--listen", "0.0.0.0:5001", "--user", "alice",
        "--password-stdin", stdin=f"{PASSWORD}\n",
    ).ok()  # fmt: skip
    assert f"is up at http://{deployed.address}" in done.out
    assert "checks hold" in done.out
    assert f"docker login {deployed.address} -u alice" in done.out
    container = deployed.container()
    assert container.attrs["HostConfig"]["PortBindings"] == {
        "5001/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(deployed.port)}]
    }

    refused = private_docker("login", "-u", "alice", "--password-stdin", deployed.address, stdin="wrong")
    assert refused.code != 0
    login(private_docker, deployed.address, "alice", PASSWORD)
    pushed = deployed.push(private_docker, one)
    assert deployed.pull(private_docker, one) == pushed

    life = deployed.life()
    deployed("adduser", "bob", "--password-stdin", stdin="bobs-own-password\n").ok()
    bob = DockerCli(tmp_path / "bob", private_engine.url)
    login(bob, deployed.address, "bob", "bobs-own-password")
    deployed.push(bob, two)
    assert deployed.life() == life, "a new user needs no restart"

    again = deployed("up").ok()
    assert "(no changes)" in again.out
    assert again.err == ""
    assert deployed.life() == life

    kept = deployed("teardown").ok()
    assert "removed  container registry" in kept.out
    assert deployed.engine_things() == before[0]
    deployed("up").ok()
    assert deployed.pull(bob, one) == pushed, "images and users were kept"

    gone = deployed("teardown", "--purge", "-y").ok()
    assert "deleted" in gone.out
    assert deployed.everything() == before
    assert "nothing to do" in deployed("teardown", "--purge", "-y").ok().out


@pytest.mark.parametrize("storage", ["directory", "volume"])
def test_purge_takes_images_and_teardown_alone_does_not(
    deployed: Deployed, private_docker: DockerCli, storage: str, tmp_path: Path
) -> None:
    before = deployed.engine_things()
    data = str(tmp_path / "elsewhere" / "images") if storage == "directory" else "volume:images"
    deployed.up("--data", data).ok()
    reference = f"{deployed.address}/a:1"
    pushed = deployed.push(private_docker, reference)
    deployed("teardown").ok()
    deployed("up", "--no-check").ok()
    assert deployed.pull(private_docker, reference) == pushed
    assert deployed.json("status")["data"]["storage"] == data
    named = deployed("teardown", "--purge", "-y").ok()
    assert data in named.out
    assert deployed.engine_things() == before
    assert deployed.files() == {}
    assert not (tmp_path / "elsewhere").exists() or storage == "volume"


def test_purge_without_a_terminal_needs_to_be_told_yes(deployed: Deployed) -> None:
    deployed.up().ok()
    done = deployed("teardown", "--purge", "--json")
    assert (done.code, deployed.error(done)["code"]) == (2, "needs-yes")
    assert str(deployed.regsetup.home / "registry" / "data") in deployed.error(done)["message"]
    assert deployed.container().status == "running"


def test_purge_refuses_a_directory_that_is_not_a_registrys(deployed: Deployed, tmp_path: Path) -> None:
    data = tmp_path / "data"
    deployed.up("--data", str(data)).ok()
    (data / "thesis.txt").write_text("years of work")
    done = deployed("teardown", "--purge", "-y", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "not-a-registry")
    assert (data / "thesis.txt").exists()
    assert deployed.container().status == "running", "it is refused before anything is touched"
    (data / "thesis.txt").unlink()
    deployed("teardown", "--purge", "-y").ok()
    assert not data.exists()


def test_up_refuses_a_data_directory_of_others(deployed: Deployed, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    before = deployed.everything()
    done = deployed.up("--data", str(tmp_path / "data"), "--json")
    assert done.code == 1
    assert deployed.error(done)["cause"]
    assert deployed.everything() == before


CHANGES = {
    "port": ["--port", "PORT"],
    "listen": ["--listen", ":5002"],
    "bind": ["--bind", "0.0.0.0", "--insecure", "--no-auth", "--trust", "none"],
    "restart": ["--restart-policy", "always"],
    "env REGISTRY_LOG_LEVEL": ["--env", "REGISTRY_LOG_LEVEL=debug"],
    "auth": ["--auth", "--password-file", "PASSWORDS"],
    "data": ["--data", "volume:others"],
    "tls": ["--tls", "self-signed"],
}


@pytest.mark.parametrize("setting", CHANGES)
def test_a_changed_flag_replaces_the_container_once(deployed: Deployed, setting: str, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text(f"{PASSWORD}\n")
    other = str(free_port())
    flags = [
        {"PORT": other, "PASSWORDS": str(tmp_path / "passwords")}.get(flag, flag) for flag in CHANGES[setting]
    ]
    deployed.up("--restart-policy", "no").ok()
    first = deployed.life()

    dry = deployed("up", *flags, "--dry-run", "--exit-code", "--json")
    assert dry.code == 3
    steps = [step for step in json.loads(dry.out)["data"]["steps"] if step["changes"]]
    (aside,) = [step for step in steps if step["action"] == "set aside"]
    assert f"{setting} " in aside["reason"]
    assert aside["restarts"] == ["registry"]
    assert deployed.life() == first, "a dry run changes nothing"

    envelope = deployed.json("up", "--no-check", *flags)
    assert envelope["ok"], envelope
    assert envelope["changed"]
    assert deployed.life() != first
    assert deployed.container().status == "running"
    second = deployed.life()
    assert deployed.json("up", "--no-check")["changed"] is False, "what was told is remembered"
    assert deployed.life() == second
    assert len(deployed.client.containers.list(all=True)) == 1


def test_a_dry_run_shows_a_table_and_touches_nothing(deployed: Deployed) -> None:
    before = deployed.everything()
    done = deployed.up("--dry-run").ok()
    assert deployed.everything() == before
    for words in ("create", "container registry", "not found", "new and empty"):
        assert words in done.out
    assert deployed.up("--dry-run", "--exit-code").code == 3
    deployed.up().ok()
    assert "nothing to do" in deployed.up("--dry-run", "--exit-code").ok().out


def test_a_broken_replacement_brings_the_old_one_back(deployed: Deployed, private_docker: DockerCli) -> None:
    deployed.up_with_alice().ok()
    login(private_docker, deployed.address, "alice", PASSWORD)
    pushed = deployed.push(private_docker, f"{deployed.address}/a:1")
    identity, files = deployed.life()[0], deployed.files()
    done = deployed.up("--env", "REGISTRY_STORAGE=nonsense", "--json")
    assert done.code == 1
    error = deployed.error(done)
    assert error["code"] == "not-healthy"
    assert "exited with code 2" in error["cause"], "not the 0 of one that Docker started again"
    assert "nonsense" in error["cause"], "the container's last words are shown"
    assert deployed.life()[0] == identity
    assert deployed.container().status == "running"
    assert deployed.files() == files
    assert deployed.pull(private_docker, f"{deployed.address}/a:1") == pushed
    assert deployed.json("up", "--no-check")["changed"] is False


def test_an_image_that_is_no_registry_leaves_nothing(deployed: Deployed) -> None:
    from tests.bed.images import busybox_archive, load

    image = load(deployed.client, busybox_archive("not-a-registry:1", noise=16))
    try:
        before = deployed.everything()
        done = deployed.up("--image", "not-a-registry:1", "--json")
        assert done.code == 1
        assert deployed.error(done)["code"] == "not-healthy"
        assert "hello from busybox" in deployed.error(done)["cause"]
        assert deployed.everything() == before
    finally:
        deployed.client.images.remove(str(image.id), force=True)


def test_a_registry_that_never_answers_is_given_up_at_the_deadline(deployed: Deployed) -> None:
    before = deployed.everything()
    done = deployed.up("--listen", "127.0.0.1:5000", "--wait", "2", "--json")
    assert deployed.error(done)["code"] == "not-healthy"
    assert "within 2 s" in deployed.error(done)["cause"]
    assert deployed.everything() == before


def test_a_stopped_container_is_started_and_not_made_anew(deployed: Deployed) -> None:
    deployed.up().ok()
    identity = deployed.life()[0]
    deployed.container().stop(timeout=5)
    status = deployed("status", "--json")
    assert (status.code, json.loads(status.out)["data"]["state"]) == (3, "stopped")
    done = deployed.up().ok()
    assert "start" in done.err
    assert deployed.life()[0] == identity


def test_a_container_that_somebody_removed_is_made_again(deployed: Deployed) -> None:
    deployed.up().ok()
    deployed.container().remove(force=True)
    assert deployed.json("status")["data"]["state"] == "torn down"
    deployed.up().ok()
    assert deployed.container().status == "running"


def test_a_config_that_somebody_edited_is_put_right(deployed: Deployed) -> None:
    deployed.up().ok()
    config = deployed.regsetup.home / "registry" / "config.yml"
    written = config.read_text()
    config.write_text(written.replace("info", "debug"))
    done = deployed.up().ok()
    assert "config.yml on disk is not what was written" in done.err
    assert config.read_text() == written


def test_a_lost_state_is_found_out_again(deployed: Deployed) -> None:
    before = deployed.everything()
    deployed.up_with_alice().ok()
    state = deployed.regsetup.home / "registry" / "state.json"
    state.write_text("{")
    for command in ("up", "status", "teardown", "check", "logs"):
        done = deployed(command, "--json")
        assert (command, done.code, deployed.error(done)["code"]) == (command, 1, "state-damaged")
    state.unlink()
    assert "(no changes)" in deployed.up().ok().out
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.engine_things() == before[0]
    assert {path for path in deployed.files() if path != "regsetup"} == set()


def test_a_new_image_under_the_same_tag_counts(deployed: Deployed) -> None:
    """And an image of another configuration path is mounted there; see ``images.find``."""
    deployed.client.images.get("registry:2").tag("moving", "1")
    try:
        deployed.up("--image", "moving:1").ok()
        first = deployed.life()
        container = deployed.client.containers.create("registry:2", labels={"new": "1"})
        container.commit("moving", "1", changes=["LABEL new=1"])
        container.remove(v=True)
        envelope = deployed.json("up", "--no-check")
        assert envelope["changed"]
        assert "image-id" in str([one for one in envelope["data"]["steps"] if one["action"] == "set aside"])
        assert deployed.life() != first
    finally:
        deployed("teardown", "--purge", "-y").ok()
        deployed.client.images.remove("moving:1", force=True)


def test_two_registries_live_side_by_side(deployed: Deployed) -> None:
    before = deployed.everything()
    deployed.up().ok()
    other = free_port()
    deployed.regsetup("up", "--name", "second", "--port", str(other), "--no-check").ok()
    listed = deployed.regsetup.json("status", "--all")["data"]["registries"]
    assert [(one["name"], one["running"], one["answers"]) for one in listed] == [
        ("registry", True, True),
        ("second", True, True),
    ]
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.regsetup.json("status", "--name", "second")["data"]["running"]
    deployed.regsetup("teardown", "--name", "second", "--purge", "-y").ok()
    assert deployed.everything() == before


def test_the_home_that_a_person_made_stays(deployed: Deployed) -> None:
    deployed.regsetup.home.mkdir()
    deployed.up().ok()
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.files() == {"regsetup": "directory"}


def test_files_that_are_not_ours_are_left_and_named(deployed: Deployed) -> None:
    deployed.up().ok()
    note = deployed.regsetup.home / "registry" / "note.txt"
    note.write_text("mine")
    done = deployed("teardown", "--purge", "-y", "--json")
    assert (done.code, deployed.error(done)["code"]) == (1, "left-behind")
    assert "note.txt" in deployed.error(done)["message"]
    assert note.read_text() == "mine"
    note.unlink()
    deployed("teardown", "--purge", "-y").ok()
    assert deployed.files() == {}


def test_an_image_archive_is_loaded_once_and_goes_with_purge(
    deployed: Deployed, registry_archive: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "registry.tar"
    shutil.copy(registry_archive, archive)
    flags = ("--image-archive", str(archive))
    done = deployed.up(*flags).ok()
    assert "load" in done.err
    image = str(deployed.container().attrs["Config"]["Image"])
    assert image == "regsetup-test/registry:2", "the archive says what its image is called"
    assert deployed.json("up", "--no-check", *flags)["changed"] is False
    archive.unlink()
    assert deployed.json("up", "--no-check")["changed"] is False, "the archive is needed once"
    deployed("teardown", "--purge", "-y").ok()
    tags = [tag for one in deployed.client.images.list() for tag in one.tags]
    assert image not in tags
    assert "registry:2" in tags, "what regsetup did not bring stays"
