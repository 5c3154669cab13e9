"""The command line: the only place that knows Typer, and one renderer that prints."""

from __future__ import annotations

import os
import sys

import typer

from regsetup import __version__
from regsetup.cli import cert, check, doctor, gc, render, serve, status, teardown, trust, up, users
from regsetup.errors import RegsetupError, UsageError

app = typer.Typer(
    name="regsetup",
    help="A private container registry in one command: set up, proven, kept running, taken away.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for family in (up, users, status, check, gc, doctor, trust, cert, serve, teardown):
    family.register(app)

# Click's own classes, by way of what Typer exports: newer versions of Typer bring Click along inside.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]


class BadCommandLine(UsageError):
    """The command line does not parse: an unknown command or option, a missing value."""

    code = "bad-command-line"


class Stopped(RegsetupError):
    """Ctrl-C, or Ctrl-D at a prompt, before anything was changed."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was changed")


class Defect(RegsetupError):
    """Something that regsetup did not foresee; a defect of its own."""

    code = "defect"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "regsetup met something that it does not know how to handle",
            cause=f"{type(error).__name__}: {error}",
            fix="REGSETUP_DEBUG=1 before the same command shows where; please report it",
        )


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"regsetup {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Set up, prove, look after and take away a private container registry."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0, 1 failed, 2 usage, 3 pending or not held."""
    try:
        return int(app(arguments, standalone_mode=False, prog_name="regsetup") or 0)
    except _ClickUsageError as error:
        if not str(error):  # no command at all: the help was printed
            return 2
        context = getattr(error, "ctx", None)
        path = context.command_path if context else " ".join(["regsetup", *_command(arguments)])
        if "--json" in arguments:
            render.style.json = True
        wrong = BadCommandLine(error.format_message(), fix=f"{path} --help")  # type: ignore[attr-defined]
        render.show(
            path.removeprefix("regsetup").strip() or "regsetup", render.Outcome(code=2, errors=(wrong,))
        )
        return 2
    except (typer.Abort, KeyboardInterrupt, EOFError):
        render.style.json = "--json" in arguments
        render.show(arguments[0], render.Outcome(code=1, errors=(Stopped(),)))
        return 1
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        return 1
    except Exception as error:  # noqa: BLE001  the last line: a defect of ours, told as an error like others
        return _defect(error, arguments)


def _command(arguments: list[str]) -> list[str]:
    return [word for word in arguments[:1] if not word.startswith("-")]


def _defect(error: Exception, arguments: list[str]) -> int:
    if os.environ.get("REGSETUP_DEBUG"):
        raise error
    render.style.json = "--json" in arguments
    render.show(arguments[0], render.Outcome(code=1, errors=(Defect(error),)))
    return 1
