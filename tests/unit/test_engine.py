"""Finding and restarting an engine as far as it goes without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from regsetup.host.daemon_json import INSECURE, MIRRORS
from regsetup.host.docker_info import host_of, is_desktop, is_insecure, mirrors
from regsetup.host.engine import (
    _SNAP,
    Dockerd,
    FlagConflict,
    Manager,
    _located,
    _main_pid,
    _marks,
    _unit_files,
    find,
    systemctl,
)
from regsetup.host.flags import config_file, flag_values, flags_of, names_flag
from regsetup.host.reload import restart_command
from regsetup.host.restart import InitScript, PlainProcess, SystemdUnit, starter
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = {
    "RegistryConfig": {
        "IndexConfigs": {
            "docker.io": {"Secure": True, "Mirrors": ["http://m.lan/"]},
            "registry.lan:5000": {"Secure": False},
            "10.1.0.1:5000": {"Secure": True},
        },
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128", "10.0.0.0/8"],
        "Mirrors": ["http://m.lan/"],
    }
}


def test_a_list_of_daemon_json_has_its_flag_in_the_singular_and_hosts_a_short_one() -> None:
    assert flags_of(INSECURE) == ("--insecure-registry",)
    assert "--label" in flags_of("labels")
    assert flags_of("hosts") == ("--hosts", "--host", "-H")
    unit = "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --debug\nExecReload=/bin/kill -s HUP $MAINPID\n"
    engine = Dockerd(Manager.STOPPED, flag_files=(("docker.service", unit),))
    assert [engine.flag_places(key) for key in ("hosts", "debug", "storage-driver", INSECURE)] == [
        ("docker.service",), ("docker.service",), (), (),
    ]  # fmt: skip
    running = Dockerd(Manager.PROCESS, pid=7, args=("dockerd", "-H=unix:///s", "--label=a=b"))
    assert running.flag_places("hosts") == running.flag_places("labels")
    assert running.flag_places("debug") == ()


def test_a_stopped_engine_reads_the_file_that_its_unit_will_name(tmp_path: Path) -> None:
    unit = "#ExecStart=dockerd --config-file=/no\nExecStart=dockerd --config-file /srv/d.json -H fd://\n"
    assert config_file(["DOCKER_OPTS='--config-file=/a'", unit]) == "/srv/d.json"
    stopped = Dockerd(Manager.STOPPED, flag_files=(("docker.service", unit),))
    assert _located(stopped, tmp_path).config == Path("/srv/d.json")
    assert _located(Dockerd(Manager.STOPPED), tmp_path).config == tmp_path / "daemon.json"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("registry.lan:5000", True),
        ("registry.lan:5001", False),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("[fd00::1]:5000", False),
        ("10.2.3.4:5000", True),
        ("11.2.3.4:5000", False),
        ("10.1.0.1:5000", False),  # listed by name, which counts before its network
    ],
)
def test_what_the_engine_takes_without_tls(address: str, expected: bool) -> None:
    assert is_insecure(INFO, address) is expected


def test_mirrors_are_read_and_may_be_absent() -> None:
    assert mirrors(INFO) == ("http://m.lan/",)
    assert mirrors({}) == ()
    assert not is_insecure({}, "localhost:5000")


def test_a_host_is_told_from_its_port() -> None:
    assert [host_of(text) for text in ("a:1", "a", "[::1]:5000")] == ["a", "a", "::1"]


def test_desktop_is_known_by_what_it_says_and_by_its_socket(tmp_path: Path) -> None:
    desktop = {"OperatingSystem": "Docker Desktop"}
    assert is_desktop(desktop)
    assert not is_desktop({"OperatingSystem": "Debian"})
    assert not is_desktop(None)
    by_word = find("unix:///var/run/docker.sock", desktop, home=tmp_path)
    by_path = find(f"unix://{tmp_path}/.docker/desktop/docker.sock", None, home=tmp_path)
    assert by_word == by_path
    assert by_word.config == tmp_path / ".docker" / "daemon.json"
    assert restart_command(by_word).startswith("Docker Desktop: Settings")


@pytest.mark.parametrize("endpoint", ["ssh://host", "tcp://10.0.0.1:2376"])
def test_an_engine_on_another_machine_is_elsewhere(tmp_path: Path, endpoint: str) -> None:
    found = find(endpoint, {"OperatingSystem": "Debian"}, home=tmp_path)
    assert (found.manager, found.pid) == (Manager.ELSEWHERE, None)


def test_an_engine_that_answers_on_a_socket_without_a_process_is_elsewhere(tmp_path: Path) -> None:
    assert find(f"unix://{tmp_path}/s", {}, home=tmp_path).manager is Manager.ELSEWHERE
    assert find(f"unix://{tmp_path}/s", None, home=tmp_path).manager is Manager.STOPPED


def test_a_stopped_rootless_engine_reads_below_the_home(tmp_path: Path) -> None:
    found = find("unix:///run/user/4711/docker.sock", None, home=tmp_path)
    assert found.config == tmp_path / ".config" / "docker" / "daemon.json"
    assert found.certs_d == tmp_path / ".config" / "docker" / "certs.d"


def test_flags_are_read_in_both_spellings() -> None:
    args = ("dockerd", "--insecure-registry=a", "--debug", "--insecure-registry", "b", "--insecure-registry")
    assert flag_values(args, "--insecure-registry") == ("a", "b")
    assert flag_values(args, "--registry-mirror") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ExecStart=/usr/bin/dockerd --insecure-registry a:5000", True),
        ('DOCKER_OPTS="--insecure-registry=a"', True),
        ("  --insecure-registry a \\\n", True),
        ("# DOCKER_OPTS=--insecure-registry=a", False),
        ("; --insecure-registry=a", False),
        ("--insecure-registry-foo=a", False),
        ("ExecStart=/usr/bin/dockerd -H fd://", False),
    ],
)
def test_a_flag_is_found_in_units_and_shell_fragments_but_not_in_comments(text: str, expected: bool) -> None:
    assert names_flag(text, "--insecure-registry") is expected


def test_a_conflict_names_the_file_before_the_command_line() -> None:
    engine = Dockerd(
        Manager.SYSTEMD,
        pid=7,
        unit="docker.service",
        args=("dockerd", "--registry-mirror=http://m"),
        flag_files=(
            ("/etc/systemd/system/docker.service.d/x.conf", "ExecStart=dockerd --registry-mirror=m"),
        ),
    )
    with pytest.raises(FlagConflict) as caught:
        engine.check_flags(MIRRORS)
    assert caught.value.places == ("/etc/systemd/system/docker.service.d/x.conf",)
    engine.check_flags(INSECURE)


@pytest.mark.parametrize(
    ("dockerd", "command"),
    [
        (Dockerd(Manager.SYSTEMD, unit="docker.service"), "sudo systemctl restart docker.service"),
        (Dockerd(Manager.SYSTEMD_USER, unit="docker.service"), "systemctl --user restart docker.service"),
        (Dockerd(Manager.SERVICE), "sudo service docker restart"),
        (
            Dockerd(Manager.PROCESS, pid=7, args=("dockerd", "-H", "a b")),
            "sudo kill 7; sudo dockerd -H 'a b'",
        ),
        (Dockerd(Manager.ELSEWHERE), "restart Docker on the machine that it runs on"),
    ],
)
def test_a_person_is_told_how_to_restart(dockerd: Dockerd, command: str) -> None:
    assert restart_command(dockerd) == command


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put shell scripts on PATH that write down how they were called."""
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()

    def make(name: str, body: str = "") -> Path:
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        script.chmod(0o755)
        return calls

    return make


