"""regsetup as a person runs it: a process with a home of its own, with or without a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.bed.clients import Completed, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass
class Regsetup:
    """Runs ``python -m regsetup`` with REGSETUP_HOME and HOME below ``place``."""

    place: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """REGSETUP_HOME: what regsetup keeps."""
        return self.place / "regsetup"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that differ from the test's own."""
        return {
            "REGSETUP_HOME": str(self.home),
            "HOME": str(self.place),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            **self.env,
            **(more or {}),
        }

    def __call__(
        self,
        *args: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> Completed:
        self.place.mkdir(parents=True, exist_ok=True)
        return run(
            [sys.executable, "-m", "regsetup", *args], env=self.environment(env), stdin=stdin, timeout=timeout
        )

    def json(self, *args: str, **more: Any) -> dict[str, Any]:
        """Run with ``--json`` and return the one envelope it printed, whatever the exit code."""
        done = self(*args, "--json", **more)
        envelope: dict[str, Any] = json.loads(done.out)
        return envelope

    def on_terminal(self, *args: str, env: Mapping[str, str] | None = None) -> Terminal:
        """Start it on a terminal of its own; use the result in a ``with`` statement."""
        self.place.mkdir(parents=True, exist_ok=True)
        return Terminal([sys.executable, "-m", "regsetup", *args], dict(os.environ) | self.environment(env))


class Terminal:
    """A program on a pseudo-terminal, which it also has as /dev/tty: prompts can be answered."""

    def __init__(self, args: list[str], env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._seen = ""
        self._process = subprocess.Popen(
            args,
            env=dict(env) | {"TERM": "xterm"},
            preexec_fn=lambda: os.login_tty(slave),
            stdin=subprocess.DEVNULL,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def expect(self, text: str, *, seconds: float = 30.0) -> str:
        """Wait until ``text`` is shown; return all up to and with it, which later calls don't see again."""
        deadline = time.monotonic() + seconds
        while text not in self._seen:
            if not self._read(deadline):
                pytest.fail(f"the terminal did not show {text!r}, but:\n{self._seen}")
        before, _, self._seen = self._seen.partition(text)
        return before + text

    def send(self, line: str) -> None:
        """Type ``line`` and the return key."""
        os.write(self._master, f"{line}\n".encode())

    def type(self, keys: str) -> None:
        """Press keys, without the return key at the end."""
        os.write(self._master, keys.encode())

    def interrupt(self) -> None:
        """Press control-C."""
        os.write(self._master, b"\x03")

    def wait(self, *, seconds: float = 60.0) -> Completed:
        """Wait for the end; the output is what no ``expect`` took."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        code = self._process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        return Completed(code, self._seen, "")

    def _read(self, deadline: float) -> bool:
        """Take what there is; False at the end or at the deadline."""
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # EIO: the last process closed the terminal
            return False
        self._seen += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)
