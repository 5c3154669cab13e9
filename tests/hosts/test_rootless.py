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
DOCKER_ELSEWHERE = (
    DOCKER.replace("start /usr", "start --setenv=XDG_CONFIG_HOME=/home/dev/conf /usr")
    + """
install -d -o dev /home/dev/conf
"""
)
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


def by_runtime(host: Host, command: str) -> Completed:
    """Run it where nothing but XDG_RUNTIME_DIR leads to the engine, and Docker's own command is told."""
    words = "export XDG_RUNTIME_DIR=/home/dev/run"
    return host("su", "--login", "dev", "--command", f"{words}; {command}")


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


@pytest.mark.parametrize(
    ("kind", "refusal", "told"),
    [
        ("", "signed by unknown authority", "certs.d/ADDRESS/ca.crt"),
        ("--insecure", "HTTP response to HTTPS client", "daemon.json"),
    ],
    ids=["tls", "plain"],
)
def test_a_rootless_engine_with_settings_elsewhere_is_told_by_up_and_by_the_script(
    host: Host, registry_image: str, kind: str, refusal: str, told: str
) -> None:
    """Its XDG_CONFIG_HOME is not the shell's, and no DOCKER_HOST leads to its socket."""
    host.sh(DOCKER_ELSEWHERE).ok()
    wait_for("the rootless engine", lambda: as_dev(host, "docker info").code == 0, seconds=60)
    files = host.sh("find /home/dev/conf /home/dev/.config/docker -type f | sort").ok().out
    address = f"{host.sh('hostname -I').ok().out.split()[0]}:5003"
    place = f"/home/dev/conf/docker/{told.replace('ADDRESS', address)}"
    up = f"regsetup up --bind 0.0.0.0 --host {address.partition(':')[0]} --port 5003 --no-auth -y {kind}"
    said = by_runtime(host, f"{up} --backend embedded")
    assert said.code == 0, said.err
    assert "9 of 9 checks hold" in said.out, "the rootless engine pushed and pulled"
    as_dev(host, f"docker load -i /srv/registry.tar && docker tag {registry_image} mine:1").ok()
    assert by_runtime(host, "docker info").code != 0, "Docker's command does not find it by itself"
    printed = said.out.partition("Next:\n")[2].replace("IMAGE", "mine:1")
    by_runtime(host, f"set -e\n{printed}").ok()
    assert host("ls", place).code == 0
    assert host("ls", place.replace("/conf/", "/.config/")).code != 0
    by_runtime(host, "regsetup trust remove").ok()
    assert host("ls", place).code != 0
    as_dev(host, f"docker tag {registry_image} {address}/a:1").ok()
    push = f"docker push {address}/a:1"
    assert refusal in as_dev(host, push).err
    by_runtime(host, "regsetup trust export | sh").ok()
    assert host("ls", place).code == 0
    as_dev(host, push).ok()
    by_runtime(host, "regsetup trust export | sh -s -- --remove").ok()
    assert refusal in as_dev(host, push).err
    as_dev(host, "docker rmi -f $(docker images -q)").ok()
    tear_down(host)
    assert host.sh("find /home/dev/conf /home/dev/.config/docker -type f | sort").ok().out == files


def test_rootless_podman_runs_a_registry_from_up_to_teardown(host: Host, registry_image: str) -> None:
    host("rm", "-f", "/home/dev/run/docker.sock").ok()
    host.sh(PODMAN).ok()
    wait_for("podman's socket", lambda: as_dev(host, "docker info").code == 0, seconds=60)
    assert "10 of 10 checks hold" in up(host, registry_image), "podman trusts by files of its own"
    restored = as_dev(host, "regsetup backup -q b.zst && regsetup restore -y b.zst && rm b.zst").ok().out
    assert "10 checks hold" in restored
    tear_down(host)
