"""The hosts are what they say: systemd, names on a network, an engine of their own, a reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.images import tiny_archive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]


@pytest.fixture(scope="module")
def host(host_factory: HostFactory) -> Host:
    return host_factory("alpha")


def test_systemd_runs_and_nothing_failed(host: Host) -> None:
    assert host("systemctl", "is-system-running").out.strip() == "running"


def test_hosts_reach_each_other_by_name(host: Host, host_factory: HostFactory) -> None:
    host.write("/srv/hello.txt", "hello from alpha\n")
    host.sh("systemd-run --unit=web busybox httpd -f -p 8080 -h /srv").ok()
    other = host_factory("beta")
    fetched = other("curl", "-s", "--retry", "20", "--retry-connrefused", "http://alpha:8080/hello.txt").ok()
    assert fetched.out == "hello from alpha\n"


def test_an_engine_of_its_own_runs_loads_and_reloads(host: Host, tmp_path: Path) -> None:
    host.start_engine()
    (tmp_path / "tiny.tar").write_bytes(tiny_archive("tiny:1"))
    host.copy(tmp_path / "tiny.tar", "/root")
    host("docker", "load", "-i", "/root/tiny.tar").ok()
    assert "tiny" in host("docker", "images").ok().out
    host("systemctl", "reload", "docker").ok()


def test_a_reboot_keeps_files_and_starts_what_is_enabled(host: Host) -> None:
    host.write("/root/kept", "yes\n")
    host.write("/run/lost", "no\n")
    host.reboot()
    assert host("cat", "/root/kept").ok().out == "yes\n"
    assert host("test", "-e", "/run/lost").code == 1
    assert host("docker", "info").code == 0, "docker.service was enabled by the test above"
