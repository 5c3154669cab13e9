"""What ``render`` writes for systemd and podman, started by them on a whole host: it serves, and stops clean.

The generator is of a newer Debian than the host's podman, which runs what it makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bed.images import tiny_archive
from tests.bed.quadlet import quadlet
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

PASSWORD = "correct horse battery staple"
USER = ("-u", f"alice:{PASSWORD}")
IMAGE = "localhost:5000/team/hello:1"
URL = "http://localhost:5000/v2/"
GENERATORS = "/etc/systemd/system-generators"


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, host_packages: Path, registry_archive: Path) -> Host:
    host = host_factory("rendered")
    host.install_regsetup(host_packages)
    host.copy(registry_archive, "/root")
    host.write("/root/hello.tar", tiny_archive(IMAGE))
    host.write("/root/password", f"{PASSWORD}\n", mode=0o600)
    return host


def rendered(host: Host, kind: str, *more: str) -> str:
    """Render a registry with a user into a directory, and return what is to be done next."""
    who = ("--user", "alice", "--password-file", "/root/password")
    said = host("regsetup", "render", kind, "-o", f"/srv/{kind}", *who, *more).ok().out
    return said.partition("Next:\n")[2]


def serves_alice_only(host: Host) -> None:
    wait_for("the registry", lambda: host.status(URL) == "401", seconds=60)
    assert host.status(URL, *USER) == "200"
    assert host.status(URL, "-u", "alice:wrong") == "401"


def push(host: Host) -> None:
    where = ("docker-archive:/root/hello.tar", f"docker://{IMAGE}")
    who = ("--dest-tls-verify=false", f"--dest-creds=alice:{PASSWORD}")
    host("skopeo", "--insecure-policy", "copy", *who, *where).ok()


def has_the_image(host: Host) -> bool:
    return host.status(f"{URL}team/hello/manifests/1", *USER) == "200"


def result(host: Host, unit: str) -> set[str]:
    return set(host("systemctl", "show", unit, "--property=ActiveState,Result").ok().out.split())


STOPPED = {"ActiveState=inactive", "Result=success"}


def test_the_unit_is_started_serves_its_users_and_stops_clean(host: Host) -> None:
    host.sh(rendered(host, "systemd")).ok()
    serves_alice_only(host)
    push(host)
    unit = "regsetup-registry.service"
    host("systemctl", "kill", "--signal=KILL", unit).ok()
    serves_alice_only(host)
    assert has_the_image(host)
    host.reboot()
    serves_alice_only(host)
    host("systemctl", "disable", "--now", unit).ok()
    assert result(host, unit) == STOPPED
    assert host.status(URL) == "000"
    assert "failed" not in host("systemctl", "--failed", "--no-legend", "--plain").out


def test_the_quadlet_is_started_serves_its_users_and_stops_clean(host: Host, registry_image: str) -> None:
    host("podman", "load", "-i", "/root/registry.tar").ok()
    host("podman", "tag", registry_image, "docker.io/library/registry:2").ok()
    host.write(f"{GENERATORS}/podman-system-generator", Path(quadlet()).read_bytes(), mode=0o755)
    next_ = rendered(host, "quadlet", "--data", "/srv/images")
    done = host.sh(next_)
    assert done.code == 0, host("journalctl", "-u", "registry.service", "--no-pager").out
    serves_alice_only(host)
    push(host)
    host("systemctl", "stop", "registry.service").ok()
    host("rm", "-f", "/run/registry.cid").ok()  # podman 4.3 leaves it, and takes offence at it
    host("systemctl", "start", "registry.service").ok()
    serves_alice_only(host)
    assert has_the_image(host)
    host("systemctl", "stop", "registry.service").ok()
    assert result(host, "registry.service") == STOPPED
    assert host.status(URL) == "000"
    assert host("podman", "ps", "-aq").ok().out == ""
