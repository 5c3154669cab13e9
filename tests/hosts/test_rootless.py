"""Somebody who is not root, with a rootless Docker engine of their own, below RootlessKit and slirp4netns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.run import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

START = """
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
chmod 666 /dev/net/tun
useradd --create-home --shell /bin/bash dev
install -d -o dev -m 700 /home/dev/run
systemd-run --quiet --unit=rootless --uid=dev --setenv=HOME=/home/dev --setenv=XDG_RUNTIME_DIR=/home/dev/run \
    --setenv=PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/share/docker.io/contrib/dockerd-rootless.sh --storage-driver=vfs --iptables=false --ip6tables=false
"""


def as_dev(host: Host, command: str) -> Completed:
    engine = "export DOCKER_HOST=unix:///home/dev/run/docker.sock"
    return host("su", "--login", "dev", "--command", f"{engine}; {command}")


def test_a_rootless_engine_runs_a_registry_from_up_to_teardown(
    host_factory: HostFactory, host_packages: Path, registry_archive: Path, registry_image: str
) -> None:
    host = host_factory("rootless")
    host.install_regsetup(host_packages)
    host.copy(registry_archive, "/srv")
    host.sh(START).ok()
    wait_for("the rootless engine", lambda: as_dev(host, "docker info").code == 0, seconds=60)
    image = f"--image {registry_image} --image-archive /srv/registry.tar"
    said = as_dev(host, f"regsetup up --user alice -y {image}").ok().out
    assert "11 of 11 checks hold" in said, "the engine's push and pull too"
    owners = host.sh("find /home/dev/.local/share/regsetup ! -user dev").ok().out
    assert owners == "", "root of the container is the person who ran it"
    assert "no changes" in as_dev(host, "regsetup up").ok().out
    assert "200 after" in as_dev(host, "regsetup adduser bob --generate").ok().out
    assert "401 after" in as_dev(host, "regsetup rmuser bob").ok().out
    as_dev(host, "regsetup gc && regsetup verify && regsetup teardown --purge -y").ok()
    for what in ("ps -aq", "volume ls -q", "images -q"):
        assert as_dev(host, f"docker {what}").ok().out == "", what
    assert host("ls", "/home/dev/.local/share/regsetup").code != 0
