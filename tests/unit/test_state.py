"""state.json and the lock: what is written is read, what is damaged is said, one command at a time."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from regsetup.deployment import Paths
from regsetup.host.files import CannotWrite, Locked
from regsetup.state import Entry, Kind, State, StateDamaged, StateTooNew, exclusive, read, write

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = st.builds(Entry, st.sampled_from(Kind), st.text(min_size=1, max_size=20))
STATES = st.builds(
    State,
    name=st.just("registry"),
    backend=st.sampled_from(["docker", "embedded"]),
    engine=st.none() | st.just("unix:///var/run/docker.sock"),
    since=st.just("2026-01-01T00:00:00+00:00"),
    ledger=st.lists(ENTRIES, max_size=5).map(tuple),
)


@given(STATES)
@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_written_is_read(tmp_path: Path, state: State) -> None:
    write(tmp_path / "state.json", state)
    assert read(tmp_path / "state.json") == state


def test_nothing_saved_is_no_state(tmp_path: Path) -> None:
    assert read(tmp_path / "state.json") is None


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write(path, State.new("registry", "docker", None))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["version"] == 1


GOOD = {"version": 1, "name": "r", "backend": "docker", "engine": None, "since": "x", "ledger": []}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        json.dumps({"version": 1}),
        json.dumps(GOOD | {"ledger": None}),
        json.dumps(GOOD | {"ledger": [{"kind": "planet", "target": "x"}]}),
        json.dumps(GOOD | {"ledger": [{"kind": "file"}]}),
        json.dumps(GOOD | {"ledger": ["file"]}),
        "\xff",
        "[" * 100_000,
    ],
)
def test_a_damaged_state_is_said_with_the_way_on(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StateDamaged) as caught:
        read(path)
    assert f"mv {path}" in (caught.value.fix or "")


def test_a_state_that_is_no_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(StateDamaged):
        read(tmp_path / "state.json")


def test_a_newer_state_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(GOOD | {"version": 2}))
    with pytest.raises(StateTooNew) as caught:
        read(path)
    assert "upgrade" in (caught.value.fix or "")


def test_an_entry_stands_once_and_in_the_order_it_came() -> None:
    state = State.new("r", "docker", None)
    state = state.with_entry(Kind.FILE, "b").with_entry(Kind.FILE, "a").with_entry(Kind.FILE, "b")
    assert state.of(Kind.FILE) == ("b", "a")
    assert state.knows(Kind.FILE, "a")
    assert not state.knows(Kind.DIRECTORY, "a")
    assert state.with_entry(Kind.VOLUME, "v").without(Kind.FILE).ledger == (Entry(Kind.VOLUME, "v"),)


def test_home_is_made_for_the_lock_and_goes_if_nothing_came(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a" / "b", "registry")
    with exclusive(paths) as made:
        assert made == [tmp_path / "a" / "b", tmp_path / "a"]
        assert paths.lock.exists()
    assert list(tmp_path.iterdir()) == []


def test_home_stays_if_something_came(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a" / "b", "registry")
    with exclusive(paths):
        paths.root.mkdir()
    assert paths.root.is_dir()
    assert not paths.lock.exists()


def test_home_of_others_stays(tmp_path: Path) -> None:
    with exclusive(Paths(tmp_path, "registry")) as made:
        assert made == []
    assert tmp_path.is_dir()


def test_an_empty_directory_that_the_caller_adds_goes_too(tmp_path: Path) -> None:
    with exclusive(Paths(tmp_path, "registry")) as made:
        (tmp_path / "x").mkdir()
        made.append(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


_HOLD = """
import sys
from pathlib import Path
from regsetup.deployment import Paths
from regsetup.state import exclusive
with exclusive(Paths(Path(sys.argv[1]), "registry")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_command_is_told_who_is_at_work(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "registry")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Locked) as caught, ExitStack() as stack:
            stack.enter_context(exclusive(paths))
        assert f"process {other.pid}" in caught.value.message
        with exclusive(Paths(tmp_path, "another")):
            other.stdin.close()
    with exclusive(paths):
        assert paths.lock.exists()


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite), exclusive(Paths(tmp_path / "file" / "home", "registry")):
        pass


def test_home_that_a_killed_run_made_goes_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    paths = Paths(home, "registry")
    paths.lock.touch()
    with exclusive(paths) as made:
        assert made == [home]
    assert not home.exists()
