"""Somebody who is not root, without Docker: the bundled registry as a service of the user's own systemd.

The tests are one story, in order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bed.run import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

URL = "http://localhost:5000/v2/"


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, host_packages: Path) -> Host:
    host = host_factory("personal")
    host.install_regsetup(host_packages)
    host("useradd", "--create-home", "--shell", "/bin/bash", "dev").ok()
    return host


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    as_dev(host, "true").ok()  # what a first login makes is not ours
    return host.files()


def as_dev(host: Host, script: str) -> Completed:
    """Run a script in a login session of the user, which ends with it."""
    return host("su", "--login", "dev", "--command", script)


def by_dev(host: Host, words: str) -> Completed:
    """Ask the user's systemd."""
    return as_dev(host, f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {words}")


def test_where_lingering_is_refused_up_says_what_that_means(host: Host, before: set[str]) -> None:
    host("systemctl", "mask", "--now", "polkit").ok()
    said = as_dev(host, "regsetup up && regsetup schedule add gc daily && regsetup teardown --purge -y").ok()
    assert "so that it stays: sudo loginctl enable-linger dev" in said.out
    waits = "the job waits while you are not logged in; so that it does not: sudo loginctl enable-linger dev"
    assert waits in said.out
    host("systemctl", "unmask", "polkit").ok()
    assert host.files() - before == set()


def test_up_makes_a_service_of_the_user(host: Host, before: set[str]) -> None:
    said = as_dev(host, "regsetup up").ok()
    assert "enable-linger" not in said.out, "nothing to note: it was done"
    assert host.status(URL) == "200"
    owner = host.sh("ps -o user= -p $(pgrep -f 'serve' | head -n 1)").ok().out
    assert owner.strip() == "dev"
    assert host("systemctl", "list-unit-files", "--no-legend", "regsetup*").out == "", "not a unit of root's"


def test_it_outlives_the_session(host: Host) -> None:
    wait_for("the session to end", lambda: "dev" not in host("loginctl", "list-sessions").out)
    assert host.status(URL) == "200"
    assert "running" in as_dev(host, "regsetup status").ok().out


def test_jobs_are_timers_of_the_user(host: Host) -> None:
    added = as_dev(host, "regsetup schedule add backup daily --to ~/backups --keep 2 --json").ok().out
    assert json.loads(added)["data"]["notes"] == []
    as_dev(host, "regsetup schedule add gc weekly").ok()
    units = "~/.config/systemd/user/regsetup.*"
    assert len(as_dev(host, f"ls {units}").ok().out.split()) == 4
    as_dev(host, f"systemd-analyze --user verify {units}").ok()
    assert host("systemctl", "list-timers", "--all", "--no-legend", "regsetup*").out == "", "none is root's"
    assert "regsetup.gc-registry.timer" in by_dev(host, "list-timers --plain --no-legend").ok().out
    by_dev(host, "start regsetup.backup-registry.service").ok()
    (made,) = json.loads(as_dev(host, "regsetup backups --json").ok().out)["data"]["backups"]
    assert made["name"] == "registry"
    as_dev(host, "regsetup schedule remove gc && rm -r ~/backups").ok()
    assert "gc-registry" not in by_dev(host, "list-timers --all --plain --no-legend").out


def test_it_comes_back_after_a_reboot_before_anybody_logs_in(host: Host) -> None:
    host.reboot()
    wait_for("the registry after the reboot", lambda: host.status(URL) == "200")
    timers = "XDG_RUNTIME_DIR=/run/user/$(id -u dev) systemctl --user list-timers --plain --no-legend"
    asked = host("setpriv", "--reuid=dev", "--regid=dev", "--clear-groups", "sh", "-c", timers).ok()
    assert "regsetup.backup-registry.timer" in asked.out, "the job, too, without a session"


def test_nothing_is_left_in_the_end(host: Host, before: set[str]) -> None:
    as_dev(host, "regsetup teardown --purge -y").ok()
    assert host.status(URL) == "000"
    assert host.files() - before == set()
    assert host("ls", "/var/lib/systemd/linger").out == "", "lingering was switched on by up, and off again"
