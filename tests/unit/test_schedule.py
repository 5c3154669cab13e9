"""Jobs as systemd timers: their units, read back and checked by systemd itself; and the way without it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup import schedule
from regsetup import state as states
from regsetup.backends.timers import Every, Job, Plan, Timer
from regsetup.deployment import Paths
from regsetup.errors import UsageError
from regsetup.schedule import NoSystemd
from regsetup.state import Entry, Kind, State
from tests.bed.run import need

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup

PLANS = [
    Plan(Job.GC, Every.WEEKLY, "03:00"),
    Plan(Job.VERIFY, Every.MONTHLY, "23:59"),
    Plan(Job.BACKUP, Every.DAILY, "00:00", "/srv/back $ups 100%/", 7),
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "ho me", "my.reg")


def written(timer: Timer, plan: Plan) -> list[Path]:
    """Write the units where no systemd looks."""
    for scope, text in timer.texts(plan).items():
        scope.path.parent.mkdir(parents=True, exist_ok=True)
        scope.path.write_text(text)
    return [scope.path for scope in timer.texts(plan)]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.job)
def test_systemd_finds_no_fault_with_the_units(paths: Paths, tmp_path: Path, plan: Plan) -> None:
    timer = Timer.of(paths, plan.job, user=False, machine=tmp_path)
    files = written(timer, plan)
    analyze = need("systemd-analyze")
    done = subprocess.run([analyze, "verify", *files], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "regsetup" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
    calendar = subprocess.run(
        [analyze, "calendar", plan.calendar], capture_output=True, text=True, check=False
    )
    assert calendar.returncode == 0, calendar.stderr


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.job)
def test_a_timer_is_read_as_it_was_written(paths: Paths, tmp_path: Path, plan: Plan) -> None:
    timer = Timer.of(paths, plan.job, user=False, machine=tmp_path)
    assert timer.plan() is None
    files = written(timer, plan)
    assert timer.plan() == plan
    assert timer.is_as(plan)
    files[0].write_text(files[0].read_text() + "# mine\n")
    assert not timer.is_as(plan)
    files[1].write_text("X-RegsetupJob={}\n")
    assert timer.plan() is None
    timer.remove()
    assert not [path for path in files if path.exists()]
    assert timer.life().next is None


def test_a_later_job_waits_for_an_earlier_one(paths: Paths, tmp_path: Path) -> None:
    def after(plan: Plan) -> list[str]:
        (service, _) = Timer.of(paths, plan.job, user=False, machine=tmp_path).texts(plan).values()
        return [line for line in service.splitlines() if line.startswith("After=")]

    gc, verify, backup = PLANS
    assert after(backup) == []
    assert after(gc) == ["After=regsetup.backup-my.reg.service"]
    assert after(verify) == ["After=regsetup.backup-my.reg.service regsetup.gc-my.reg.service"]


def test_what_is_asked_for_is_checked() -> None:
    assert schedule.plan_of(Job.GC, Every.DAILY, None, None, None).at == "03:00"
    backup = schedule.plan_of(Job.BACKUP, Every.DAILY, "01:30", Path("/srv/b"), 3)
    assert backup.argv("reg")[3:] == ("backup", "/srv/b/", "--name", "reg", "--quiet", "--keep", "3")
    for job, at, to, keep in (
        (Job.GC, "24:00", None, None),
        (Job.GC, "3:00", None, None),
        (Job.GC, None, Path("/srv"), None),
        (Job.VERIFY, None, None, 3),
        (Job.BACKUP, None, None, None),
    ):
        with pytest.raises(UsageError):
            schedule.plan_of(job, Every.DAILY, at, to, keep)


def test_without_systemd_the_line_for_cron_is_told(paths: Paths) -> None:
    with pytest.raises(NoSystemd, match="systemd does not run") as caught:
        raise NoSystemd(paths, PLANS[2])
    line = str(caught.value.fix).splitlines()[1]
    assert line.startswith("0 0 * * * env 'REGSETUP_HOME=")
    assert "'/srv/back $ups 100\\%/'" in line
    assert [PLANS[0].cron, PLANS[1].cron] == ["0 3 * * 0", "59 23 1 * *"]


def test_the_ledger_forgets_one_entry_and_keeps_the_others() -> None:
    state = State.new("r", "embedded", None).with_entry(Kind.TIMER, "gc").with_entry(Kind.TIMER, "verify")
    assert state.without_entry(Entry(Kind.TIMER, "gc")).of(Kind.TIMER) == ("verify",)


@pytest.mark.slow
@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_schedule_says_what_it_can_not_do(regsetup: Regsetup) -> None:
    said = {
        ("add", "gc", "daily"): (1, "no-registry"),
        ("add", "gc", "hourly"): (2, "not-one-of"),
        ("add", "dance", "daily"): (2, "not-one-of"),
        ("add", "backup", "daily"): (2, "backup-needs-place"),
        ("list",): (1, "no-registry"),
        ("remove", "gc"): (1, "no-registry"),
    }
    for words, (code, wanted) in said.items():
        done = regsetup.json("schedule", *words)
        assert done["errors"][0]["code"] == wanted, words
        assert regsetup("schedule", *words).code == code
    paths = Paths(regsetup.home, "registry")
    paths.root.mkdir(parents=True)
    states.write(paths.state, State.new("registry", "embedded", None).with_entry(Kind.TIMER, "verify"))
    refused = regsetup("schedule", "add", "gc", "daily")
    assert refused.code == 1
    assert "0 3 * * * env REGSETUP_HOME=" in refused.err
    assert regsetup.json("schedule", "remove", "gc")["errors"][0]["code"] == "no-such-job"
    (job,) = regsetup.json("schedule", "list")["data"]["jobs"]
    assert (job["job"], job["every"], job["next"]) == ("verify", None, None)
    assert "its timer is gone" in regsetup("schedule", "list").ok().out
    assert "not scheduled any more" in regsetup("schedule", "remove", "verify").ok().out
    assert "nothing is scheduled" in regsetup("schedule", "list").ok().out
