"""A machine with Docker: registry:2 in a container, from `up` to the last trace.

The tests are one story, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.images import tiny_archive
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

PASSWORD = "correct horse battery staple"
IMAGE = "localhost:5000/team/hello:1"
URL = "http://localhost:5000/v2/"


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, host_packages: Path, registry_archive: Path) -> Host:
    host = host_factory("engine")
    host.install_regsetup(host_packages)
    host.start_engine()
    host.copy(registry_archive, "/root")
    host.write("/root/hello.tar", tiny_archive(IMAGE))
    host.write("/root/password", f"{PASSWORD}\n", mode=0o600)
    return host


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    return host.files()


def test_up_loads_the_image_and_docker_pushes(host: Host, before: set[str], registry_image: str) -> None:
    image = ("--image", registry_image, "--image-archive", "/root/registry.tar")
    host.regsetup("up", "--user", "alice", "--password-file", "/root/password", *image)
    assert host.regsetup("status")["data"]["backend"] == "docker"
    host("docker", "login", "-u", "alice", "--password-stdin", "localhost:5000", stdin=PASSWORD).ok()
    host("docker", "load", "-i", "/root/hello.tar").ok()
    host("docker", "push", IMAGE).ok()


def test_it_comes_back_after_a_reboot_with_its_images(host: Host) -> None:
    host.reboot()
    wait_for("the registry after the reboot", lambda: host.status(URL) == "401")
    host("docker", "rmi", IMAGE).ok()
    host("docker", "pull", IMAGE).ok()


def test_it_comes_back_when_the_engine_restarts(host: Host) -> None:
    host("systemctl", "restart", "docker").ok()
    wait_for("the registry after the restart", lambda: host.status(URL) == "401")


def test_nothing_is_left_in_the_end(host: Host, before: set[str]) -> None:
    host("docker", "logout", "localhost:5000").ok()
    host.regsetup("teardown", "--purge", "-y")
    assert host("docker", "ps", "-aq").out == ""
    assert host("docker", "volume", "ls", "-q").out == ""
    assert host.files() - before == set()
    host.reboot()
    assert host.status(URL) == "000"