def test_a_unit_is_restarted_even_if_systemd_gave_up_on_it(programs: Callable[..., Path]) -> None:
    calls = programs("systemctl")
    unit = starter(Dockerd(Manager.SYSTEMD, unit="docker.service"), 7)
    assert (unit.restart(), unit.failure()) == (None, None)
    assert calls.read_text().splitlines() == [
        "systemctl reset-failed docker.service docker.socket",
        "systemctl restart docker.service",
    ]


def test_a_unit_that_fails_says_what_its_journal_says(programs: Callable[..., Path]) -> None:
    programs("systemctl", '[ "$2" != restart ] || { echo "Job failed" >&2; exit 1; }')
    programs("journalctl", "echo 'no such driver'")
    unit = SystemdUnit(("systemctl", "--user"), "docker.service")
    assert unit.restart() == "Job failed\nno such driver"


@pytest.mark.parametrize(("body", "said"), [("", None), ("exit 3", "exit code 3"), ("echo no; exit 1", "no")])
def test_an_init_script_is_run_by_service(programs: Callable[..., Path], body: str, said: str | None) -> None:
    calls = programs("service", body)
    script = starter(Dockerd(Manager.SERVICE, unit="docker"), 7)
    assert isinstance(script, InitScript)
    assert script.restart() == said
    assert calls.read_text() == "service docker restart\n"


