"""The bundled registry as a systemd service: root's own, or of the user who runs regsetup.

What it says goes to the journal, where root can read it. A user often can't read his own services' journal
(journald.conf(5) Storage=volatile keeps one for all), so a user's service writes to ``registry.log``.
A user's services end with his last session unless he lingers (loginctl(1)). logind lets everybody switch that
on for himself (org.freedesktop.login1.set-self-linger), so it is done, noted, and taken back at the end.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends import logfile, unit
from regsetup.backends.manager import STOP_SECONDS, Life, ServiceError
from regsetup.host.files import CannotWrite, remove_unfinished, write_atomic
from regsetup.host.process import lines, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.backends.description import Description
    from regsetup.host.process import Result

_PROPERTIES = "LoadState,ActiveState,SubState,Result,MainPID,ExecMainCode,ExecMainStatus"
_TIMEOUT = STOP_SECONDS + 30.0  # seconds for systemctl, which waits for the service to stop
_ENDS = "the registry ends with this user's last session and starts with the next; so that it stays"
_EXITED = "1"  # ExecMainCode: CLD_EXITED of waitid(2); otherwise ExecMainStatus is a signal


@dataclass(frozen=True, slots=True)
class Scope:
    """Which systemd, root's or the user's, and the unit in it; ``machine`` is where its file system lies."""

    unit: str
    user: bool
    machine: Path = Path("/")

    @property
    def path(self) -> Path:
        """Where the unit lies: systemd.unit(5), "... units created by the administrator/user"."""
        units = Path.home() / ".config/systemd/user" if self.user else self.machine / "etc/systemd/system"
        return units / self.unit

    def text(self) -> str | None:
        """Return the unit as it lies on disk, None if there is none."""
        with suppress(FileNotFoundError):
            return self.path.read_text(encoding="utf-8", errors="replace")
        return None

    def runs(self) -> bool:
        """Tell whether this systemd is here: sd_booted(3); for a user, whether his manager runs."""
        if not (self.machine / "run/systemd/system").is_dir():
            return False
        return not self.user or (self._runtime_directory() / "systemd/private").exists()

    def lingers(self) -> bool:
        """Tell whether this user's services outlive his sessions; logind keeps a file for each who does."""
        return (self.machine / "var/lib/systemd/linger" / _me()).exists()

    def linger(self, note: Path) -> None:
        """Let this user's services outlive his sessions, and leave the file ``note`` if that is our doing."""
        if self.user and not self.lingers():
            write_atomic(note, "regsetup switched lingering on for this user, and will switch it off.\n")
            if run(["loginctl", "enable-linger", _me()]).code != 0:  # `notes` says what that means
                note.unlink()

    def unlinger(self, note: Path) -> None:
        """Take ``linger`` back with the last service of ours."""
        if self.user and note.exists() and not list(self.path.parent.glob("regsetup[-.]*.service")):
            run(["loginctl", "disable-linger", _me()])
            note.unlink()

    def notes(self, meaning: str = _ENDS) -> tuple[str, ...]:
        """Say what a person should know of a unit here that ends with his last session."""
        return (
            (f"{meaning}: sudo loginctl enable-linger {_me()}",) if self.user and not self.lingers() else ()
        )

    def systemctl(self, *words: str, fails: bool = False) -> Result:
        """Run systemctl; with ``fails`` it may fail.

        Raises:
            ServiceError: it failed; the cause is what it said.
        """
        scope = ("--user",) if self.user else ()
        # Without a login of its own (su, cron) a user's process does not know where his manager listens.
        env = {"XDG_RUNTIME_DIR": str(self._runtime_directory())} if self.user else None
        result = run(["systemctl", *scope, *words], timeout=_TIMEOUT, env=env)
        if result.code != 0 and not fails:
            raise ServiceError(
                f"systemctl {' '.join((*scope, *words))} failed",
                cause=result.err.strip() or f"exit code {result.code}",
                fix=f"systemctl {' '.join((*scope, 'status', self.unit))} shows more",
            )
        return result

    def _runtime_directory(self) -> Path:
        given = os.environ.get("XDG_RUNTIME_DIR")
        return Path(given) if given else self.machine / f"run/user/{os.geteuid()}"


