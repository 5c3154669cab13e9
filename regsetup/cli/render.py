"""Prints, and is the only place that does: results to stdout, progress and errors to stderr.

A command returns an ``Outcome``; here it becomes either lines for people or one JSON envelope.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from regsetup.cli.folding import folded, labelled
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console, RenderableType

_PIPE_WIDTH = 1000  # columns; tables take what they need
ENVELOPE = 1  # version of the JSON envelope; a change that breaks a reader raises it
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has to say.

    Attributes:
        data: for ``--json``.
        lines: for people; strings, or rich's tables.
        code: exit status.
        errors: what went wrong without ending the command, such as a check that did not hold.
        warnings: what will go wrong; ``data`` has them for programs.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[RenderableType, ...] = ()
    changed: bool = False
    code: int = 0
    errors: tuple[RegsetupError, ...] = ()
    warnings: tuple[RegsetupError, ...] = ()


class _Plain:
    """Takes a value that needs no check; for others Typer does what it would have done without.

    Newer versions of Typer check with pydantic, whose import takes 0.1 s, a third of a short command.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as the command wants it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if type(value) is param.type_descriptor.annotation:
            return value
        param._runtime_param = None  # noqa: SLF001  Typer makes its own then
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


class _Params:
    """What Typer makes of parameters, mended.

    Flags are shown without a value's name: Typer would write ``--json <bool>``, as if one were to follow.
    Arguments are shown by their name alone: Typer would write ``USER <str>``.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, those of Typer's own among them."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for one in found:
            if getattr(one, "is_flag", False) and one.metavar is None:
                one.metavar = ""
            if one.param_type_name == "argument":
                one.display_type_rich = lambda ctx: ""  # noqa: ARG005
            if getattr(one, "_runtime_param", _Plain) is None:
                one._runtime_param = _Plain()  # noqa: SLF001  no other way leads around it
        return found


class Command(_Params, TyperCommand):
    """One command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line as manuals write them: what may be left out in brackets."""
        words = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        named = [(one.metavar or one.name.upper(), one.required) for one in words]
        return [
            "[OPTIONS]",
            *(name if needed or name.startswith("[") else f"[{name}]" for name, needed in named),
        ]


class Group(_Params, TyperGroup):
    """A family of commands."""


class Stopped(RegsetupError):
    """Ctrl-C, or Ctrl-D at a prompt, where there is nothing to take back."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__("interrupted; nothing is half-done")


@dataclass(slots=True)
class Style:
    """How this run prints; set by the flags of the command that runs."""

    json: bool = False
    quiet: bool = False


style = Style()


def out() -> Console:
    """Return the console of results; in a pipe a row of a table is one line, however long."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        highlight=False, emoji=False, soft_wrap=not terminal, width=None if terminal else _PIPE_WIDTH
    )


def err() -> Console:
    """Return the console of progress and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """Tell progress, unless ``-q`` or ``--json`` was given."""
    if not style.quiet and not style.json:
        console = err()
        console.print(_folded(text, console), markup=False, soft_wrap=True)


def command(
    app: typer.Typer, name: str, *, family: str = ""
) -> Callable[[Callable[P, Outcome]], Callable[P, None]]:
    """Register a command that returns an ``Outcome``; every error of ours ends in one place.

    SIGTERM counts as Ctrl-C: what was begun is taken back.
    """

    def register(function: Callable[P, Outcome]) -> Callable[P, None]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            style.json, style.quiet = bool(kwargs.get("as_json")), bool(kwargs.get("quiet"))
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                outcome = function(*args, **kwargs)
            except RegsetupError as error:
                outcome = Outcome(code=error.exit_code, errors=(error,))
            except (typer.Abort, KeyboardInterrupt, EOFError):  # Typer itself would end with 130 and no word
                outcome = Outcome(code=1, errors=(Stopped(),))
            show(f"{family} {name}".strip(), outcome)
            raise typer.Exit(outcome.code)

        app.command(name, cls=Command, help=_flowing(function.__doc__ or ""))(run)
        return run

    return register


def _flowing(text: str) -> str:
    """Return a docstring with one line for each paragraph: the terminal breaks them, not the source."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def show(name: str, outcome: Outcome) -> None:
    """Print an outcome."""
    if style.json:
        print_envelope(name, outcome)
        return
    _print_lines(outcome.lines)
    for warning in () if style.quiet else outcome.warnings:
        print_error(warning, label="warning", colour="yellow")
    for error in outcome.errors:
        print_error(error)


def _print_lines(lines: tuple[RenderableType, ...]) -> None:
    """Print to stdout; plain lines in a pipe without rich, which takes 0.1 ms for each of thousands."""
    plain = not sys.stdout.isatty()
    console = None
    for is_text, some in itertools.groupby(lines, lambda line: plain and isinstance(line, str)):
        if is_text:
            sys.stdout.write("".join(f"{line}\n" for line in some))
            continue
        from rich.text import Text

        console = console or out()
        with console.capture() if plain else contextlib.nullcontext() as captured:
            for line in some:
                # the terminal breaks what is too long, not rich: what is copied from it is whole then
                soft = isinstance(line, str | Text)
                text = _folded(line, console) if isinstance(line, str) else line
                console.print(text, markup=False, soft_wrap=soft or None)
        if captured:  # rich fills the rows of a table with blanks, and the next program would get them
            sys.stdout.write("".join(f"{row.rstrip()}\n" for row in captured.get().splitlines()))


def _folded(text: str, console: Console) -> str:
    """Fold what is too long for a terminal; a command, such as under ``Next:``, stays whole."""
    if not console.is_terminal or "\n" in text or (text.startswith(" ") and not labelled(text)):
        return text
    return folded(text, console.width, labelled(text))


def _room(console: Console, indent: int) -> tuple[int, int]:
    """Return how many columns a line may take, in a pipe any number, and how many its indent takes."""
    return (console.width if console.is_terminal else sys.maxsize), indent


def clean(text: str) -> str:
    """Return text of others with all that could steer a terminal escaped; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def print_envelope(name: str, outcome: Outcome) -> None:
    """Print the one object of ``--json``."""
    import json

    envelope = {
        "version": ENVELOPE,
        "command": name,
        "ok": outcome.code == 0,
        "changed": outcome.changed,
        "data": dict(outcome.data),
        "errors": [error.as_dict() for error in outcome.errors],
    }
    sys.stdout.write(json.dumps(envelope, indent=2) + "\n")


def print_error(error: RegsetupError, *, label: str = "error", colour: str = "red") -> None:
    """Print the fact, its cause and what mends it."""
    from rich.text import Text

    console = err()
    message, *more = folded(f"{label}: {error.message}", *_room(console, len(label) + 2)).splitlines()
    console.print(Text.assemble((f"{label}: ", f"bold {colour}"), message[len(label) + 2 :]), soft_wrap=True)
    lines = [("", line) for line in more]
    for part, text in (("cause", error.cause), ("fix", error.fix)):
        for number, line in enumerate((text or "").splitlines()):
            head = f"  {part:<6}" if number == 0 else " " * 8
            first, *rest = folded(head + line, *_room(console, 8), whole=part == "fix").splitlines()
            lines += [(head, first[8:]), *(("", one) for one in rest)]
    for head, line in lines:
        console.print(Text.assemble((head, "bold"), line), soft_wrap=True)
