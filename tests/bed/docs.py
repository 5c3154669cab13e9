"""Checks what the documentation says: commands are run, help texts compared, flags looked up.

A comment on the line above a fenced block says what is done with it:

    <!-- check: help up -->         the block is what `regsetup up --help` prints, 80 columns wide
    <!-- check: run -->             the commands succeed, without an engine
    <!-- check: run engine -->      the commands succeed, with an engine that has the image registry:2
    <!-- check: run ssh -->         the commands succeed, with one that is reached as ssh://root@build1
    <!-- check: run systemd -->     the commands succeed, as root on a machine that systemd runs
    <!-- check: run exit=3 -->      the last command ends with 3

The blocks of one file are run in order, in one directory with one home. In a ``console`` block commands
start with ``$ `` and the lines below are their output, where ``...`` stands for anything; a ``sh`` block is
one script. Ports 5000 and 5001 in the text are replaced by free ones. Unmarked blocks are not run, but each
``regsetup COMMAND --flag`` in any block must exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MARK = re.compile(r"\s*<!-- check: (?P<words>.+?) -->\s*")
_FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>```+|~~~+)\s*(?P<language>\S*)\s*")
_SHELL = {"sh", "bash", "shell", "console"}
_PROGRAM = re.compile(r"(?:^|[\s;|&(])(?:sudo (?:-\S+ )*)?regsetup(?P<rest>(?: [^|;&#>\n)`]*)?)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``line`` is where its text starts, ``check`` what the comment above asks for."""

    file: str
    line: int
    language: str
    text: str
    check: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether its commands are executed."""
        return self.check[:1] == ("run",)

    @property
    def needs_engine(self) -> bool:
        """Whether they need Docker."""
        return self.runs and "engine" in self.check

    @property
    def needs_ssh(self) -> bool:
        """Whether they need an engine on another machine."""
        return self.runs and "ssh" in self.check

    @property
    def needs_systemd(self) -> bool:
        """Whether they need a machine that systemd runs."""
        return self.runs and "systemd" in self.check

    @property
    def exit_code(self) -> int:
        """What the last command ends with."""
        codes = [int(word.removeprefix("exit=")) for word in self.check if word.startswith("exit=")]
        return codes[-1] if codes else 0

    @property
    def commands(self) -> list[tuple[str, str | None]]:
        """The commands, each with the output that stands below it, None where none does."""
        if self.language != "console":
            return [(f"set -e\n{self.text}", None)]
        found: list[tuple[str, str | None]] = []
        for line in self.text.splitlines():
            if line.startswith(("$ ", "# ")):
                found.append((line[2:], None))
            elif found and found[-1][0].endswith("\\"):
                found[-1] = (f"{found[-1][0]}\n{line.removeprefix('> ')}", None)
            elif found:
                command, output = found[-1]
                found[-1] = (command, f"{output or ''}{line}\n")
        return found


def blocks(file: str, text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text.

    Raises:
        ValueError: a block does not end, or a comment asks for something unknown or has no block.
    """
    found: list[Block] = []
    check: tuple[str, ...] = ()
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if mark := _MARK.fullmatch(line):
            check = tuple(mark["words"].split())
            if check[0] not in {"help", "run"}:
                raise ValueError(f"{file}:{number}: unknown check {check[0]!r}")
        elif fence := _FENCE.fullmatch(line):
            inside: list[str] = []
            for _, row in lines:
                if row.strip() == fence["fence"]:
                    break
                inside.append(row.removeprefix(fence["indent"]))
            else:
                raise ValueError(f"{file}:{number}: the block does not end")
            found.append(Block(file, number + 1, fence["language"], "\n".join(inside) + "\n", check))
            check = ()
        elif check and line.strip():
            raise ValueError(f"{file}:{number}: no block below the check")
    return found


def matches(expected: str, actual: str) -> bool:
    """Compare line by line without trailing blanks; ``...`` in ``expected`` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in _trimmed(expected).split("..."))
    return re.fullmatch(pattern, _trimmed(actual), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def run(block: Block, place: Path, env: Mapping[str, str], ports: Mapping[str, str]) -> None:
    """Run the block's commands in ``place``.

    Raises:
        AssertionError: an exit code or an output is not what the text says.
    """
    commands = block.commands
    assert commands, f"{block.file}:{block.line}: no command; in console they start with '$ '"
    for number, (command, output) in enumerate(commands, 1):
        done = subprocess.run(
            ["/bin/sh", "-c", _with_ports(command, ports)],
            cwd=place,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        said = f"{block.file}:{block.line}: {command}\n{done.stdout}"
        code = block.exit_code if number == len(commands) else 0
        assert done.returncode == code, f"ended with {done.returncode}, not {code}: {said}"
        if output is not None:
            expected = _with_ports(output, ports)
            assert matches(expected, done.stdout), f"expected\n{expected}\nbut {said}"


def _with_ports(text: str, ports: Mapping[str, str]) -> str:
    for written, used in ports.items():
        text = re.sub(rf"(?<![\d.]){written}(?![\d.])", used, text)
    return text


def calls(block: Block) -> list[list[str]]:
    """Return the arguments of each call of regsetup in a shell block."""
    if block.language not in _SHELL:
        return []
    lines = [command for command, _ in block.commands] if block.language == "console" else [block.text]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    return [shlex.split(found["rest"]) for found in _PROGRAM.finditer(text)]
