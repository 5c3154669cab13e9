"""The detached process: it outlives its terminal, and no other process is ever taken for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from regsetup.backends.description import Description
from regsetup.backends.detached import Birth
from regsetup.backends.embedded import EmbeddedRuntime
from regsetup.backends.manager import ServiceError
from regsetup.backends.serve_command import EmbeddedNeedsDirectory
from regsetup.deployment import RestartPolicy, Tls, Volume
from regsetup.errors import RegsetupError
from regsetup.host.ports import PortNeedsRoot, first_unprivileged
from tests.bed.processes import marked_processes
from tests.bed.run import free_port, wait_for
from tests.contract.killer import KILLED
from tests.contract.runtimes import STANDIN, Bench, embedded
from tests.contract.test_kill import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")


@pytest.fixture
def bench(tmp_path: Path, unique_name: str) -> Iterator[Bench]:
    """A registry as a detached process; whatever it left is removed."""
    made = embedded(tmp_path, unique_name, free_port(), detached=True)
    yield made
    made.open().remove()


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that is not ours to touch."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield psutil.Process(process.pid)
        process.kill()


def note(bench: Bench, birth: Birth) -> None:
    """Write ``service.pid`` as ``start`` does."""
    (bench.paths.root / "service.pid").write_text(json.dumps(asdict(birth)))


def born(pid: int) -> Birth:
    birth = Birth.of(pid)
    assert birth is not None
    return birth


def test_it_outlives_the_terminal_it_was_started_from(bench: Bench, tmp_path: Path) -> None:
    killer = [sys.executable, "-m", "tests.contract.killer"]
    words = ["0", str(tmp_path), bench.paths.name, str(bench.wanted.port), "detached"]
    login = (  # leads the session on the terminal, as a login shell does
        "import fcntl, signal, subprocess, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # under nohup it is ignored, by children too
        f"for verb in ('create', 'start'): subprocess.run([*{killer!r}, verb, *{words!r}], check=True)\n"
        "signal.pause()"
    )
    terminal, other_end = os.openpty()
    command = [sys.executable, "-c", login]
    with subprocess.Popen(command, stdin=other_end, cwd=PROJECT, start_new_session=True) as shell:
        os.close(other_end)
        bench.wait()
        pid = bench.pid()
        assert pid is not None
        assert os.getsid(pid) == pid
        os.close(terminal)  # it goes: SIGHUP to the shell and to everything in its session
        assert shell.wait(timeout=20) == -signal.SIGHUP
    assert bench.answers()
    assert bench.pid() == pid


def test_it_reads_nothing_and_holds_no_directory(bench: Bench) -> None:
    bench.up()
    process = Path(f"/proc/{bench.pid()}")
    seen = bench.open().current()
    assert seen is not None
    assert seen.id == f"pid {seen.pid}"
    assert (process / "fd/0").readlink() == Path("/dev/null")
    assert (process / "fd/1").readlink() == (process / "fd/2").readlink() == bench.paths.log
    assert (process / "cwd").readlink() == Path("/")
    assert bench.paths.log.stat().st_mode & 0o777 == 0o640


def test_a_recycled_pid_is_neither_shown_nor_killed(bench: Bench, stranger: psutil.Process) -> None:
    bench.up()
    ours = born(bench.pid() or 0)
    bench.open().stop()
    bench.make()
    note(bench, replace(ours, pid=stranger.pid))  # the pid was given to somebody else meanwhile
    seen = bench.open().current()
    assert seen is not None
    assert not seen.running
    bench.open().stop()
    assert stranger.is_running()


def test_even_a_note_that_fits_a_strangers_birth_is_not_believed(
    bench: Bench, stranger: psutil.Process
) -> None:
    bench.make()
    note(bench, born(stranger.pid))
    bench.open().remove()
    assert stranger.is_running()


@pytest.mark.parametrize("content", ["", "4711", "{}", "null", '{"pid": 1}'])
def test_without_a_good_note_the_process_is_found_by_its_mark(bench: Bench, content: str) -> None:
    bench.up()
    pid = bench.pid()
    (bench.paths.root / "service.pid").write_text(content)
    assert bench.pid() == pid
    bench.open().start()  # finds it, and notes it again
    assert json.loads((bench.paths.root / "service.pid").read_text())["pid"] == pid
    bench.open().stop()
    assert not bench.answers()


def test_a_note_of_an_earlier_boot_is_not_believed(bench: Bench) -> None:
    bench.up()
    ours = born(bench.pid() or 0)
    assert Birth.of(ours.pid) == ours != replace(ours, boot="another")
    assert Birth.of(2**22 + 1) is None  # above the greatest pid that Linux gives


def test_a_zombie_does_not_live() -> None:
    with subprocess.Popen(["true"]) as process:
        wait_for("its end", lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert Birth.of(process.pid) is None


def test_what_ignores_sigterm_is_killed_after_the_deadline(bench: Bench) -> None:
    (bench.data / ".deaf").touch()
    runtime = EmbeddedRuntime(bench.paths, command=STANDIN, machine=bench.paths.home, stop_seconds=0.5)
    runtime.create(bench.wanted, runtime.spec(bench.wanted))
    runtime.start()
    bench.wait()
    runtime.stop()
    assert not bench.answers()
    assert bench.pid() is None


@needs_root
def test_another_users_process_can_not_be_stopped_and_is_explained(bench: Bench) -> None:
    bench.up()
    ours = born(bench.pid() or 0)
    code = (
        "import os, psutil; from pathlib import Path; from regsetup.backends import detached, manager\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "service = detached.Detached(None, Path('/nowhere'), Path('/nowhere'), 5.0)\n"
        f"try: service._end(detached.Birth({ours.pid}, {ours.ticks}, {ours.boot!r}))\n"
        "except manager.ServiceError as error: print(error, '|', error.cause)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"process {ours.pid} can't be stopped by this user | another user started it"
    assert bench.answers()


def test_a_log_that_can_not_be_opened_is_explained(bench: Bench) -> None:
    bench.make()
    bench.paths.log.mkdir()
    with pytest.raises(ServiceError, match=r"registry\.log can't be opened") as caught:
        bench.open().start()
    assert caught.value.cause == "Is a directory"
    bench.paths.log.rmdir()


def test_an_interpreter_that_is_gone_is_explained(bench: Bench) -> None:
    runtime = EmbeddedRuntime(bench.paths, command=("/no/such/python",), machine=bench.paths.home)
    runtime.create(bench.wanted, runtime.spec(bench.wanted))
    with pytest.raises(RegsetupError, match="/no/such/python can't be started"):
        runtime.start()
    assert "ended" in (runtime.failure() or "")


def test_a_moved_interpreter_is_a_change(bench: Bench) -> None:
    moved = EmbeddedRuntime(bench.paths, command=("/other/venv/bin/python", "-m", "regsetup", "serve"))
    changes = moved.spec(bench.wanted).changes_from(bench.open().spec(bench.wanted))
    assert any(
        change.startswith("command ") and change.endswith("/other/venv/bin/python -m regsetup serve")
        for change in changes
    )


def test_the_command_names_files_and_no_secret(bench: Bench) -> None:
    wanted = replace(
        bench.wanted, auth=True, realm="My Registry", tls=Tls.SELF_SIGNED, mirror_of="https://hub"
    )
    runtime = bench.open()
    runtime.create(wanted, runtime.spec(wanted))
    service = Description.read(bench.paths.root / "service.json")
    assert service is not None
    root = bench.paths.root
    assert service.argv == (
        *(sys.executable, "-m", "regsetup", "serve"),
        *("--bind", "127.0.0.1", "--port", str(wanted.port), "--data", str(bench.data)),
        *("--htpasswd", f"{root}/auth/htpasswd", "--realm", "My Registry"),
        *("--cert", f"{root}/certs/tls.crt", "--key", f"{root}/certs/tls.key"),
        *("--mirror-of", "https://hub", "--log-file", f"{root}/registry.log"),
    )


def test_what_may_be_written_reaches_the_process_and_is_a_change(bench: Bench) -> None:
    runtime = bench.open()
    wanted = replace(
        bench.wanted, read_only=True, immutable_tags=("v*", "[0-9]*"), min_free="1GiB", upload_ttl="1d"
    )
    runtime.create(wanted, runtime.spec(wanted))
    service = Description.read(bench.paths.root / "service.json")
    assert service is not None
    assert service.argv[-7:] == (
        "--read-only",
        *("--immutable-tags", "v*,[0-9]*"),
        *("--min-free", "1GiB", "--upload-ttl", "1d"),
    )
    assert runtime.spec(wanted) != runtime.spec(replace(wanted, immutable_tags=("v*",)))


def test_variables_reach_the_process(bench: Bench) -> None:
    bench.up(replace(bench.wanted, env=(("HTTPS_PROXY", "http://proxy:3128"),)))
    assert psutil.Process(bench.pid()).environ()["HTTPS_PROXY"] == "http://proxy:3128"


def test_a_named_volume_is_refused(bench: Bench) -> None:
    wanted = replace(bench.wanted, storage=Volume("images"))
    with pytest.raises(EmbeddedNeedsDirectory) as caught:
        bench.open().spec(wanted)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "the bundled registry can't store images in volume:images"


@pytest.mark.skipif(
    os.geteuid() != 0 or first_unprivileged() < 1024,
    reason="needs root's rights and ports",
)
def test_a_privileged_port_is_refused_before_anything_is_made() -> None:
    code = (
        "import os, sys; from pathlib import Path; from regsetup.backends.embedded import EmbeddedRuntime\n"
        "from regsetup.deployment import Deployment, Directory, Paths\n"
        "from regsetup.host.ports import PortNeedsRoot\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "nowhere = Path('/nowhere'); runtime = EmbeddedRuntime(Paths(nowhere, 'registry'), machine=nowhere)\n"
        "wanted = Deployment(name='registry', storage=Directory(nowhere), port=443)\n"
        "try: runtime.create(wanted, runtime.spec(wanted))\n"
        "except PortNeedsRoot as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{PortNeedsRoot('127.0.0.1', 443)}\n"
    assert "sudo regsetup up --port 443" in str(PortNeedsRoot("127.0.0.1", 443).fix)


def test_notes_say_that_nobody_starts_it_again(bench: Bench) -> None:
    assert "nobody starts the registry again" in bench.open().notes[0]


def test_a_new_one_that_never_ran_does_not_take_the_place_of_the_one_aside(bench: Bench) -> None:
    bench.up()
    bench.open().set_aside()
    bench.make(bench.changed())
    bench.open().set_aside()
    aside = bench.open().aside()
    assert aside is not None
    assert aside.spec == bench.open().spec(bench.wanted)
    assert bench.open().current() is None
    bench.open().put_back()
    bench.wait()


def test_with_only_one_aside_discarding_it_leaves_nothing(bench: Bench) -> None:
    bench.up()
    bench.open().set_aside()
    bench.open().discard_aside()
    assert list(bench.paths.root.iterdir()) == []


def test_the_policy_is_part_of_the_spec(bench: Bench) -> None:
    other = replace(bench.wanted, restart_policy=RestartPolicy.NO)
    assert bench.open().spec(other).changes_from(bench.open().spec(bench.wanted)) == (
        "restart unless-stopped -> no",
    )


def test_the_killer_kills(bench: Bench, tmp_path: Path) -> None:
    words = ["create", "1", str(tmp_path), bench.paths.name, str(bench.wanted.port), "detached"]
    command = [sys.executable, "-m", "tests.contract.killer", *words]
    assert subprocess.run(command, cwd=PROJECT, check=False).returncode == KILLED
    assert marked_processes(f"{bench.wanted.port}\0--data") == {}
