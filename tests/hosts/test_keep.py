"""A registry that is kept for years: timers that fire, backups, and a new machine that takes its place.

The tests are one story, in order.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bed.docs import Block, blocks, matches
from tests.bed.images import tiny_archive

if TYPE_CHECKING:
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SCHEDULE = "docs/how-to/schedule.md"
SYSTEMD = [one for one in blocks(SCHEDULE, (ROOT / SCHEDULE).read_text()) if one.needs_systemd]
IMAGE = "localhost:5000/team/hello:1"
URL = "http://localhost:5000/v2/"


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, host_packages: Path) -> Host:
    host = host_factory("kept")
    host.install_regsetup(host_packages)
    host.write("/root/hello.tar", tiny_archive(IMAGE))
    return host


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    return host.files()


def digest(host: Host) -> str:
    asked = host("skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}", f"docker://{IMAGE}")
    return asked.ok().out


def test_jobs_become_timers_that_systemd_finds_no_fault_with(host: Host, before: set[str]) -> None:
    host.regsetup("up")
    where = ("docker-archive:/root/hello.tar", f"docker://{IMAGE}")
    host("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *where).ok()
    added = host.regsetup("schedule", "add", "backup", "daily", "--to", "/srv/backups", "--keep", "2")
    assert added["changed"] is True
    again = host.regsetup("schedule", "add", "backup", "daily", "--to", "/srv/backups", "--keep", "2")
    assert again["changed"] is False
    host.regsetup("schedule", "add", "gc", "weekly", "--at", "03:30")
    units = host.sh("ls /etc/systemd/system/regsetup.*").ok().out.split()
    assert len(units) == 4
    host("systemd-analyze", "verify", *units).ok()
    listed = host("systemctl", "list-timers", "--plain", "--no-legend").ok().out
    assert "regsetup.backup-registry.timer" in listed
    assert "regsetup.gc-registry.timer" in listed
    jobs = {one["job"]: one for one in host.regsetup("schedule", "list")["data"]["jobs"]}
    assert "02:00:00" in jobs["backup"]["next"]
    assert "Sun" in jobs["gc"]["next"]


def test_what_a_timer_starts_makes_a_backup_and_a_collection(host: Host) -> None:
    for job in ("backup", "gc"):
        host("systemctl", "start", f"regsetup.{job}-registry.service").ok()
    (made,) = host.regsetup("backups")["data"]["backups"]
    assert (made["name"], made["tags"]) == ("registry", 1)
    seen = host.regsetup("status")["data"]
    assert seen["last_backup"]["where"].startswith("/srv/backups/")
    assert seen["last_collection"]
    assert seen["uptime"] >= 0
    assert seen["jobs"] == ["backup", "gc"]
    assert not any(one["failed"] for one in host.regsetup("schedule", "list")["data"]["jobs"])


def test_a_new_machine_takes_its_place(host: Host, host_factory: HostFactory, host_packages: Path) -> None:
    pushed = digest(host)
    new = host_factory("new")
    new.install_regsetup(host_packages)
    packed = subprocess.run(
        ["docker", "exec", str(host.container.id), "tar", "-C", "/srv", "-cf", "-", "backups"],
        check=True,
        capture_output=True,
    ).stdout
    subprocess.run(
        ["docker", "exec", "-i", str(new.container.id), "tar", "-C", "/srv", "-xf", "-"],
        input=packed,
        check=True,
        capture_output=True,
    )
    done = new.regsetup("restore", "/srv/backups")
    assert done["data"]["backend"] == "embedded"
    assert digest(new) == pushed


@pytest.mark.parametrize("block", SYSTEMD, ids=lambda block: f"{block.file}:{block.line}")
def test_what_the_how_to_says_of_a_machine_with_systemd_is_so(host: Host, block: Block) -> None:
    for job in ("backup", "gc"):
        host.regsetup("schedule", "remove", job)
    for command, output in block.commands:
        done = host.sh(command).ok()
        assert output is None or matches(output, done.out), f"{command}\n{done.out}"


def test_nothing_is_left_in_the_end(host: Host, before: set[str]) -> None:
    host.regsetup("schedule", "remove", "gc")
    assert "gc" not in host("systemctl", "list-timers", "--all", "--plain", "--no-legend").out
    host.regsetup("teardown", "--purge", "-y")
    host("rm", "-r", "/srv/backups").ok()
    assert host("systemctl", "list-unit-files", "--no-legend", "regsetup*").out == ""
    assert host.files() - before == set()
    assert "regsetup" not in host("ls", "/var/lib/systemd/timers").ok().out, "nor when they ran last"
    assert host("systemctl", "is-system-running").out.strip() == "running"
