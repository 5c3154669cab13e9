"""daemon.json changes on a real dockerd: reload, restart, refusal, and the old bytes back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from regsetup.backends.engine_probe import EngineProbe
from regsetup.deployment import Daemon
from regsetup.host.daemon_json import INSECURE, MIRRORS, Entry, add, withdraw
from regsetup.host.docker_info import is_insecure, mirrors
from regsetup.host.engine import Dockerd, FlagConflict, Manager, find
from regsetup.host.reload import Control, DaemonRefused, EngineStayedDown, EngineUnmoved, Outcome
from tests.bed.newer import NEWER
from tests.bed.roots import ensure_root_image
from tests.bed.run import unique

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import docker

    from tests.bed.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ADDRESS = "registry.lan:5000"
LIST = '{\n  "insecure-registries": ["registry.lan:5000"]\n}\n'
DRIVER = '{"log-driver": "local"}\n'  # read at start only


def control(
    private: PrivateEngine,
    policy: Daemon = Daemon.RELOAD,
    confirm: Callable[[Sequence[str]], bool] = lambda stops: False,
) -> Control:
    probe = EngineProbe(private.url)
    return Control(find(private.url, probe.info()), probe, policy, confirm)


def insecure(info: Any) -> bool:
    return is_insecure(info, ADDRESS)


def local_driver(info: Any) -> bool:
    return bool(info["LoggingDriver"] == "local")


def run_container(private: PrivateEngine, name: str) -> str:
    client = private.client()
    try:
        return str(client.containers.run("registry:2", detach=True, name=name).id)
    finally:
        client.close()


def started_at(private: PrivateEngine, container: str) -> str:
    client = private.client()
    try:
        state = client.containers.get(container).attrs["State"]
        return f"{state['Running']} {state['StartedAt']}"
    finally:
        client.close()


def test_find_tells_who_runs_the_engine_and_what_it_reads(private_engine: PrivateEngine) -> None:
    found = control(private_engine).engine
    assert found.manager is Manager.PROCESS
    assert found.pid == int(private_engine.pidfile.read_text())
    assert found.config == private_engine.daemon_json
    assert found.certs_d == Path("/etc/docker/certs.d")


def test_a_reload_takes_and_containers_keep_running(private_engine: PrivateEngine) -> None:
    container = run_container(private_engine, unique())
    before = started_at(private_engine, container)
    assert not insecure(control(private_engine).probe.info())
    applied = control(private_engine).change(LIST, insecure)
    assert (applied.outcome, applied.by_hand) == (Outcome.RELOADED, None)
    assert started_at(private_engine, container) == before
    assert private_engine.daemon_json.read_text() == LIST


def test_taking_an_entry_back_takes_and_gives_back_the_bytes(private_engine: PrivateEngine) -> None:
    original = private_engine.daemon_json.read_text()
    steps = control(private_engine)
    steps.change(LIST, insecure)
    taken = withdraw(private_engine.daemon_json.read_text(), original, Entry(INSECURE, ADDRESS))
    assert steps.change(taken.reload, lambda info: not insecure(info)).outcome is Outcome.RELOADED
    assert taken.final == original


def test_without_the_empty_list_a_reload_would_not_let_go(private_engine: PrivateEngine) -> None:
    steps = control(private_engine)
    steps.change(LIST, insecure)
    applied = steps.change("{}\n", lambda info: not insecure(info))
    assert applied.outcome is Outcome.PENDING
    assert "SIGHUP" in applied.reason


def test_a_mirror_is_taken_as_well(private_engine: PrivateEngine) -> None:
    text = add("{}", Entry(MIRRORS, "http://cache.lan:5000"))
    control(private_engine).change(text, lambda info: "http://cache.lan:5000/" in mirrors(info))


def test_a_file_that_dockerd_refuses_is_put_back_and_nothing_restarts(private_engine: PrivateEngine) -> None:
    pid = private_engine.pidfile.read_text()
    before = private_engine.daemon_json.read_bytes()
    with pytest.raises(DaemonRefused, match="as it was before"):
        control(private_engine, Daemon.RESTART).change('{"no-such-key": 1}\n', insecure)
    assert private_engine.daemon_json.read_bytes() == before
    assert private_engine.pidfile.read_text() == pid


def test_a_restart_that_is_needed_and_refused_is_left_to_the_person(private_engine: PrivateEngine) -> None:
    name = unique()
    container = run_container(private_engine, name)
    before = started_at(private_engine, container)
    asked: list[Sequence[str]] = []

    def no(stops: Sequence[str]) -> bool:
        asked.append(stops)
        return False

    applied = control(private_engine, Daemon.AUTO, no).change(DRIVER, local_driver)
    assert asked == [(name,)]
    assert (applied.outcome, applied.stops) == (Outcome.PENDING, (name,))
    assert applied.by_hand is not None
    assert applied.by_hand.startswith(f"sudo kill {private_engine.pidfile.read_text()}; sudo")
    assert started_at(private_engine, container) == before


@pytest.mark.parametrize("policy", [Daemon.AUTO, Daemon.RESTART])
def test_a_restart_that_is_needed_and_granted_takes(private_engine: PrivateEngine, policy: Daemon) -> None:
    pid = private_engine.pidfile.read_text()
    applied = control(private_engine, policy, lambda stops: True).change(DRIVER, local_driver)
    assert applied.outcome is Outcome.RESTARTED
    assert private_engine.pidfile.read_text() != pid
    found = control(private_engine).engine
    assert found.config == private_engine.daemon_json


def test_an_engine_that_does_not_come_back_gets_its_old_file_and_runs_again(
    private_engine: PrivateEngine,
) -> None:
    before = private_engine.daemon_json.read_bytes()
    with pytest.raises(EngineStayedDown) as caught:
        control(private_engine, Daemon.RESTART).change('{"storage-driver": "nope"}', local_driver)
    assert "it runs again" in caught.value.message
    assert "initializing graphdriver" in (caught.value.cause or "")
    assert private_engine.daemon_json.read_bytes() == before
    assert control(private_engine).probe.info() is not None


def test_an_engine_without_file_gets_none_back(fresh_engine: Callable[..., PrivateEngine]) -> None:
    private = fresh_engine()
    private.start()
    private.daemon_json.unlink()
    with pytest.raises(DaemonRefused):
        control(private).change('{"no-such-key": 1}', insecure)
    assert not private.daemon_json.exists()


def test_an_engine_that_runs_and_does_not_follow_is_said_to(private_engine: PrivateEngine) -> None:
    with pytest.raises(EngineUnmoved):
        control(private_engine, Daemon.RESTART).change(DRIVER, insecure)


def test_never_writes_the_file_and_leaves_the_engine_alone(private_engine: PrivateEngine) -> None:
    applied = control(private_engine, Daemon.NEVER).change(LIST, insecure)
    assert (applied.outcome, applied.reason) == (Outcome.PENDING, "--daemon never")
    assert private_engine.daemon_json.read_text() == LIST
    assert not insecure(control(private_engine).probe.info())


def test_live_restore_means_that_nothing_would_stop(private_engine: PrivateEngine) -> None:
    run_container(private_engine, unique())
    steps = control(private_engine)
    assert len(steps.would_stop()) == 1
    steps.change('{"live-restore": true}', lambda info: bool(info["LiveRestoreEnabled"]))
    assert steps.would_stop() == ()


def test_a_stopped_engine_just_gets_its_file(fresh_engine: Callable[..., PrivateEngine]) -> None:
    private = fresh_engine()
    probe = EngineProbe(private.url)
    assert (probe.info(), probe.running(), probe.reloaded(0.0)) == (None, [], False)
    stopped = Dockerd(Manager.STOPPED, config=private.home / "new" / "daemon.json")
    applied = Control(stopped, probe, Daemon.RELOAD, lambda stops: False).change(LIST, insecure)
    assert applied.outcome is Outcome.NOT_RUNNING
    assert stopped.config.read_text() == LIST


def test_a_flag_of_the_same_meaning_is_found_before_anything_is_written(
    fresh_engine: Callable[..., PrivateEngine],
) -> None:
    private = fresh_engine(flags=("--insecure-registry", "other.lan:5000"))
    private.start()
    found = control(private).engine
    assert found.values("--insecure-registry") == ("other.lan:5000",)
    with pytest.raises(FlagConflict, match=f"the command line of process {found.pid}"):
        found.check_flags(INSECURE)
    found.check_flags(MIRRORS)
    private.daemon_json.write_text(LIST)
    os.kill(found.pid or 0, signal.SIGHUP)  # the twin: this is what it keeps us from
    assert not control(private).probe.reloaded(0.0)


def test_a_dead_engine_is_found_stopped(fresh_engine: Callable[..., PrivateEngine]) -> None:
    private = fresh_engine()
    private.start()
    psutil.Process(int(private.pidfile.read_text())).kill()
    private.stop()
    assert find(private.url, None).manager is Manager.STOPPED


@pytest.mark.parametrize(
    ("text", "flags", "says"),
    [
        (LIST, (), None),
        ('{"no-such-key": 1}', (), "don't match any configuration option"),
        (LIST, ("--insecure-registry=x",), "specified both as a flag and in the configuration file"),
    ],
)
def test_a_newer_dockerd_is_asked_before_anything_is_written(
    engine: docker.DockerClient, tmp_path: Path, text: str, flags: tuple[str, ...], says: str | None
) -> None:
    """Docker 26.1's own --validate, in a container; its reload is not what is tested here."""
    image = ensure_root_image(engine, NEWER)
    dockerd = ("docker", "run", "--rm", "-v", "/tmp:/tmp:ro", image, "dockerd", *flags)
    found = Dockerd(Manager.PROCESS, tmp_path / "daemon.json", args=dockerd)
    steps = Control(found, EngineProbe(f"unix://{tmp_path}/s"), Daemon.NEVER, lambda stops: False)
    if says is None:
        assert steps.change(text, insecure).outcome is Outcome.PENDING
        assert found.config.read_text() == text
    else:
        with pytest.raises(DaemonRefused) as caught:
            steps.change(text, insecure)
        assert says in (caught.value.cause or "")
        assert not found.config.exists()
