"""Finds the dockerd behind a socket: who runs it, its flags, the files it reads. Changes nothing.

Knows systemd (system and user units, snap's too), sysvinit and OpenRC scripts, a dockerd that somebody
started by hand, rootless engines, and Docker Desktop, whose engine lives in a virtual machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from regsetup.errors import RegsetupError
from regsetup.host.docker_info import is_desktop
from regsetup.host.files import config_home
from regsetup.host.flags import FLAG_OF, config_file, flag_values, flags_of, names_flag
from regsetup.host.process import ProgramMissing, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from regsetup.host.docker_info import Info

DEFAULT_SOCKET = "/var/run/docker.sock"
_ETC = Path("/etc/docker")
_SNAP = Path("/var/snap/docker/current/config")
_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
_UNIT = re.compile(r"/([^/]+\.service)$", re.MULTILINE)
_FLAG_FILES = (  # what sysvinit, OpenRC and RHEL 6 scripts read their flags from
    Path("/etc/default/docker"),
    Path("/etc/conf.d/docker"),
    Path("/etc/sysconfig/docker"),
)
# Each shows that the script, not a person, started dockerd: Debian's pid file, OpenRC's and RHEL's marks.
_SERVICE_MARKS = (
    Path("/run/docker-ssd.pid"),
    Path("/run/openrc/started/docker"),
    Path("/var/lock/subsys/docker"),
)


class Manager(Enum):
    """Who starts and stops the engine."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd --user"
    SERVICE = "an init script"
    PROCESS = "nobody"
    DESKTOP = "Docker Desktop"
    ELSEWHERE = "another machine"
    STOPPED = "not running"


class FlagConflict(RegsetupError):
    """A key would stand both in daemon.json and in dockerd's flags, and dockerd would not start."""

    code = "daemon-flag-conflict"

    def __init__(self, key: str, places: tuple[str, ...], config: Path) -> None:
        super().__init__(
            f"dockerd already gets {FLAG_OF[key]} from {' and '.join(places)}",
            cause=f"with {key} in {config} as well, dockerd would not start",
            fix=f'take {FLAG_OF[key]} out there and put its values into "{key}" in {config}, restart Docker, '
            "then try again",
        )
        self.places = places


@dataclass(frozen=True, slots=True)
class Dockerd:
    """One engine as it was found.

    Attributes:
        config: the daemon.json that it reads; ``certs_d``: the directory that it reads CAs from.
        unit: the systemd unit or init script, empty where there is none.
        args: its command line, program first.
        flag_files: (place, text) of every file that may give it flags.
    """

    manager: Manager
    config: Path = _ETC / "daemon.json"
    certs_d: Path = _ETC / "certs.d"
    pid: int | None = None
    unit: str = ""
    args: tuple[str, ...] = ()
    flag_files: tuple[tuple[str, str], ...] = ()

    def values(self, flag: str) -> tuple[str, ...]:
        """Return what the running engine got by ``flag`` (``--name``)."""
        return flag_values(self.args, flag)

    def check_flags(self, key: str) -> None:
        """Hold if ``key`` may be put into daemon.json.

        Raises:
            FlagConflict: the flag of the same meaning is set for the running engine, or for its next start.
        """
        if places := self.flag_places(key):
            raise FlagConflict(key, places, self.config)

    def flag_places(self, key: str) -> tuple[str, ...]:
        """Return where the flag of the same meaning as ``key`` is set, for this run or the next start."""
        flags = flags_of(key)
        named = [place for place, text in self.flag_files if any(names_flag(text, flag) for flag in flags)]
        if not named and any(arg.partition("=")[0] in flags for arg in self.args[1:]):
            named = [f"the command line of process {self.pid}"]
        return tuple(named)


def find(endpoint: str, info: Info | None, *, home: Path | None = None) -> Dockerd:
    """Return the engine that answers on ``endpoint``, such as ``unix:///var/run/docker.sock``.

    ``info`` is what it says of itself, None if it does not answer. ``home`` is the person's, for Docker
    Desktop and rootless engines.
    """
    home = home or Path.home()
    scheme, _, socket = endpoint.partition("://")
    if is_desktop(info) or home / ".docker" in Path(socket).parents:
        return Dockerd(Manager.DESKTOP, home / ".docker" / "daemon.json", home / ".docker" / "certs.d")
    process = _listener(socket) if scheme == "unix" else None
    if process is not None:
        return _describe(process, home)
    if scheme != "unix" or info is not None:
        return Dockerd(Manager.ELSEWHERE)
    rootless = _is_rootless(socket)
    files = (*_texts(_FLAG_FILES), *_unit_at_rest(Manager.SYSTEMD_USER if rootless else Manager.SYSTEMD))
    return _located(
        Dockerd(Manager.STOPPED, flag_files=files), config_home(home) / "docker" if rootless else _ETC
    )


def _unit_at_rest(manager: Manager) -> tuple[tuple[str, str], ...]:
    """Return the files of the unit that will start an engine that does not run; none without systemd."""
    if not _SYSTEMD_RUNS.exists():
        return ()
    return tuple(_unit_files(systemctl(manager), "docker.service"))


