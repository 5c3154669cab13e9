"""A machine without Docker: the bundled registry as a systemd service, from `up` to the last trace.

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
def host(host_factory: HostFactory, host_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = host_factory("plain")
    host.install_regsetup(host_packages)
    host.write("/root/hello.tar", tiny_archive(IMAGE))
    host.write("/root/password", f"{PASSWORD}\n", mode=0o600)
    return host


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    return host.files()


def digest(host: Host) -> str:
    """Return what the tag stands for, asked as alice."""
    who = f"--creds=alice:{PASSWORD}"
    asked = host("skopeo", "inspect", "--tls-verify=false", who, "--format={{.Digest}}", f"docker://{IMAGE}")
    return asked.ok().out


def test_up_says_why_it_does_without_docker(host: Host, before: set[str]) -> None:
    said = host("regsetup", "up", "--user", "alice", "--password-file", "/root/password").ok()
    assert "Docker" in said.out + said.err
    assert host.status(URL) == "401"
    assert host.status(URL, "-u", f"alice:{PASSWORD}") == "200"
    where = ("docker-archive:/root/hello.tar", f"docker://{IMAGE}")
    who = ("--dest-tls-verify=false", f"--dest-creds=alice:{PASSWORD}")
    host("skopeo", "--insecure-policy", "copy", *who, *where).ok()


def test_it_is_a_service_of_systemd(host: Host) -> None:
    units = host("systemctl", "list-units", "--plain", "--no-legend", "regsetup*").ok().out.split()
    assert "active" in units
    assert host.regsetup("status")["data"]["backend"] == "embedded"
    installed = host("cat", "/etc/systemd/system/regsetup-registry.service").ok().out
    assert host("regsetup", "render", "systemd").ok().out == installed, "what is rendered is what up did"


def test_a_second_up_changes_nothing(host: Host) -> None:
    assert host.regsetup("up")["changed"] is False


def test_it_comes_back_after_a_reboot_with_its_images_and_users(host: Host) -> None:
    pushed = digest(host)
    host.reboot()
    wait_for("the registry after the reboot", lambda: host.status(URL) == "401")
    assert digest(host) == pushed


def test_it_comes_back_after_a_crash(host: Host) -> None:
    host("systemctl", "kill", "--signal=KILL", "regsetup*").ok()
    wait_for("the registry after the crash", lambda: host.status(URL) == "401")


def test_teardown_leaves_no_unit_and_up_finds_the_image_again(host: Host) -> None:
    pushed = digest(host)
    host.regsetup("teardown")
    assert host.status(URL) == "000"
    assert host("systemctl", "list-unit-files", "--no-legend", "regsetup*").out == ""
    host.regsetup("up")
    assert digest(host) == pushed


def test_nothing_is_left_in_the_end(host: Host, before: set[str]) -> None:
    host.regsetup("teardown", "--purge", "-y")
    assert host.files() - before == set()
    assert host("systemctl", "is-system-running").out.strip() == "running"
    host.reboot()
    assert host.status(URL) == "000"
