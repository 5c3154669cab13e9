"""Somebody who is not root, with a rootless engine of their own: Docker below RootlessKit, and podman."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.run import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

PERSON = """
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
chmod 666 /dev/net/tun
useradd --create-home --shell /bin/bash dev
install -d -o dev -m 700 /home/dev/run
"""
AS_DEV = """
start() {
    systemd-run --quiet --unit=rootless --uid=dev --setenv=HOME=/home/dev \
        --setenv=XDG_RUNTIME_DIR=/home/dev/run --setenv=PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
"""
DOCKER = f"""{AS_DEV}
start /usr/share/docker.io/contrib/dockerd-rootless.sh --storage-driver=vfs --iptables=false --ip6tables=false
"""
# It asks for more open files than a machine within a machine may give.
PODMAN = f"""{AS_DEV}
install -d -o dev /home/dev/.config /home/dev/.config/containers
cat > /home/dev/.config/containers/containers.conf <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
END
start podman --storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=none \
    system service --time=0 unix:///home/dev/run/docker.sock
"""


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, host_packages: Path, registry_archive: Path) -> Host:
    host = host_factory("rootless")
    host.install_regsetup(host_packages)
    host.copy(registry_archive, "/srv")
    host.sh(PERSON).ok()
    return host


def as_dev(host: Host, command: str) -> Completed:
    engine = "export DOCKER_HOST=unix:///home/dev/run/docker.sock"
    return host("su", "--login", "dev", "--command", f"{engine}; {command}")


def up(host: Host, image: str) -> str:
    """Bring it up, change its users, and say what ``up`` said of its checks."""
    archive = f"--image {image} --image-archive /srv/registry.tar"
    said = as_dev(host, f"regsetup up --user alice -y {archive}").ok().out
    owners = host.sh("find /home/dev/.local/share/regsetup ! -user dev").ok().out
    assert owners == "", "root of the container is the person who ran it"
    assert "no changes" in as_dev(host, "regsetup up").ok().out
    assert "200 after" in as_dev(host, "regsetup adduser bob --generate").ok().out
    assert "401 after" in as_dev(host, "regsetup rmuser bob").ok().out
    return said


def tear_down(host: Host) -> None:
    as_dev(host, "regsetup gc && regsetup verify && regsetup teardown --purge -y").ok()
    for what in ("ps -aq", "volume ls -q", "images -q"):
        assert as_dev(host, f"docker {what}").ok().out == "", what
    assert host("ls", "/home/dev/.local/share/regsetup").code != 0
    host("systemctl", "stop", "rootless").ok()
    host("systemctl", "reset-failed")


def test_a_rootless_engine_runs_a_registry_from_up_to_teardown(host: Host, registry_image: str) -> None:
    host.sh(DOCKER).ok()
    wait_for("the rootless engine", lambda: as_dev(host, "docker info").code == 0, seconds=60)
    assert "11 of 11 checks hold" in up(host, registry_image), "the engine's push and pull too"
    tear_down(host)


def test_rootless_podman_runs_a_registry_from_up_to_teardown(host: Host, registry_image: str) -> None:
    host("rm", "-f", "/home/dev/run/docker.sock").ok()
    host.sh(PODMAN).ok()
    wait_for("podman's socket", lambda: as_dev(host, "docker info").code == 0, seconds=60)
    assert "10 of 10 checks hold" in up(host, registry_image), "podman trusts by files of its own"
    restored = as_dev(host, "regsetup backup -q b.zst && regsetup restore -y b.zst && rm b.zst").ok().out
    assert "10 checks hold" in restored
    tear_down(host)
