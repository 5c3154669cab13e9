"""On a terminal: prompts, colour, 80 columns, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.bed.run import free_port

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow

ESCAPE = "\x1b["
UP = ("up", "--backend", "embedded", "--no-check")


def up(port: int, *more: str) -> tuple[str, ...]:
    return (*UP, "--port", str(port), *more)


def test_a_password_is_asked_for_twice_and_not_shown(regsetup: Regsetup) -> None:
    with regsetup.on_terminal(*up(free_port(), "--user", "alice")) as terminal:
        terminal.expect("Password for alice")
        terminal.send("pass-word-of-alice")
        terminal.expect("Again:")
        terminal.send("pass-word-of-alice")
        shown = terminal.expect("is up at")
        done = terminal.wait()
    assert done.code == 0
    assert "pass-word-of-alice" not in shown + done.out
    assert "shown once" not in done.out
    again = regsetup("adduser", "alice", "--json")
    assert again.code == 2


def test_nothing_typed_means_a_made_up_password(regsetup: Regsetup) -> None:
    with regsetup.on_terminal(*up(free_port(), "--user", "alice")) as terminal:
        terminal.expect("Password for alice")
        terminal.send("")
        done = terminal.wait()
    assert done.code == 0
    assert re.search(r"user +alice, password \S{22,} \(shown once\)", done.out)


def test_two_different_passwords_change_nothing(regsetup: Regsetup) -> None:
    with regsetup.on_terminal(*up(free_port(), "--user", "alice")) as terminal:
        terminal.expect("Password for alice")
        terminal.send("one-password")
        terminal.expect("Again:")
        terminal.send("another-one")
        done = terminal.wait()
    assert done.code == 2
    assert "are not the same" in done.out
    assert not regsetup.home.exists()


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D"])
def test_given_up_at_the_prompt_nothing_was_changed(regsetup: Regsetup, how: str) -> None:
    with regsetup.on_terminal(*up(free_port(), "--user", "alice")) as terminal:
        terminal.expect("Password for alice")
        if how == "Ctrl-C":
            terminal.interrupt()
        else:
            terminal.type("\x04")
        done = terminal.wait()
    assert done.code == 1
    assert "interrupted; nothing is half-done" in done.out
    assert "Traceback" not in done.out
    assert not regsetup.home.exists()


def test_a_purge_is_asked_for_with_path_and_size(regsetup: Regsetup) -> None:
    regsetup(*up(free_port())).ok()
    root = regsetup.home / "registry"
    for answer, code in (("n", 1), ("y", 0)):
        with regsetup.on_terminal("teardown", "--purge", env={"COLUMNS": "300"}) as terminal:
            asked = terminal.expect("[y/N]")
            assert str(root / "data") in asked.replace("\n", "")
            assert "bytes" in asked
            assert root.is_dir()
            terminal.send(answer)
            assert terminal.wait().code == code
    assert not regsetup.home.exists()


def test_help_and_errors_are_in_colour_on_a_terminal_only(regsetup: Regsetup) -> None:
    wrong = ("up", "--port", "0")
    with regsetup.on_terminal(*wrong, env={"NO_COLOR": ""}) as terminal:
        assert ESCAPE in terminal.wait().out
    with regsetup.on_terminal(*wrong, env={"NO_COLOR": "1"}) as terminal:
        assert re.search(r"\x1b\[3[0-9]", terminal.wait().out) is None
    piped = regsetup(*wrong, env={"NO_COLOR": ""})
    assert ESCAPE not in piped.out + piped.err


def test_json_on_a_terminal_has_no_colour(regsetup: Regsetup) -> None:
    with regsetup.on_terminal("status", "--json", env={"NO_COLOR": ""}) as terminal:
        assert ESCAPE not in terminal.wait().out


@pytest.mark.parametrize("columns", [80, 60])
def test_tables_fit_a_terminal(regsetup: Regsetup, columns: int) -> None:
    narrow = {"COLUMNS": str(columns)}
    port = free_port()
    for args in (up(port, "--dry-run"), up(port), ("status",), ("status", "--all"), ("check",), ("users",)):
        with regsetup.on_terminal(*args, env=narrow) as terminal:
            done = terminal.wait()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.out)
        assert "\N{HORIZONTAL ELLIPSIS}" not in plain, args
        too_long = [line for line in plain.splitlines() if len(line.rstrip()) > columns]
        # An address or a path is never cut: it is to be copied.
        assert [line for line in too_long if "/" not in line] == [], (args, too_long)


def test_interrupted_with_json_there_is_an_envelope(regsetup: Regsetup) -> None:
    with regsetup.on_terminal(*up(free_port(), "--user", "alice", "--json")) as terminal:
        terminal.expect("Password for alice")
        terminal.interrupt()
        shown = terminal.wait().out
    assert json.loads(shown[shown.index("{") :])["errors"][0]["code"] == "interrupted"


def test_a_command_that_mends_is_copied_whole_from_a_narrow_terminal(regsetup: Regsetup) -> None:
    with regsetup.on_terminal("status", "--name", "other", env={"COLUMNS": "40"}) as terminal:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.wait().out)
    assert (
        "\n  fix   regsetup up --name other;\n        regsetup status --all lists those that are here\n"
        in shown
    )


def test_the_bar_of_a_restore_ends_before_the_first_step_is_told(regsetup: Regsetup) -> None:
    regsetup(*up(free_port())).ok()
    made = str(regsetup.place / "kept.tar.zst")
    regsetup("backup", made).ok()
    with regsetup.on_terminal("restore", made, "-y") as terminal:
        shown = terminal.wait().out
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    (line,) = [one for one in re.split(r"[\r\n]", plain) if "service registry  (it does not run)" in one]
    assert line == "  start     service registry  (it does not run)"
    regsetup("teardown", "--purge", "-y").ok()