def _is_rootless(socket: str) -> bool:
    """Rootless engines listen below the person's runtime directory (docker.com, "Rootless mode")."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return socket.startswith("/run/user/") or (bool(runtime) and Path(socket).parent == Path(runtime or ""))


def _describe(process: psutil.Process, home: Path) -> Dockerd:
    manager, unit = _managed_by(process)
    args = (_program(process), *process.cmdline()[1:])
    files: tuple[tuple[str, str], ...] = ()
    if manager in (Manager.SYSTEMD, Manager.SYSTEMD_USER):
        files = tuple(_unit_files(systemctl(manager), unit))
    elif manager is Manager.SERVICE:
        files = tuple(_texts(_FLAG_FILES))
    found = Dockerd(manager, pid=process.pid, unit=unit, args=args, flag_files=files)
    if _in_user_namespace(process.pid):
        return _located(found, _config_home_of(process, home) / "docker")
    return _located(found, _SNAP if found.unit.startswith("snap.") else _ETC)


def _program(process: psutil.Process) -> str:
    """Return what to call it by: a rootless one may have been found on another PATH than this shell's."""
    name = process.cmdline()[0]
    try:
        return name if name.startswith("/") else process.exe() or name
    except psutil.Error:  # another person's
        return name


def _config_home_of(process: psutil.Process, home: Path) -> Path:
    """Return where a rootless dockerd looks: by its own environment, which may not be this shell's."""
    try:
        environ = process.environ()
    except psutil.Error:  # another person's
        return config_home(home)
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or home) / ".config")


def _located(found: Dockerd, base: Path) -> Dockerd:
    """Say which files the engine reads."""
    running, next_start = found.values("--config-file"), (text for _, text in found.flag_files)
    named = running[-1] if running else config_file(next_start) if found.pid is None else None
    config = Path(named) if named else base / "daemon.json"
    return replace(found, config=config, certs_d=(_ETC if base == _SNAP else base) / "certs.d")


def _listener(socket: str) -> psutil.Process | None:
    """Return the dockerd that listens on ``socket``; without the rights to see it, one that could."""
    wanted = Path(socket).resolve()
    for connection in psutil.net_connections("unix"):
        path = connection.laddr
        if connection.pid and isinstance(path, str) and path and Path(path).resolve() == wanted:
            process = psutil.Process(connection.pid)
            if _is_dockerd(process):
                return process
    candidates = filter(_is_dockerd, psutil.process_iter())
    return next((process for process in candidates if _serves(process, wanted)), None)


def _is_dockerd(process: psutil.Process) -> bool:
    try:
        return Path((process.cmdline() or [""])[0]).name == "dockerd"
    except psutil.Error:
        return False


def _serves(process: psutil.Process, socket: Path) -> bool:
    """Tell whether a dockerd's flags name ``socket``; no ``-H``, and ``fd://``, stand for its default one."""
    args = tuple(process.cmdline())
    hosts = flag_values(args, "-H") + flag_values(args, "--host")
    if not hosts or any(host.startswith("fd://") for host in hosts):
        return socket == _default_socket(process).resolve()
    return any(Path(host.removeprefix("unix://")).resolve() == socket for host in hosts)


def _default_socket(process: psutil.Process) -> Path:
    """Return where a dockerd listens that was told nothing else; a rootless one has sockets of its own.

    RootlessKit gives it a network namespace, so that its sockets are not among those of this machine.
    """
    if not _in_user_namespace(process.pid):
        return Path(DEFAULT_SOCKET)
    try:
        runtime = process.environ().get("XDG_RUNTIME_DIR")
    except psutil.Error:
        runtime = None
    return Path(runtime or f"/run/user/{process.uids().real}", "docker.sock")


def _managed_by(process: psutil.Process) -> tuple[Manager, str]:
    cgroup = Path(f"/proc/{process.pid}/cgroup").read_text()
    found = _UNIT.search(cgroup)
    if found and _SYSTEMD_RUNS.exists():
        manager = Manager.SYSTEMD_USER if "/user@" in cgroup else Manager.SYSTEMD
        if _main_pid(systemctl(manager), found[1]) in _rootlesskits(process):
            return manager, found[1]
    if any(_marks(mark, process.pid) for mark in _SERVICE_MARKS):
        return Manager.SERVICE, "docker"
    return Manager.PROCESS, ""


def _marks(mark: Path, pid: int) -> bool:
    try:
        content = mark.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return mark.suffix != ".pid" or content.strip() == str(pid)


def _rootlesskits(process: psutil.Process) -> set[int]:
    """Return the pids that a unit may call its main process: dockerd, or the RootlessKit around it.

    A dockerd that was typed in a shell below some other service belongs to nobody.
    """
    return {process.pid} | {
        parent.pid for parent in process.parents() if parent.name().startswith("rootlesskit")
    }


def systemctl(manager: Manager) -> tuple[str, ...]:
    """Return the command that speaks to the right systemd."""
    return ("systemctl", "--user") if manager is Manager.SYSTEMD_USER else ("systemctl",)


def _main_pid(command: tuple[str, ...], unit: str) -> int:
    try:
        shown = run([*command, "show", "--property=MainPID", "--value", unit]).out.strip()
    except ProgramMissing:
        return 0
    return int(shown) if shown.isdigit() else 0


def _unit_files(command: tuple[str, ...], unit: str) -> Iterator[tuple[str, str]]:
    """Yield the unit and its drop-ins, and the environment files that they read."""
    parts = re.split(r"^# (/.*)$", run([*command, "cat", unit]).out, flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    yield from texts.items()
    yield from _texts(_environment_files(texts))


def _environment_files(units: Mapping[str, str]) -> tuple[Path, ...]:
    named = re.findall(r"^EnvironmentFile=-?(\S+)", "\n".join(units.values()), re.MULTILINE)
    return tuple(Path(path) for path in named)


def _texts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        try:
            yield str(path), path.read_text(errors="replace")
        except OSError:
            continue  # a unit's "-" and the three kinds of init system allow for its absence


def _in_user_namespace(pid: int) -> bool:
    """Tell whether a process is rootless: its uid 0 is somebody else's outside (user_namespaces(7))."""
    try:
        first = Path(f"/proc/{pid}/uid_map").read_text().split()
    except OSError:
        return False
    return first[:2] != ["0", "0"]
