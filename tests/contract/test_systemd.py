"""The service under a real systemd, root's or a user's; tests/hosts runs these on a host that has one."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from regsetup import schedule
from regsetup import state as states
from regsetup.backends.description import Description
from regsetup.backends.embedded import EmbeddedRuntime
from regsetup.backends.manager import ServiceError
from regsetup.backends.systemd import Scope
from regsetup.backends.timers import Every, Job, Timer
from regsetup.deployment import Deployment, Directory, Paths, RestartPolicy
from regsetup.errors import RegsetupError
from regsetup.state import State
from tests.bed.run import free_port, wait_for
from tests.contract.runtimes import Bench, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = os.geteuid() != 0
ME = pwd.getpwuid(os.geteuid()).pw_name
SYSTEMCTL = ["systemctl", "--user"] if USER else ["systemctl"]
root_only = pytest.mark.skipif(USER, reason="is about root's systemd")
user_only = pytest.mark.skipif(not USER, reason="is about a user's systemd")


@pytest.fixture
def bench(tmp_path: Path, unique_name: str) -> Iterator[Bench]:
    """A registry under systemd; whatever it left is removed."""
    made = embedded(tmp_path, unique_name, free_port(), detached=False)
    yield made
    made.open().discard_aside()
    made.open().remove()


@pytest.fixture
def unit(bench: Bench) -> Path:
    """Where the registry's unit lies."""
    return Scope(f"regsetup-{bench.wanted.name}.service", USER).path


@pytest.fixture
def foreign(unit: Path) -> Iterator[Path]:
    """A unit of the registry's name that somebody else made, and that runs."""
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text("[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=default.target\n")
    systemctl("daemon-reload")
    systemctl("start", unit.name)
    yield unit
    systemctl("disable", "--now", unit.name)
    unit.unlink(missing_ok=True)
    systemctl("daemon-reload")


def systemctl(*words: str) -> str:
    return subprocess.run([*SYSTEMCTL, *words], capture_output=True, text=True, check=False).stdout.strip()


def test_it_starts_with_the_machine_until_it_is_stopped(bench: Bench, unit: Path) -> None:
    bench.up()
    seen = bench.open().current()
    assert seen is not None
    assert seen.id == unit.name
    assert systemctl("is-enabled", unit.name) == "enabled"
    bench.open().stop()
    assert systemctl("is-enabled", unit.name) == "disabled"


@pytest.mark.parametrize("policy", [RestartPolicy.NO, RestartPolicy.ON_FAILURE])
def test_other_policies_do_not_start_it_with_the_machine(
    bench: Bench, unit: Path, policy: RestartPolicy
) -> None:
    bench.up(replace(bench.wanted, restart_policy=policy))
    assert systemctl("is-enabled", unit.name) == "disabled"


def test_removed_it_leaves_no_unit_no_link_and_nothing_failed(bench: Bench, unit: Path) -> None:
    bench.make(bench.ill)
    bench.open().start()
    wait_for("the end of the service", bench.open().failure)
    bench.open().remove()
    assert not unit.exists()
    assert list(unit.parent.rglob(unit.name)) == []
    assert systemctl("list-units", "--all", "--plain", "--no-legend", unit.name) == ""
    assert list(bench.paths.root.iterdir()) == []


def test_killed_it_is_started_again(bench: Bench) -> None:
    bench.up()
    first = bench.pid()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for("another process", lambda: bench.pid() not in (None, first))
    bench.wait()
    assert bench.open().failure() is None


def test_killed_with_the_policy_no_it_stays_down_and_says_the_signal(bench: Bench) -> None:
    bench.up(replace(bench.wanted, restart_policy=RestartPolicy.NO))
    os.kill(bench.pid() or 0, signal.SIGKILL)
    wait_for("its end", bench.open().failure)
    assert bench.open().failure() == "it was ended by signal 9"


def test_what_ends_again_and_again_says_its_exit_code(bench: Bench) -> None:
    bench.make(bench.ill)
    bench.open().start()
    wait_for("its end", bench.open().failure)
    assert bench.open().failure() == "it exited with code 1, and is started again"
    seen = bench.open().current()
    assert seen is not None
    assert (seen.running, seen.exit_code) == (False, 1)


def test_a_program_that_is_gone_is_explained(bench: Bench) -> None:
    runtime = EmbeddedRuntime(bench.paths, command=("/no/such/python",))
    runtime.create(bench.wanted, runtime.spec(bench.wanted))
    with pytest.raises(ServiceError, match=r"systemctl .*start regsetup-.*\.service failed") as caught:
        runtime.start()
    assert caught.value.cause