@pytest.mark.parametrize(("code", "gone"), [(0, False), (3, True), (1, True), (4, False), (8, False)])
def test_an_init_script_says_whether_the_engine_is_gone(
    programs: Callable[..., Path], code: int, gone: bool
) -> None:
    """4: it can't tell; 8: OpenRC is still starting it."""
    calls = programs("service", f"exit {code}")
    assert bool(InitScript("docker").failure()) is gone
    assert calls.read_text() == "service docker status\n"


def test_a_plain_process_is_ended_and_started_again_with_the_same_command_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(["sh", "-c", "echo started >&2; exec sleep 60"], stderr=log)
    plain = PlainProcess(first.pid, ("sh", "-c", "echo again >&2; exec sleep 60"))
    assert (plain.restart(), plain.failure()) == (None, None)
    assert not psutil.pid_exists(first.pid)
    first.wait()
    wait_for("the second start", lambda: (tmp_path / "log").read_text().endswith("again\n"))

    def asleep() -> list[psutil.Process]:
        """The shell has said its word before it becomes ``sleep``."""
        return [child for child in psutil.Process().children() if child.name() == "sleep"]

    wait_for("it to sleep", asleep)
    (second,) = asleep()
    second.kill()
    wait_for("its end", plain.failure)
    assert plain.failure() == "again"


@pytest.mark.parametrize("flags", [("-H", "unix://{}/s"), ("--host=unix://{}/s", "-H", "tcp://127.0.0.1:1")])
def test_a_dockerd_whose_socket_can_not_be_seen_is_found_by_its_flags(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """A process of that command line stands in for it; nothing listens on the socket."""
    args = ["dockerd", "-c", "import time; time.sleep(60)", *(flag.format(tmp_path) for flag in flags)]
    with subprocess.Popen(args, executable=sys.executable) as stand_in:
        wait_for("its start", lambda: psutil.Process(stand_in.pid).cmdline()[:1] == ["dockerd"])
        found = find(f"unix://{tmp_path}/s", {}, home=tmp_path)
        other = find(f"unix://{tmp_path}/other", {}, home=tmp_path)
        stand_in.kill()
    assert (found.manager, found.pid) == (Manager.PROCESS, stand_in.pid)
    assert found.config == Path("/etc/docker/daemon.json")
    assert other.manager is Manager.ELSEWHERE


def test_an_init_script_is_known_by_the_pid_file_that_only_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker-ssd.pid").write_text("7\n")
    assert _marks(tmp_path / "docker-ssd.pid", 7)
    assert not _marks(tmp_path / "docker-ssd.pid", 8)
    assert not _marks(tmp_path / "absent.pid", 7)
    (tmp_path / "started").touch()
    assert _marks(tmp_path / "started", 7)


def test_the_files_of_a_unit_are_its_text_its_drop_ins_and_its_environment(
    programs: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("DOCKER_OPTS=--insecure-registry=x\n")
    programs(
        "systemctl",
        f"""if [ "$1" = show ]; then echo 4711; else cat <<'UNIT'
# /lib/systemd/system/docker.service
[Service]
EnvironmentFile=-{tmp_path}/env
EnvironmentFile=-{tmp_path}/absent
# /etc/systemd/system/docker.service.d/x.conf
[Service]
ExecStart=dockerd --registry-mirror=m
UNIT
fi""",
    )
    files = dict(_unit_files(("systemctl",), "docker.service"))
    assert list(files) == [
        "/lib/systemd/system/docker.service",
        "/etc/systemd/system/docker.service.d/x.conf",
        f"{tmp_path}/env",
    ]
    assert names_flag(files["/etc/systemd/system/docker.service.d/x.conf"], "--registry-mirror")
    assert _main_pid(("systemctl",), "docker.service") == 4711


def test_without_systemctl_no_unit_has_a_main_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _main_pid(("systemctl",), "docker.service") == 0


def test_snap_and_rootless_engines_read_other_files(tmp_path: Path) -> None:
    snap = _located(Dockerd(Manager.SYSTEMD, unit="snap.docker.dockerd.service"), _SNAP)
    assert snap.config == Path("/var/snap/docker/current/config/daemon.json")
    rootless = _located(Dockerd(Manager.SYSTEMD_USER, unit="docker.service"), tmp_path / ".config" / "docker")
    assert rootless.certs_d == tmp_path / ".config" / "docker" / "certs.d"
    assert systemctl(rootless.manager) == ("systemctl", "--user")