class Systemd:
    """Looks after one unit."""

    def __init__(self, service: Description, scope: Scope, log: Path) -> None:
        self._service = service
        self._scope = scope
        self._log = log
        self._unit = scope.unit
        self._path = scope.path
        self._systemctl = scope.systemctl

    def install(self) -> None:
        """See ``Manager.install``.

        Raises:
            CannotWrite: no rights, no space.
            ServiceError: systemd can't be reached.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(self._path.parent, error) from error
        write_atomic(self._path, self._service.unit)
        self._systemctl("daemon-reload")

    def uninstall(self) -> None:
        """See ``Manager.uninstall``."""
        self._path.unlink(missing_ok=True)
        remove_unfinished(self._path)
        for wants in self._path.parent.glob("*.wants"):  # where systemctl could not be asked to disable it
            with suppress(OSError):  # no link there; or others want their units started, too
                (wants / self._unit).unlink()
                wants.rmdir()
        if self._scope.runs():
            self._systemctl("daemon-reload")
            self._systemctl("reset-failed", self._unit, fails=True)
        if self._scope.user:
            for made in list(self._path.parents)[:3]:  # ~/.config/systemd/user
                with suppress(OSError):  # not empty: they are somebody's
                    made.rmdir()

    def start(self) -> None:
        """See ``Manager.start``.

        Raises:
            ServiceError: systemd refuses, or the program can't be executed.
        """
        if self._service.boots:
            self._systemctl("enable", "--quiet", self._unit)
        self._systemctl("start", self._unit)

    def stop(self) -> None:
        """See ``Manager.stop``."""
        if not self._scope.runs():  # a user's manager that is gone took its services with it
            return
        if self._show().get("LoadState") == "not-found":
            return
        self._systemctl("stop", self._unit)
        self._systemctl("disable", "--quiet", self._unit, fails=not self._path.exists())

    def life(self) -> Life:
        """See ``Manager.life``."""
        if not self._scope.runs():
            return Life(running=False, trouble=f"systemd does not run for {_me()}")
        show = self._show()
        pid = int(show.get("MainPID", "0")) or None
        if pid is not None and show["ActiveState"] in ("active", "reloading", "deactivating"):
            return Life(running=True, pid=pid)
        code = int(show["ExecMainStatus"]) if show.get("ExecMainCode") == _EXITED else None
        if show.get("ActiveState") == "activating" and show.get("SubState") != "auto-restart":
            return Life(running=False)
        return Life(running=False, exit_code=code, trouble=_why(show))

    def drift(self) -> str | None:
        """See ``Manager.drift``."""
        there = self._scope.text()
        if there is None:
            return "missing"
        return None if there == self._service.unit else "edited by hand"

    def logs(self, *, tail: int | None, follow: bool) -> Iterator[str]:
        """See ``Manager.logs``."""
        if self._scope.user:
            return logfile.lines(
                self._log, tail=tail, follow=follow, alive=lambda: self.life().trouble is None
            )
        # Not --unit with --since: an earlier registry had the unit, and --lines counts from --since then.
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"{unit.ID}={self._service.id}"]
        command += [f"--lines={'all' if tail is None else tail}"]
        return lines([*command, "--follow"] if follow else command)

    def _show(self) -> dict[str, str]:
        result = self._systemctl("show", f"--property={_PROPERTIES}", self._unit)
        return dict(line.split("=", 1) for line in result.out.splitlines() if "=" in line)


def _why(show: dict[str, str]) -> str:
    """Say in words why it does not run."""
    if show.get("LoadState") == "not-found":
        return "systemd does not know it"
    code, status = show.get("ExecMainCode", "0"), show.get("ExecMainStatus", "0")
    if code == "0":
        return "it does not run" if show.get("Result") == "success" else f"systemd says: {show['Result']}"
    ended = f"it exited with code {status}" if code == _EXITED else f"it was ended by signal {status}"
    return f"{ended}, and is started again" if show.get("SubState") == "auto-restart" else ended


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