def test_a_job_is_added_once_tells_how_it_ended_and_leaves_nothing(tmp_path: Path, unique_name: str) -> None:
    paths = Paths(tmp_path / "home", unique_name)
    paths.root.mkdir(parents=True)
    states.write(paths.state, State.new(unique_name, "embedded", None))
    weekly, daily = (schedule.plan_of(Job.GC, one, None, None, None) for one in (Every.WEEKLY, Every.DAILY))
    units = Scope("", USER).path
    try:
        assert [schedule.add(paths, one) for one in (weekly, weekly, daily)] == [True, False, True]
        (job,) = jobs(paths)
        assert (job.plan, job.life.last, job.life.failed) == (daily, None, False)
        assert "03:00:00" in str(job.life.next)
        assert schedule.notes(paths, Job.GC) == (), "a user lingers now"
        for text, failed in (("{", True), (paths.state.read_text(), False)):
            paths.state.write_text(text)
            systemctl("start", f"regsetup.gc-{unique_name}.service")
            life = Timer.of(paths, Job.GC, user=USER).life()
            assert (life.failed, bool(life.last)) == (failed, True), text
        schedule.remove(paths, Job.GC)
        assert jobs(paths) == ()
        with pytest.raises(schedule.NoSuchJob):
            schedule.remove(paths, Job.GC)
        schedule.add(paths, weekly)
    finally:
        schedule.remove_all(paths, read(paths))
    assert not list(units.rglob(f"*{unique_name}*"))
    assert systemctl("list-units", "--all", "--plain", "--no-legend", f"*{unique_name}*") == ""


def read(paths: Paths) -> State:
    state = states.read(paths.state)
    assert state is not None
    return state


def jobs(paths: Paths) -> tuple[schedule.Scheduled, ...]:
    return schedule.listed(paths, read(paths))


def test_any_word_and_variable_reaches_the_process_as_it_is(bench: Bench) -> None:
    words = (
        "",
        "a b",
        "100%n",
        "$HOME ${HOME}",
        'quote " and \\ back',
        "two\nlines",
        ";",
        "tab\there",
        "ünï",
    )
    env = (("PLAIN", "a b"), ("ODD", 'x "%n" $HOME \\ y'))
    sleeper = ("-c", "import time; time.sleep(1000)")
    runtime = EmbeddedRuntime(bench.paths, command=(sys.executable, *sleeper, *words))
    wanted = replace(bench.wanted, env=env)
    runtime.create(wanted, runtime.spec(wanted))
    runtime.start()
    process = psutil.Process(bench.pid())
    wait_for("python in the place of systemd's child", lambda: len(process.cmdline()) > len(words))
    assert tuple(process.cmdline()[3 : 3 + len(words)]) == words
    assert env[0] in process.environ().items()
    assert env[1] in process.environ().items()


def test_an_edited_or_removed_unit_is_a_change(bench: Bench, unit: Path) -> None:
    bench.up()
    wanted = bench.open().spec(bench.wanted)
    text = unit.read_text()
    unit.write_text(text.replace("RestartSec=2", "RestartSec=9"))
    seen = bench.open().current()
    assert seen is not None
    assert seen.spec is not None
    assert wanted.changes_from(seen.spec) == ("unit edited by hand -> unset",)
    unit.unlink()
    seen = bench.open().current()
    assert seen is not None
    assert seen.spec is not None
    assert wanted.changes_from(seen.spec) == ("unit missing -> unset",)
    unit.write_text(text)


def test_a_unit_of_ours_without_its_description_counts_as_ours(bench: Bench) -> None:
    bench.up()
    (bench.paths.root / "service.json").unlink()
    seen = bench.open().current()
    assert seen is not None
    assert seen.running
    assert seen.published == ("127.0.0.1", bench.wanted.port)
    assert seen.spec is not None
    assert seen.spec.settings["unit"] == "made by halves"
    bench.open().set_aside()
    assert bench.open().current() is None
    bench.open().put_back()
    bench.wait()
    bench.open().set_aside()
    bench.up(bench.changed())
    bench.open().discard_aside()


def test_somebody_elses_unit_is_seen_and_not_touched(bench: Bench, foreign: Path) -> None:
    seen = bench.open().current()
    assert seen is not None
    assert (seen.spec, seen.running) == (None, True)
    for verb in (bench.make, bench.open().remove):
        with pytest.raises(ServiceError, match="is somebody else's"):
            verb()
    assert systemctl("is-active", foreign.name) == "active"


def test_a_unit_of_another_home_is_somebody_elses(bench: Bench, tmp_path: Path) -> None:
    bench.up()
    other = EmbeddedRuntime(Paths(tmp_path / "other", bench.wanted.name))
    seen = other.current()
    assert seen is not None
    assert seen.spec is None


