"""The contract of a back end, held by every one of them: see ``regsetup.backends.base.Runtime``."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from regsetup.errors import RegsetupError
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from tests.contract.runtimes import Bench


def test_where_nothing_is_every_verb_but_start_does_nothing(bench: Bench) -> None:
    runtime = bench.open()
    assert (runtime.current(), runtime.aside()) == (None, None)
    for verb in (runtime.stop, runtime.set_aside, runtime.remove, runtime.discard_aside):
        verb()
    assert (runtime.current(), runtime.aside()) == (None, None)
    assert f"the {runtime.kind} is gone" in (runtime.failure() or "")
    assert list(runtime.logs()) == []
    for verb in (runtime.start, runtime.put_back):
        with pytest.raises(RegsetupError, match="is gone"):
            verb()


def test_spec_says_the_same_twice_and_changes_nothing(bench: Bench) -> None:
    assert bench.open().spec(bench.wanted) == bench.open().spec(bench.wanted)
    assert bench.open().spec(bench.wanted).hash != bench.open().spec(bench.changed()).hash
    assert bench.open().current() is None


def test_created_is_there_but_does_not_run(bench: Bench) -> None:
    bench.make()
    seen = bench.open().current()
    assert seen is not None
    assert seen.spec == bench.open().spec(bench.wanted)
    assert (seen.running, seen.started_at, seen.pid) == (False, None, None)
    assert not bench.answers()


def test_started_it_runs_and_tells_of_itself(bench: Bench) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    bench.up()
    seen = bench.open().current()
    assert seen is not None
    assert seen.running
    assert seen.name == bench.wanted.name
    assert seen.spec == bench.open().spec(bench.wanted)
    assert seen.published == ("127.0.0.1", bench.wanted.port)
    assert seen.storage == str(bench.data)
    assert seen.health in ("unknown", "starting", "healthy")
    assert seen.started_at is not None
    started = datetime.fromisoformat(seen.started_at).replace(microsecond=0)
    assert abs((started - before).total_seconds()) < 30
    assert bench.open().failure() is None


def test_started_twice_it_is_the_same_process(bench: Bench) -> None:
    bench.up()
    pid = bench.pid()
    bench.open().start()
    assert pid is not None
    assert bench.pid() == pid


def test_stopped_it_is_there_and_can_be_started_again(bench: Bench) -> None:
    bench.up()
    for _ in range(2):
        bench.open().stop()
        seen = bench.open().current()
        assert seen is not None
        assert (seen.running, seen.started_at, seen.pid) == (False, None, None)
        assert not bench.answers()
    bench.open().start()
    bench.wait()


def test_set_aside_it_leaves_its_place_and_its_port(bench: Bench) -> None:
    bench.up()
    for _ in range(2):
        bench.open().set_aside()
        assert bench.open().current() is None
        aside = bench.open().aside()
        assert aside is not None
        assert aside.spec == bench.open().spec(bench.wanted)
        assert not aside.running
    assert not bench.answers()


def test_replaced_the_new_one_runs_and_nothing_is_aside(bench: Bench) -> None:
    bench.up()
    bench.open().set_aside()
    bench.up(bench.changed())
    for _ in range(2):
        bench.open().discard_aside()
        assert bench.open().aside() is None
    seen = bench.open().current()
    assert seen is not None
    assert seen.running
    assert seen.spec == bench.open().spec(bench.changed())
    assert bench.answers()


def test_put_back_the_old_one_runs_again(bench: Bench) -> None:
    bench.up()
    bench.open().set_aside()
    bench.make(bench.changed())
    bench.open().start()
    bench.open().remove()
    bench.open().put_back()
    bench.wait()
    pid = bench.pid()
    bench.open().put_back()
    seen = bench.open().current()
    assert seen is not None
    assert (seen.running, seen.pid) == (True, pid)
    assert seen.spec == bench.open().spec(bench.wanted)
    assert bench.open().aside() is None


def test_removed_it_is_gone_and_the_data_stay(bench: Bench) -> None:
    bench.up()
    (bench.data / "layer").write_text("precious")
    for _ in range(2):
        bench.open().remove()
        assert bench.open().current() is None
        assert not bench.answers()
    assert (bench.data / "layer").read_text() == "precious"


def test_what_ends_at_once_says_how(bench: Bench) -> None:
    bench.make(bench.ill)
    bench.open().start()
    wait_for("the end of the service", bench.open().failure, seconds=20)
    assert not bench.answers()
    assert list(bench.open().logs(tail=10)) != []


def test_logs_give_the_last_lines(bench: Bench) -> None:
    bench.up()
    runtime = bench.open()
    wait_for("two lines in the log", lambda: len(list(runtime.logs())) >= 2)
    every = list(runtime.logs())
    assert list(runtime.logs(tail=1)) == every[-1:]
    assert list(runtime.logs(tail=len(every) + 5)) == every


def test_logs_follow_what_is_written_later(bench: Bench) -> None:
    bench.up()
    wait_for("its first lines", lambda: list(bench.open().logs()))
    heard: list[str] = []
    following = bench.open().logs(tail=0, follow=True)

    def listen() -> None:
        heard.extend(line for _, line in zip(range(1), following, strict=False))

    listener = threading.Thread(target=listen)
    listener.start()
    deadline = time.monotonic() + 20
    while listener.is_alive() and time.monotonic() < deadline:
        bench.answers()  # a request, which is logged
        listener.join(timeout=0.2)
    assert not listener.is_alive()
    assert isinstance(following, Generator)
    following.close()  # what Ctrl-C does; nothing stays open behind it
    assert len(heard) == 1
