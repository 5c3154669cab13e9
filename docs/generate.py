"""Writes what the program itself knows best: docs/reference/commands.md and docs/reference/errors.md.

``python -m docs.generate`` writes them; with ``--check`` it changes nothing and ends with 1 if one differs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.errors import RegsetupError

REFERENCE = Path(__file__).parent / "reference"
WIDTH = 80  # columns of a help text, as the tests compare it
_ENVIRONMENT = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}

COMMANDS_HEAD = """\
# Commands

What `regsetup COMMAND --help` prints, 80 columns wide. Written by `make docs`; a test compares it. The
settings of `up` are explained in [settings.md](settings.md), the output of `--json` in [json.md](json.md).
"""

ERRORS_HEAD = """\
# Errors

Every error has a code, which stands in `--json` output and never changes its meaning; a message; where it is
known, a cause; and where there is one, the command that mends it. On a terminal:

```
error: 127.0.0.1:5000 is already used by process 4711 (nginx)
  fix   regsetup up --port 5001, or stop process 4711 (nginx)
```

The exit status of a command that failed is the one in the last column: 1 failed, 2 wrong usage, 3 a check
that did not hold. Written by `make docs` from the classes in the code; a test compares it.

| code | meaning | exit |
|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Write the files, or tell which of them differ."""
    os.environ.update(_ENVIRONMENT)  # Typer reads it when it is imported
    wanted = {REFERENCE / "commands.md": commands(), REFERENCE / "errors.md": errors()}
    differ = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" not in arguments:
        for path in differ:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path])
        return 0
    for path in differ:
        print(f"{path} is not what `make docs` writes")
    return 1 if differ else 0


def commands() -> str:
    """Return the help of every command."""
    from typer.main import get_command

    from regsetup.cli import build

    parts = [COMMANDS_HEAD]
    for path in _paths(get_command(build(None)), ()):
        title = " ".join(("regsetup", *path))
        parts.append(f"## {title}\n\n```text\n{_help(path)}```\n")
    return "\n".join(parts)


def _paths(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _paths(below, (*path, name))


def _help(path: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from regsetup.cli import build

    done = CliRunner().invoke(build(None), [*path, "--help"], prog_name="regsetup", env=_ENVIRONMENT)
    lines = [line.rstrip() for line in done.output.strip("\n").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def errors() -> str:
    """Return every error code with its meaning and exit status."""
    rows: dict[str, tuple[list[str], int]] = {}
    for one in sorted(_classes(), key=lambda one: (one.code, _meaning(one))):
        rows.setdefault(one.code, ([], one.exit_code))[0].append(_meaning(one))
    return ERRORS_HEAD + "".join(
        f"| `{code}` | {'; or: '.join(meanings)} | {status} |\n" for code, (meanings, status) in rows.items()
    )


def _classes() -> Iterator[type[RegsetupError]]:
    """Yield the classes that have a code of their own."""
    import regsetup
    from regsetup.errors import RegsetupError

    for module in pkgutil.walk_packages(regsetup.__path__, "regsetup."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [RegsetupError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if "code" in vars(one) and one is not RegsetupError:
            yield one


def _meaning(error: type[RegsetupError]) -> str:
    """Return the first sentence of the docstring as it stands in a table."""
    first = re.split(r"\n\s*\n", inspect.cleandoc(error.__doc__ or ""))[0]
    text = " ".join(first.split()).replace("``", "`").replace("|", "\\|")
    return text.rstrip(".")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