def test_somebody_elses_unit_is_taken_over_and_can_be_put_back(bench: Bench, foreign: Path) -> None:
    text = foreign.read_text()
    bench.open().set_aside()
    aside = bench.open().aside()
    assert aside is not None
    assert aside.spec is None
    assert not foreign.exists()
    bench.up()
    bench.open().remove()
    bench.open().put_back()
    assert foreign.read_text() == text
    assert systemctl("is-active", foreign.name) == "active"
    seen = bench.open().current()
    assert seen is not None
    assert seen.spec is None
    assert bench.open().aside() is None


def test_a_copy_of_a_unit_that_still_stands_is_not_aside(bench: Bench, foreign: Path) -> None:
    """What is left when ``set_aside`` is killed between the copy and the removal."""
    bench.open().set_aside()
    previous = Description.read(bench.paths.root / "service.previous.json")
    assert previous is not None
    for _ in range(2):
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_text(previous.unit)
        assert bench.open().aside() is None
        bench.open().set_aside()
        assert bench.open().aside() is not None


@root_only
def test_it_is_shut_off_from_the_machine_but_for_its_data(bench: Bench, tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "data = Path(sys.argv[sys.argv.index('--data') + 1])\n"
        "for path in (data / 'mine', Path('/etc/mine'), Path('/usr/mine')):\n"
        "    try: path.write_text(''); print(path, 'written')\n"
        "    except OSError as error: print(path, error.strerror)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')])\n"
        "sys.stdout.flush()\n"
        "time.sleep(1000)\n"
    )
    runtime = EmbeddedRuntime(bench.paths, command=(sys.executable, str(probe)))
    runtime.create(bench.wanted, runtime.spec(bench.wanted))
    runtime.start()
    wait_for("four lines", lambda: len(list(runtime.logs())) >= 4)
    assert list(runtime.logs()) == [
        f"{bench.data}/mine written",
        "/etc/mine Read-only file system",
        "/usr/mine Read-only file system",
        "['NoNewPrivs:\\t1\\n']",
    ]


@root_only
def test_logs_are_of_this_service_and_not_of_its_predecessor(bench: Bench) -> None:
    bench.up()
    wait_for("a line", lambda: list(bench.open().logs()))
    bench.open().remove()
    bench.make()
    assert list(bench.open().logs()) == []


@root_only
def test_root_needs_no_notes(bench: Bench) -> None:
    assert EmbeddedRuntime(bench.paths).notes == ()


@user_only
def test_a_user_lingers_as_long_as_a_registry_of_his_needs_it(bench: Bench, tmp_path: Path) -> None:
    """Where logind lets him; where it does not, the note says what to ask root for."""
    scope = Scope("any.service", user=True)
    assert not scope.lingers()
    bench.up()
    notes = EmbeddedRuntime(bench.paths).notes
    if allowed_to_linger():
        assert scope.lingers()
        assert notes == ()
        other = Paths(bench.paths.home, f"{bench.wanted.name}-other")
        other.root.mkdir()
        second = EmbeddedRuntime(other)
        wanted = Deployment(name=other.name, storage=Directory(tmp_path), port=free_port())
        second.create(wanted, second.spec(wanted))
        bench.open().remove()
        assert scope.lingers()
        second.remove()
    else:
        assert notes[0].endswith(f"sudo loginctl enable-linger {ME}")
        bench.open().remove()
    assert not scope.lingers()
    assert not (bench.paths.home / ".lingering").exists()


@user_only
def test_without_his_manager_a_users_service_does_not_run(
    bench: Bench, unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.up()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # where no manager listens
    seen = bench.open().current()
    assert seen is not None
    assert not seen.running
    assert bench.open().failure() == f"systemd does not run for {ME}"
    bench.open().remove()  # nothing to reach, nothing to stop; its files go all the same
    assert list(unit.parent.rglob("regsetup-*")) == []
    monkeypatch.undo()
    assert bench.answers()
    systemctl("stop", unit.name)


@user_only
def test_the_units_directory_goes_if_it_was_ours(bench: Bench, unit: Path) -> None:
    if unit.parent.exists():
        pytest.skip("somebody's units lie there")
    bench.up()
    bench.open().remove()
    assert not unit.parent.exists()


@user_only
def test_a_unit_that_can_not_be_written_is_explained(bench: Bench, unit: Path) -> None:
    config = unit.parents[2]
    existed = config.exists()
    config.mkdir(exist_ok=True)
    config.chmod(0o500)
    try:
        with pytest.raises(RegsetupError, match="can't be written"):
            bench.make()
    finally:
        config.chmod(0o700)
        if not existed:
            config.rmdir()


def allowed_to_linger() -> bool:
    subprocess.run(["loginctl", "enable-linger", ME], check=False, capture_output=True)
    return Scope("any.service", user=True).lingers()
