"""A registry on the engine of another machine, by ssh: that machine has its own files, and no regsetup.

The tests are one story, in order: up, users, trust by the exported script, the engine gone, the last trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.cli import Regsetup
from tests.bed.clients import run
from tests.bed.images import tiny_archive
from tests.bed.run import need, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def far(host_factory: HostFactory) -> Host:
    host = host_factory("far")
    host.start_engine()
    host.sh("mkdir -m 700 -p /root/.ssh && systemctl start ssh").ok()
    return host


@pytest.fixture(scope="module")
def address(far: Host) -> str:
    far.container.reload()
    (network,) = far.container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


@pytest.fixture(scope="module")
def person(far: Host, address: str, tmp_path_factory: pytest.TempPathFactory) -> Regsetup:
    """Somebody on this machine whose ssh gets in over there, and who has no engine here."""
    place = tmp_path_factory.mktemp("person")
    run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(place / "key")]).ok()
    far.write("/root/.ssh/authorized_keys", (place / "key.pub").read_text(), mode=0o600)
    host_key = far("cat", "/etc/ssh/ssh_host_ed25519_key.pub").ok().out
    (place / "known_hosts").write_text(f"{address} {host_key}")
    (place / "config").write_text(
        f"Host *\n  IdentityFile {place}/key\n  UserKnownHostsFile {place}/known_hosts\n"
    )
    (place / "bin").mkdir()
    (place / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {need("ssh")} -F {place}/config "$@"\n')
    (place / "bin" / "ssh").chmod(0o755)
    env = {"PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin", "DOCKER_HOST": "unix:///nowhere"}
    (place / "home").mkdir()
    (place / "home" / "password").write_text(f"{PASSWORD}\n")
    return Regsetup(place / "home", env)


@pytest.fixture(scope="module")
def before(far: Host) -> set[str]:
    return far.files()


def status(person: Regsetup, address: str, user: str, password: str) -> str:
    ca = str(person.home / "registry" / "certs" / "ca.crt")
    flags = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", ca, "-u", f"{user}:{password}"]
    return run(["curl", *flags, f"https://{address}:5000/v2/"]).out


def test_up_brings_image_users_and_certificate_over_there(
    far: Host,
    person: Regsetup,
    address: str,
    before: set[str],
    registry_archive: Path,
    registry_image: str,
) -> None:
    image = ("--image", registry_image, "--image-archive", str(registry_archive))
    alice = ("--user", "alice", "--password-file", str(person.place / "password"))
    there = {"DOCKER_HOST": f"ssh://root@{address}"}
    done = person.json("up", *image, *alice, "--trust", "none", env=there, timeout=300)
    assert done["ok"], done
    assert {one["name"]: one["outcome"] for one in done["data"]["checks"]}["engine"] == "ok"
    assert any("trust export" in note for note in done["data"]["notes"])
    assert status(person, address, "alice", PASSWORD) == "200"
    assert status(person, address, "alice", "wrong") == "401"
    assert far.files() - before == set()
    assert person.json("up", env=there)["changed"] is False


def test_a_change_of_users_is_live_over_there(person: Regsetup, address: str) -> None:
    bob = person.json("adduser", "bob", "--generate")["data"]
    assert bob["proven"]
    assert status(person, address, "bob", bob["password"]) == "200"
    assert person.json("rmuser", "bob")["data"]["proven"]
    assert status(person, address, "bob", bob["password"]) == "401"
    assert status(person, address, "alice", PASSWORD) == "200"


def test_the_exported_script_lets_that_engine_use_the_registrys_name(
    far: Host, person: Regsetup, address: str
) -> None:
    image = f"{address}:5000/team/hello:1"
    far.write("/root/hello.tar", tiny_archive(image))
    far("docker", "load", "-i", "/root/hello.tar").ok()
    login = ("docker", "login", "-u", "alice", "--password-stdin", f"{address}:5000")
    assert "x509" in far(*login, stdin=PASSWORD).err
    script = person("trust", "export").ok().out
    far("sh", stdin=script).ok()
    far(*login, stdin=PASSWORD).ok()
    far("docker", "push", image).ok()
    far("docker", "rmi", image).ok()
    far("docker", "pull", image).ok()
    assert person.json("verify")["data"]["blobs"] == 2
    assert person.json("gc")["ok"]
    far("docker", "rmi", image).ok()
    far("docker", "pull", image).ok()
    far("docker", "rmi", image).ok()
    far("docker", "logout", f"{address}:5000").ok()
    far("sh", "-s", "--", "--remove", stdin=script).ok()


def test_a_backup_is_made_here_and_restored_over_there(person: Regsetup, address: str) -> None:
    file = str(person.place / "backup.tar.zst")
    assert person.json("backup", file)["ok"]
    assert person.json("restore", file, "-y", timeout=300)["ok"]
    assert person.json("tags", "team/hello")["data"]["tags"]
    assert status(person, address, "alice", PASSWORD) == "200"


def test_an_engine_that_is_gone_over_there_is_said_and_it_comes_back(
    far: Host, person: Regsetup, address: str
) -> None:
    far.sh("systemctl stop docker.socket docker").ok()
    assert person.json("status")["data"]["state"] == "unknown"
    failed = person.json("adduser", "carol", "--generate")
    assert [one["code"] for one in failed["errors"]] == ["ssh-failed"]
    far.start_engine()
    wait_for("the registry", lambda: status(person, address, "alice", PASSWORD) == "200")
    assert person.json("users")["data"]["users"] == ["alice"]


def test_nothing_is_left_over_there_in_the_end(far: Host, person: Regsetup, before: set[str]) -> None:
    person("teardown", "--purge", "-y").ok()
    for what in ("ps -aq", "volume ls -q", "images -q"):
        assert far("docker", *what.split()).out == "", what
    far("rm", "/root/hello.tar").ok()
    assert far.files() - before == set()
    assert not person.home.exists()
