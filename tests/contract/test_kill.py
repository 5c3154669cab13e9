"""Every verb of the embedded runtime, killed before each of its changes: doing it again gets it done."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup.backends.systemd import Scope
from tests.bed.processes import marked_processes
from tests.bed.run import free_port
from tests.contract.conftest import BACKENDS
from tests.contract.killer import KILLED
from tests.contract.runtimes import Bench, embedded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
UNITS = Scope("any.service", user=os.geteuid() != 0).path.parent
PROJECT = Path(__file__).parents[2]


def nothing(bench: Bench) -> None:
    assert bench.open().current() is None


def made(bench: Bench) -> None:
    bench.make()


def running(bench: Bench) -> None:
    bench.make()
    bench.open().start()


def replaced(bench: Bench) -> None:
    running(bench)
    bench.open().set_aside()
    bench.make(bench.changed())
    bench.open().start()


def is_made(bench: Bench) -> None:
    seen = bench.open().current()
    assert seen is not None
    assert (seen.running, seen.spec) == (False, bench.open().spec(bench.wanted))


def runs(bench: Bench) -> None:
    bench.wait()
    seen = bench.open().current()
    assert seen is not None
    assert (seen.running, seen.spec) == (True, bench.open().spec(bench.wanted))
    assert list(marked_processes(f"{bench.wanted.port}\0--data")) == [seen.pid]
    assert bench.open().aside() is None


def is_aside(bench: Bench) -> None:
    aside = bench.open().aside()
    assert aside is not None
    assert aside.spec == bench.open().spec(bench.wanted)
    assert bench.open().current() is None
    no_process(bench)


def no_process(bench: Bench) -> None:
    assert marked_processes(f"{bench.wanted.port}\0--data") == {}


def nothing_is_left(bench: Bench) -> None:
    no_process(bench)
    assert list(bench.paths.root.iterdir()) == []
    assert list(bench.paths.home.iterdir()) == [bench.paths.root]
    assert bench.open().current() is None
    assert list(UNITS.glob(f"*{bench.wanted.name}*")) == []


def new_one_runs(bench: Bench) -> None:
    seen = bench.open().current()
    assert seen is not None
    assert (seen.running, seen.spec) == (True, bench.open().spec(bench.changed()))
    assert bench.open().aside() is None


STORIES: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "create": (nothing, is_made),
    "start": (made, runs),
    "stop": (running, is_made),
    "set_aside": (running, is_aside),
    "put_back": (replaced, runs),
    "remove": (running, nothing_is_left),
    "discard_aside": (replaced, new_one_runs),
}

ONE_CALL = {"start", "stop", "discard_aside"}  # to systemctl, or of unlink: systemd's own to get right


def die(bench: Bench, place: Path, verb: str, number: int, how: str) -> int:
    """Do the verb in a process of its own that dies before its n-th change; return its exit code."""
    words = [verb, str(number), str(place), bench.paths.name, str(bench.wanted.port), how]
    command = [sys.executable, "-m", "tests.contract.killer", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode


@pytest.mark.parametrize(
    ("verb", "how"),
    [(verb, how) for how in BACKENDS for verb in STORIES if how == "detached" or verb not in ONE_CALL],
)
def test_killed_before_any_change_a_verb_can_be_repeated(
    verb: str, how: str, tmp_path: Path, unique_name: str
) -> None:
    before, after = STORIES[verb]
    for number in count(1):
        bench = embedded(
            tmp_path / str(number), f"{unique_name}-{number}", free_port(), detached=how == "detached"
        )
        try:
            before(bench)
            code = die(bench, tmp_path / str(number), verb, number, how)
            if verb == "create":
                bench.make()
            else:
                getattr(bench.open(), verb)()
            after(bench)
        finally:
            bench.open().discard_aside()
            bench.open().remove()
        nothing_is_left(bench)
        if code == 0:  # it had fewer changes than that
            assert number > 1
            return
