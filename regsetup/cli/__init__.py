"""The command line: the only place that knows Typer, and one renderer that prints."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from regsetup import __version__
from regsetup.cli import (
    backup,
    blob,
    browse,
    bundle,
    cert,
    check,
    copy,
    doctor,
    gc,
    handover,
    inspect,
    login,
    pull,
    push,
    render,
    restore,
    rm,
    schedule,
    serve,
    status,
    teardown,
    trust,
    up,
    upgrade,
    users,
    verify,
)
from regsetup.errors import RegsetupError, UsageError

# Click's own classes, by way of what Typer exports: newer versions of Typer bring Click along inside.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]

if TYPE_CHECKING:
    from collections.abc import Callable


# How writing to standard output fails; the files that commands write have errors of their own.
_UNWRITABLE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
_COMPLETION = ("--install-completion", "--show-completion")  # for the shell around, or one that is named


class BadCommandLine(UsageError):
    """The command line does not parse: an unknown command or option, a missing value."""

    code = "bad-command-line"


class Defect(RegsetupError):
    """Something that regsetup did not foresee; a defect of its own."""

    code = "defect"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "regsetup met something that it does not know how to handle",
            cause=f"{type(error).__name__}: {error}",
            fix="REGSETUP_DEBUG=1 before the same command shows where; please report it",
        )


class OutputLost(RegsetupError):
    """What the command had to say can't be written to standard output."""

    code = "output-lost"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "the result can't be written to standard output",
            cause=reason,
            fix="make room where the output goes; what the command did is done",
        )


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"regsetup {__version__}\n")
        raise typer.Exit


def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Set up, prove, look after and take away a private container registry."""


_FAMILIES = {
    "Set up and take away": (up, status, check, doctor, upgrade, serve, teardown),
    "Who may enter": (users, login),
    "Look inside, move and delete": (browse, inspect, blob, pull, push, copy, rm, verify, gc),
    "Keep for years": (backup, restore, schedule, cert),
    "Other programs and machines": (trust, handover, bundle),
}


def build(command: str | None) -> typer.Typer:
    """Return the program with every command's name and help, and the options of ``command`` alone.

    Reading the options of all commands would take a third of the time of ``--help``; None reads them all.
    """
    app = typer.Typer(
        cls=render.Group,
        name="regsetup",
        help="A private container registry in one command: set up, proven, kept running, taken away.",
        epilog="Exit status: 0 done or nothing to do, 1 failed, 2 wrong usage, 3 changes pending, a check "
        "that did not hold, damage, or a registry that does not run.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(root)
    for panel, families in _FAMILIES.items():
        commands, groups = len(app.registered_commands), len(app.registered_groups)
        for family in families:
            family.register(app)
        for info in app.registered_commands[commands:]:
            info.rich_help_panel = panel
        for group in app.registered_groups[groups:]:
            group.rich_help_panel = panel
    others = [one.typer_instance for one in app.registered_groups if one.name != command]
    infos = [one for one in app.registered_commands if one.name != command]
    infos += [one for other in others if other for one in other.registered_commands]
    for info in infos if command is not None else ():
        info.callback = _bare(info.callback.__doc__)
    return app


def _bare(help_text: str | None) -> Callable[[], None]:
    def bare() -> None:
        raise AssertionError("only its help is shown")

    bare.__doc__ = help_text
    return bare


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0, 1 failed, 2 usage, 3 pending or not held."""
    if len(arguments) == 2 and arguments[0] in _COMPLETION:
        os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # Typer takes a name only so
    try:
        _mend_streams()
        status = _command_status(arguments)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # a reader that went away, as `| head` does, asks no more
            with contextlib.suppress(OSError):
                render.print_error(OutputLost(os.strerror(error.errno or 0)))
        _abandon_output()
        return 1
    return status


def _command_status(arguments: list[str]) -> int:
    try:
        completing = "_REGSETUP_COMPLETE" in os.environ
        app = build(None if completing else next(iter(_command(arguments)), ""))
        return int(app(arguments, standalone_mode=False, prog_name="regsetup") or 0)
    except _ClickUsageError as error:
        if not str(error):  # no command at all: the help was printed
            return 2
        context = getattr(error, "ctx", None)
        path = context.command_path if context else " ".join(["regsetup", *_command(arguments)])
        render.style.json = "--json" in arguments
        wrong = BadCommandLine(error.format_message(), fix=f"{path} --help")  # type: ignore[attr-defined]
        render.show(
            path.removeprefix("regsetup").strip() or "regsetup", render.Outcome(code=2, errors=(wrong,))
        )
        return 2
    except typer.Abort:  # Ctrl-C while the words were read
        return stopped(arguments)
    except Exception as error:  # the last line: a defect of ours, told as an error like others
        if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
            raise
        return _defect(error, arguments)


def stopped(arguments: list[str]) -> int:
    """Tell of Ctrl-C before a command began, and return its exit status."""
    render.style.json = "--json" in arguments
    name = next(iter(_command(arguments)), "regsetup")
    render.show(name, render.Outcome(code=1, errors=(render.Stopped(),)))
    return 1


def _abandon_output() -> None:
    """Let what could not be written go to /dev/null, or Python tries again at its end and fails with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
            continue
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _mend_streams() -> None:
    """Put /dev/null where a stream was closed, and let no character that a terminal lacks end the program."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _command(arguments: list[str]) -> list[str]:
    return [word for word in arguments[:1] if not word.startswith("-")]


def _defect(error: Exception, arguments: list[str]) -> int:
    if os.environ.get("REGSETUP_DEBUG"):
        raise error
    render.style.json = "--json" in arguments
    render.show(arguments[0], render.Outcome(code=1, errors=(Defect(error),)))
    return 1
