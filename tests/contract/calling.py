"""regsetup called in the test's own process: arguments in, exit code and output out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup import cli
from regsetup.cli import render

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with and wrote; ``out`` as the bytes that it wrote."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.out.splitlines()

    @property
    def envelope(self) -> dict[str, Any]:
        """The one object of ``--json``."""
        found: dict[str, Any] = json.loads(self.raw)
        return found

    def ok(self) -> Said:
        """Return itself if it went well, else fail with what it said."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass(frozen=True, slots=True)
class Calling:
    """Calls regsetup; nobody's credentials and no registry of this machine are there but a test's."""

    home: Path
    capture: pytest.CaptureFixture[bytes]

    def __call__(self, *arguments: str) -> Said:
        render.style.json = render.style.quiet = False
        self.capture.readouterr()
        code = cli.run(list(arguments))
        out, err = self.capture.readouterr()
        assert b"Traceback" not in err
        return Said(code, out, err.decode())

    def json(self, *arguments: str) -> dict[str, Any]:
        """Call with ``--json`` and return the envelope, whatever the exit code."""
        return self(*arguments, "--json").envelope

    def codes(self, *arguments: str) -> tuple[int, list[str]]:
        """Return the exit code and the codes of the errors."""
        said = self(*arguments, "--json")
        return said.code, [error["code"] for error in said.envelope["errors"]]
