"""Every command at its edges: help, exit codes, one JSON envelope, wrong words, completion, cheap starts."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from regsetup import __version__
from regsetup.cli import build, run
from tests.bed.clients import Completed
from tests.bed.run import free_port, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.cli import Regsetup

    Program = Callable[..., Completed]

GROUP: Any = typer.main.get_command(build(None))


def _leaves(group: Any, *before: str) -> dict[tuple[str, ...], Any]:
    """Return every command by its words, those of groups too."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found |= _leaves(command, *words) if hasattr(command, "commands") else {words: command}
    return found


COMMANDS = _leaves(GROUP)
WORDS = sorted(COMMANDS)
WITH_JSON = [
    words for words in WORDS if any("--json" in parameter.opts for parameter in COMMANDS[words].params)
]
WITH_NAME = [
    words for words in WITH_JSON if any("--name" in parameter.opts for parameter in COMMANDS[words].params)
]
# Commands that look at another of their words first, and refuse that.
BEFORE_THE_NAME = {
    ("blob",): "no-digest",
    ("migrate",): "bad-command-line",
    ("push",): "cannot-read",
    ("rm",): "nothing-named",
}
NEEDS_REGISTRY = ("passwd", "adduser", "rmuser", "users", "status", "logs", "check")


def spoken(words: tuple[str, ...]) -> str:
    return " ".join(words)


def arguments(words: tuple[str, ...]) -> list[str]:
    """Return the words with something for each argument that must be given."""
    given = [
        parameter.name
        for parameter in COMMANDS[words].params
        if parameter.param_type_name == "argument" and parameter.required
    ]
    return [*words, *given]


def envelope(done: Completed) -> dict[str, Any]:
    """Return the one object on standard output, which must be all that is there, and as designed."""
    found: dict[str, Any] = json.loads(done.out)
    assert list(found) == ["version", "command", "ok", "changed", "data", "errors"]
    assert found["version"] == 1
    assert found["ok"] is (done.code == 0)
    assert isinstance(found["changed"], bool)
    assert isinstance(found["data"], dict)
    for error in found["errors"]:
        assert list(error) == ["code", "message", "cause", "fix"]
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", error["code"])
        assert error["code"] != "defect", error
        assert error["message"]
    assert "Traceback" not in done.err
    return found


def code(done: Completed) -> str:
    (error,) = envelope(done)["errors"]
    return str(error["code"])


@pytest.fixture
def program(
    regsetup: Regsetup, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Program]:
    """The program without the 0.3 s of its start, for what ends before anything is done."""
    for name, value in regsetup.environment().items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)

    def call(*args: str) -> Completed:
        code = run(list(args))
        return Completed(code, *capfd.readouterr())

    yield call
    signal.signal(signal.SIGTERM, before)


def test_every_commands_data_is_described() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/json.md").read_text()
    described = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall("`(.*?)`", row)
    }
    assert {spoken(words) for words in WITH_JSON} <= described


@pytest.mark.parametrize("words", WORDS, ids=spoken)
def test_every_command_helps(program: Program, words: tuple[str, ...]) -> None:
    done = program(*words, "--help").ok()
    assert f"regsetup {spoken(words)}" in done.out
    for parameter in COMMANDS[words].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert parameter.opts[0] in done.out
            assert parameter.help, f"{parameter.opts[0]} does not say what it does"
            assert (parameter.metavar or "") in done.out, f"{parameter.opts[0]}: its value is cut in two"
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.err == ""
    shown = "\n".join(line for line in done.out.splitlines() if line.startswith((" Usage:", "│")))
    assert not set(shown) & set("{<"), "a type of Python's stands where a value's name should"


@pytest.mark.parametrize("family", ["bundle", "cert", "schedule", "trust"])
def test_a_family_helps(program: Program, family: str) -> None:
    assert "<" not in program(family, "--help").ok().out
    assert program(family).code == 2


def test_the_short_flag_helps_too(regsetup: Regsetup) -> None:
    assert regsetup("up", "-h").ok().out == regsetup("up", "--help").ok().out


def test_alone_it_shows_what_it_can_do(regsetup: Regsetup) -> None:
    done = regsetup()
    assert done.code == 2
    for command in GROUP.commands:
        assert command in done.out + done.err
    assert "error" not in done.err


def test_the_version_is_told_before_anything_is_imported(regsetup: Regsetup) -> None:
    unmeasured = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "regsetup", "--version"],
        capture_output=True, text=True, check=True, env=unmeasured,
    )  # fmt: skip
    assert done.stdout == f"regsetup {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {name for name in imported if name.startswith("regsetup")} <= {"regsetup", "regsetup.__main__"}
    assert imported & {"typer", "click", "rich", "json", "asyncio", "docker", "yaml", "pathlib2"} == set()
    assert regsetup("--version", "up").ok().out == done.stdout, "beside other words Typer answers it"


@pytest.mark.parametrize("words", WITH_JSON, ids=spoken)
def test_every_command_fails_with_one_envelope(program: Program, words: tuple[str, ...]) -> None:
    done = program(*arguments(words), "--no-such-option", "--json")
    assert done.code == 2
    assert envelope(done)["command"] == spoken(words)
    assert code(done) == "bad-command-line"
    assert envelope(done)["errors"][0]["fix"] == f"regsetup {spoken(words)} --help"
    assert done.err == ""


@pytest.mark.parametrize("words", WITH_NAME, ids=spoken)
def test_every_command_refuses_what_is_no_name(
    program: Program, regsetup: Regsetup, words: tuple[str, ...]
) -> None:
    done = program(*arguments(words), "--name", "../etc", "--json")
    if words in BEFORE_THE_NAME:
        assert code(done) == BEFORE_THE_NAME[words]
    else:
        assert (done.code, code(done)) == (2, "bad-setting")
        assert envelope(done)["errors"][0]["message"].startswith("--name: '../etc'")
    assert not regsetup.home.exists()


@pytest.mark.parametrize("command", NEEDS_REGISTRY)
def test_without_a_registry_it_says_how_to_get_one(
    program: Program, regsetup: Regsetup, command: str
) -> None:
    done = program(*arguments((command,)), "--json")
    assert (done.code, code(done)) == (1, "no-registry")
    assert "regsetup up" in envelope(done)["errors"][0]["fix"]
    assert not regsetup.home.exists(), "asking makes nothing"


def test_to_tear_down_nothing_is_done_already(regsetup: Regsetup) -> None:
    done = regsetup("teardown", "--json")
    assert (done.code, envelope(done)["changed"]) == (0, False)
    assert "nothing to do" in regsetup("teardown").ok().out
    assert regsetup("status", "--all").ok()
    assert regsetup.json("status", "--all")["data"] == {"registries": []}
    assert not regsetup.home.exists()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["nonsense"], "bad-command-line"),
        (["--nonsense"], "bad-command-line"),
        (["up", "superfluous"], "bad-command-line"),
        (["up", "--wait", "soon"], "bad-command-line"),
        (["up", "--wait", "nan"], "bad-setting"),
        (["up", "--wait", "-1"], "bad-setting"),
        (["logs", "--tail", "-1"], "bad-command-line"),
        (["adduser"], "bad-command-line"),
        (["adduser", "alice", "--cost", "free"], "bad-command-line"),
        (["up", "--port", "99999"], "bad-setting"),
        (["up", "--backend", "podman"], "bad-setting"),
        (["up", "--host", "https://registry.lan"], "bad-setting"),
        (["up", "--bind", "registry.lan"], "bad-setting"),
        (["up", "--name", "a b"], "bad-setting"),
        (["up", "--env", "REGISTRY_AUTH=none"], "bad-setting"),
        (["up", "--user", "a:b"], "bad-user-name"),
        (["up", "--user", "a", "--no-auth"], "contradiction"),
        (["up", "--cert", "c.pem"], "contradiction"),
        (["up", "-f", "missing.yaml"], "bad-file"),
        (["up", "--password-stdin"], "user-missing"),
        (["up", "--password-file", "missing", "--dry-run"], "user-missing"),
        (["render", "compose", "--password-stdin"], "user-missing"),
        (["up", "--exit-code"], "contradiction"),
        (["upgrade", "--exit-code"], "contradiction"),
        (["up", "--backend", "embedded", "--machine", "registry.lan"], "embedded-needs-directory"),
        (["trust", "status", "--host", "registry lan", "--insecure"], "bad-endpoint"),
        (["up", "--backend", "embedded", "--data", "d" * 300, "--dry-run"], "bad-setting"),
        (["catalog", "--registry", ""], "bad-endpoint"),
        (["rm", "a:1", "-y", "--registry", ""], "bad-endpoint"),
        (["manifest", "a", "--platform", ""], "bad-platform"),
        (["up", "--bind", "192.0.2.77", "--backend", "embedded", "--dry-run"], "address-not-here"),
    ],
)
def test_wrong_input_is_a_usage_error_with_a_way_on(
    program: Program, regsetup: Regsetup, args: list[str], expected: str
) -> None:
    done = program(*args, "--json")
    assert (done.code, code(done)) == (2, expected)
    (error,) = envelope(done)["errors"]
    assert error["fix"]
    for_people = program(*args)
    assert (for_people.code, for_people.out) == (2, "")
    assert for_people.err.startswith("error: ")
    assert not regsetup.home.exists()


def test_a_wrong_key_in_the_file_is_told_at_its_place(regsetup: Regsetup) -> None:
    regsetup.place.mkdir()
    (regsetup.place / "my.yaml").write_text("prot: 5000\n")
    done = regsetup("up", "-f", str(regsetup.place / "my.yaml"))
    assert done.code == 2
    assert "error: my.yaml:1:1: unknown key 'prot'\n" in done.err
    assert "fix   did you mean 'port'?\n" in done.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the password of alice\n", "certificate-unreadable"),
        ("-----BEGIN PRIVATE KEY-----\n", "private-key-inside"),
    ],
)
@pytest.mark.parametrize("action", ["install", "status", "export"])
def test_only_certificates_are_given_to_clients_as_a_ca(
    program: Program, tmp_path: Path, action: str, text: str, expected: str
) -> None:
    (tmp_path / "ca.pem").write_text(text)
    told = ("--host", "registry.lan:5000", "--ca", str(tmp_path / "ca.pem"), "--json")
    done = program(
        "trust", action, *told, *(("--certs-d", str(tmp_path / "d")) if action == "install" else ())
    )
    assert (done.code, code(done)) == (1 if expected == "certificate-unreadable" else 2, expected)
    assert envelope(done)["errors"][0]["fix"]
    assert [one.name for one in tmp_path.iterdir() if one.name == "d"] == []


def test_an_archive_that_is_not_there_is_told_without_an_engine_too(regsetup: Regsetup) -> None:
    done = regsetup("up", "--backend", "embedded", "--image-archive", "/nowhere/registry.tar", "--json")
    assert (done.code, code(done)) == (1, "bad-image-archive")
    assert envelope(done)["errors"][0]["cause"] == "No such file or directory"
    assert not regsetup.home.exists()


def test_a_home_below_a_file_is_named(regsetup: Regsetup) -> None:
    regsetup.place.mkdir()
    (regsetup.place / "file").touch()
    done = regsetup(
        "up", "--backend", "embedded", env={"REGSETUP_HOME": str(regsetup.place / "file" / "home")}
    )
    assert done.code == 2
    assert "/file/home' is not possible here\n" in done.err
    assert "cause expected a directory, and a file is in its way\n" in done.err


def test_data_in_a_place_that_is_a_file_changes_nothing(regsetup: Regsetup) -> None:
    regsetup.place.mkdir()
    (regsetup.place / "file").write_text("mine")
    where = ("--data", str(regsetup.place / "file"), "--port", str(free_port()))
    done = regsetup("up", "--backend", "embedded", *where)
    assert done.code == 1
    assert "fix   choose another place: something that is no directory stands there\n" in done.err
    assert (regsetup.place / "file").read_text() == "mine"


def test_a_dry_run_of_the_bundled_registry_makes_nothing(regsetup: Regsetup) -> None:
    up = ("up", "--backend", "embedded", "--port", str(free_port()), "--dry-run")
    done = regsetup(*up, "--exit-code", "--json")
    assert done.code == 3
    steps = envelope(done)["data"]["steps"]
    assert [step["action"] for step in steps][-3:] == ["create", "start", "wait for"]
    assert {step["resource"] for step in steps if step["action"] == "start"} == {"service"}
    assert not regsetup.home.exists()
    assert regsetup(*up).code == 0


def test_a_port_that_is_free_is_needed(regsetup: Regsetup) -> None:
    import socket
    from contextlib import closing

    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = regsetup("up", "--backend", "embedded", "--port", str(port), "--json")
    assert (done.code, code(done)) == (1, "port-in-use")
    assert not regsetup.home.exists()


class Running:
    """A registry that the program has brought up, and whatever words bring it up again."""

    def __init__(self, regsetup: Regsetup) -> None:
        self.regsetup = regsetup
        self.port = free_port()
        done = regsetup(
            "up", "--backend", "embedded", "--port", str(self.port), "--user", "alice", "--password-stdin",
            "--no-check", stdin="a-password-of-alice\n",
        )  # fmt: skip
        done.ok()


@pytest.fixture
def running(regsetup: Regsetup) -> Running:
    return Running(regsetup)


@pytest.mark.slow
def test_every_command_succeeds_with_one_envelope(running: Running) -> None:
    regsetup = running.regsetup
    told = [
        ("up", ["up"], False),
        ("up", ["up", "--dry-run"], False),
        ("status", ["status"], False),
        ("status", ["status", "--all"], False),
        ("logs", ["logs", "--tail", "3"], False),
        ("check", ["check"], False),
        ("users", ["users"], False),
        ("adduser", ["adduser", "bob", "--generate"], True),
        ("passwd", ["passwd", "bob", "--generate", "--cost", "standard"], True),
        ("rmuser", ["rmuser", "bob"], True),
        ("teardown", ["teardown"], True),
        ("teardown", ["teardown"], False),
        ("teardown", ["teardown", "--purge", "-y"], True),
    ]
    for command, args, changed in told:
        done = regsetup(*args, "--json")
        found = envelope(done)
        assert (args, done.code, found["changed"]) == (args, 0, changed)
        assert found["command"] == command
        assert done.err == "", "with --json nothing is told beside it"
    assert not regsetup.home.exists()
    assert {command for command, _, _ in told} <= {words[0] for words in WITH_JSON}


@pytest.mark.slow
def test_a_registry_open_to_everybody_proves_no_user_and_loses_him_all_the_same(running: Running) -> None:
    regsetup = running.regsetup
    regsetup("up", "--no-auth", "--no-check").ok()
    assert regsetup.json("rmuser", "nobody")["errors"][0]["code"] == "user-unknown"
    done = regsetup("rmuser", "alice").ok()
    assert done.out == "removed alice  (not proven: the registry asks nobody for a password)\n"
    assert regsetup("users").ok().out == "no users: everybody may push and pull\n"


@pytest.mark.slow
def test_where_there_never_was_a_user_none_is_removed(regsetup: Regsetup) -> None:
    regsetup("up", "--backend", "embedded", "--port", str(free_port()), "--no-check").ok()
    for command in (["rmuser", "bob"], ["passwd", "bob", "--generate"]):
        done = regsetup(*command, "--json")
        assert (done.code, code(done)) == (2, "user-unknown")


@pytest.mark.slow
def test_a_table_in_a_pipe_has_no_blanks_at_its_lines_ends(running: Running) -> None:
    for words in (["status"], ["status", "--all"], ["up", "--port", "1024", "--dry-run"]):
        lines = running.regsetup(*words).ok().out.splitlines()
        assert lines
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.slow
def test_a_ca_is_not_passed_over_where_plain_http_is_spoken(running: Running) -> None:
    done = running.regsetup("catalog", "--ca", "/nowhere/ca.crt", "--json")
    assert (done.code, code(done)) == (2, "ca-without-tls")
    address = f"http://localhost:{running.port}"
    done = running.regsetup("exists", "app:1", "--registry", address, "--ca", "/nowhere/ca.crt", "--json")
    assert (done.code, code(done)) == (2, "ca-without-tls")


@pytest.mark.slow
def test_a_damaged_registry_hides_no_other(running: Running) -> None:
    regsetup = running.regsetup
    (regsetup.home / "broken").mkdir()
    (regsetup.home / "broken" / "state.json").write_text("{")
    (regsetup.home / "edited").mkdir()
    (regsetup.home / "edited" / "state.json").write_bytes(
        (regsetup.home / "registry/state.json").read_bytes()
    )
    (regsetup.home / "edited" / "deployment.yaml").write_text("prot: 1")
    listed = regsetup.json("status", "--all")["data"]["registries"]
    assert [(one["name"], one["state"]) for one in listed] == [
        ("broken", "unknown"),
        ("edited", "unknown"),
        ("registry", "running"),
    ]
    assert "state.json can't be read" in listed[0]["problem"]
    assert "unknown key 'prot'" in listed[1]["problem"]
    assert regsetup("status", "--all").ok().out.count("unknown") >= 2
    assert (regsetup("status", "--name", "broken").code, regsetup("status").code) == (1, 0)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="root gives up its rights for this")
def test_to_others_a_registry_is_said_to_be_another_users(running: Running) -> None:
    environment = dict(os.environ) | running.regsetup.environment()
    for asked in ("users", "teardown", "catalog", "status", "up"):
        said = subprocess.run(
            [sys.executable, "-m", "tests.bed.nobody", asked, "--json"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (error,) = json.loads(said.stdout)["errors"]
        assert (said.returncode, error["code"]) == (1, "registry-of-another"), asked


@pytest.mark.slow
def test_quiet_leaves_results_and_errors(running: Running) -> None:
    regsetup = running.regsetup
    loud = regsetup("up", "--realm", "One", "--no-check").ok()
    assert "create" in loud.err
    silent = regsetup("up", "--realm", "Two", "--no-check", "-q").ok()
    assert silent.err == ""
    assert "is up at" in silent.out
    assert regsetup("rmuser", "nobody", "-q").err.startswith("error: ")


@pytest.mark.slow
def test_exit_codes_tell_what_happened(running: Running) -> None:
    regsetup = running.regsetup
    assert regsetup("status").code == 0
    assert regsetup("up", "--dry-run", "--exit-code").code == 0
    assert regsetup("up", "--realm", "Other", "--dry-run", "--exit-code").code == 3
    assert regsetup("up", "--realm", "Other", "--dry-run").code == 0
    assert regsetup("rmuser", "nobody").code in (1, 2)
    assert regsetup("teardown", "--purge").code == 2, "nobody can be asked"
    regsetup("teardown").ok()
    done = regsetup("status", "--json")
    assert (done.code, envelope(done)["data"]["state"]) == (3, "torn down")
    assert regsetup("check").code == 3, "nothing answers"


@pytest.mark.slow
def test_passwords_come_a_line_each_and_bad_ones_change_nothing(running: Running, tmp_path: Path) -> None:
    regsetup = running.regsetup
    two = ("up", "--user", "bob", "--user", "carol", "--no-check")
    assert code(regsetup(*two, "--password-stdin", "--json", stdin="only-one\n")) == "password-missing"
    assert code(regsetup(*two, "--password-stdin", "--json", stdin="one\n\n")) == "bad-password"
    assert code(regsetup(*two, "--password-stdin", "--json", stdin=f"{'x' * 73}\ny\n")) == "bad-password"
    missing = regsetup(*two, "--password-file", str(tmp_path / "none"), "--json")
    assert (missing.code, code(missing)) == (1, "password-file-unreadable")
    both = regsetup(*two, "--password-stdin", "--password-file", str(tmp_path / "none"), "--json")
    assert (both.code, code(both)) == (2, "usage")
    assert regsetup.json("users")["data"]["users"] == ["alice"]
    (tmp_path / "passwords").write_text("of-bob\nof-carol\n")
    regsetup(*two, "--password-file", str(tmp_path / "passwords")).ok()
    assert regsetup.json("users")["data"]["users"] == ["alice", "bob", "carol"]


@pytest.mark.slow
def test_a_made_up_password_is_shown_once(running: Running) -> None:
    regsetup = running.regsetup
    first = regsetup.json("up", "--user", "dave", "--no-check")
    (dave,) = first["data"]["users"]
    assert len(dave["password"]) >= 22, "128 bits or more"
    assert dave["password"] not in json.dumps(regsetup.json("up", "--user", "dave", "--no-check"))
    shown = regsetup("adduser", "erin").ok()
    assert "(shown once)" in shown.out


@pytest.mark.slow
def test_logs_are_lines_and_a_reader_may_go_away(running: Running) -> None:
    regsetup = running.regsetup
    lines = regsetup("logs").ok().out.splitlines()
    assert lines
    assert regsetup("logs", "--tail", "1").ok().out.splitlines() == lines[-1:]
    assert regsetup("logs", "--tail", "0").ok().out == ""
    assert regsetup.json("logs")["data"]["lines"][: len(lines)] == lines
    head = subprocess.run(
        f"{sys.executable} -m regsetup status --all | head -c 1",
        shell=True, env=dict(os.environ) | regsetup.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert head.stderr == ""


@pytest.mark.slow
def test_names_are_completed_with_the_registries_that_are_here(running: Running) -> None:
    regsetup = running.regsetup
    asked = {
        "_REGSETUP_COMPLETE": "complete_bash",
        "COMP_WORDS": "regsetup status --name reg",
        "COMP_CWORD": "3",
    }
    assert regsetup(env=asked).ok().out.split() == ["registry"]
    nobody = asked | {"COMP_WORDS": "regsetup status --name xyz"}
    assert regsetup(env=nobody).ok().out.split() == []


@pytest.mark.slow
def test_users_are_completed_for_those_who_change_them(running: Running) -> None:
    asked = {"_REGSETUP_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    for command in ("passwd", "rmuser"):
        words = asked | {"COMP_WORDS": f"regsetup {command} al"}
        assert running.regsetup(env=words).ok().out.split() == ["alice"]
    assert running.regsetup(env=asked | {"COMP_WORDS": "regsetup adduser al"}).ok().out.split() == []
    elsewhere = {"COMP_WORDS": "regsetup rmuser --name other al", "COMP_CWORD": "4"}
    assert running.regsetup(env=asked | elsewhere).ok().out.split() == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("up --backend e", ["embedded"]),
        ("up --tls self", ["self-signed"]),
        ("up --trust i", ["insecure"]),
        ("up --daemon re", ["reload", "restart"]),
        ("up --restart-policy on", ["on-failure"]),
        ("migrate --to d", ["docker"]),
        ("restore file --backend d", ["docker"]),
        ("trust install --for pod", ["podman"]),
        ("trust install --daemon n", ["never"]),
        ("render q", ["quadlet"]),
    ],
)
def test_words_that_a_value_may_be_are_completed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], typed: str, completed: list[str]
) -> None:
    monkeypatch.setenv("_REGSETUP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"regsetup {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    with pytest.raises(SystemExit):
        run([])
    assert capfd.readouterr().out.split() == completed


def test_commands_and_options_are_completed(regsetup: Regsetup) -> None:
    words = {
        "_REGSETUP_COMPLETE": "complete_bash",
        "COMP_WORDS": "regsetup tear",
        "COMP_CWORD": "1",
    }
    assert regsetup(env=words).ok().out.split() == ["teardown"]
    options = words | {"COMP_WORDS": "regsetup up --image-", "COMP_CWORD": "2"}
    assert regsetup(env=options).ok().out.split() == ["--image-archive"]


@pytest.mark.parametrize(
    ("shell", "own"), [("bash", "complete -o"), ("zsh", "#compdef regsetup"), ("fish", "complete --command")]
)
def test_completion_is_printed_for_the_shell_that_is_named(regsetup: Regsetup, shell: str, own: str) -> None:
    done = regsetup("--show-completion", shell)
    assert done.code == 0, done.err
    assert "_REGSETUP_COMPLETE" in done.out
    assert own in done.out


def test_a_shell_that_has_no_completion_is_refused(regsetup: Regsetup) -> None:
    done = regsetup("--show-completion", "ksh")
    assert done.code == 2
    assert "'ksh'" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_defect(regsetup: Regsetup, closed: str) -> None:
    """As some supervisors start programs."""
    regsetup.place.mkdir()
    program = f"{sys.executable} -m regsetup"
    up = f"{program} up --backend embedded --port {free_port()} --user alice --no-check {closed}"
    environment = dict(os.environ) | regsetup.environment()
    done = subprocess.run(up, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert regsetup.json("users")["data"]["users"] == ["alice"]
    asked = f"{program} teardown --purge {closed}"
    assert (
        subprocess.run(asked, shell=True, env=environment, capture_output=True, check=False).returncode == 2
    )


@pytest.mark.parametrize("imported", ["regsetup.cli", "regsetup.cli.trust", "regsetup.status"])
def test_stopped_before_it_began_it_says_so(regsetup: Regsetup, imported: str) -> None:
    """Ctrl-C comes while the program is still being read."""
    code = (
        "import os, signal, sys\n"
        "class Finger:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {imported!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finger())\n"
        "from regsetup.__main__ import main\n"
        "sys.argv[1:] = ['status', '--json']\n"
        "sys.exit(main())"
    )
    environment = dict(os.environ) | regsetup.environment()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert [error["code"] for error in json.loads(done.stdout)["errors"]] == ["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("asked", ["--version", "--help", "doctor --explain x509", "tags --json A"])
def test_output_that_can_not_be_written_is_told_and_fails(
    regsetup: Regsetup, asked: str, unbuffered: str
) -> None:
    environment = dict(os.environ) | regsetup.environment() | {"PYTHONUNBUFFERED": unbuffered}

    def into(where: str) -> subprocess.CompletedProcess[str]:
        program = f"{sys.executable} -m regsetup {asked} {where}"
        return subprocess.run(
            ["bash", "-c", program], env=environment, capture_output=True, text=True, check=False
        )

    full = into(">/dev/full")
    assert (full.returncode, full.stderr.splitlines()[:2]) == (
        1,
        ["error: the result can't be written to standard output", "  cause No space left on device"],
    )
    gone = into("| true; exit ${PIPESTATUS[0]}")
    assert gone.stderr == ""
    assert gone.returncode in {0, 1, 2}, "what was written before the reader went away counts"


@pytest.mark.slow
def test_what_a_terminal_cannot_show_is_escaped(regsetup: Regsetup, tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    data = tmp_path / "b\u00efldarna"
    up = ("up", "--backend", "embedded", "--port", str(free_port()), "--data", str(data), "--no-check")
    assert "b\\xefldarna" in regsetup(*up, env=ascii_only).ok().out
    assert "b\\xefldarna" in regsetup("status", env=ascii_only).ok().out


@pytest.mark.slow
def test_what_is_kept_is_its_owners_alone(running: Running) -> None:
    root = running.regsetup.home / "registry"
    open_to_others = [
        str(path)
        for path in [root, *root.rglob("*")]
        if path.name in ("htpasswd", "state.json", "deployment.yaml", "http.secret", "registry")
        and stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    assert open_to_others == []


@pytest.mark.slow
def test_a_variable_that_the_bundled_registry_does_not_read_is_noted_with_the_flag(
    regsetup: Regsetup,
) -> None:
    up = ("up", "--backend", "embedded", "--port", str(free_port()), "--no-auth", "--no-check")
    said = regsetup(*up, "--env", "REGISTRY_STORAGE_MAINTENANCE_READONLY=yes", "--env", "TZ=UTC").ok().out
    told = "--env REGISTRY_STORAGE_MAINTENANCE_READONLY means nothing to the bundled registry"
    assert f"{told}: --read-only does that" in " ".join(said.split())
    assert "TZ means" not in said
    (note,) = [one for one in regsetup.json(*up)["data"]["notes"] if "--env" in one]
    planned = (
        "up",
        "--backend",
        "embedded",
        "--dry-run",
        "--env",
        "REGISTRY_STORAGE_MAINTENANCE_READONLY=yes",
    )
    assert f"note  {told}: --read-only does that\n" in regsetup(*planned).ok().out
    assert regsetup.json(*planned)["data"]["notes"] == [note]
    assert regsetup.json(*planned[:-1], "TZ=UTC")["data"]["notes"] == []
    assert note == f"{told}: --read-only does that"
    regsetup("teardown", "--purge", "-y").ok()


@pytest.mark.slow
def test_where_docker_can_not_be_used_podman_is_what_to_type(regsetup: Regsetup) -> None:
    need("podman")
    up = ("up", "--backend", "embedded", "--port", str(free_port()))
    without = regsetup(*up, env={"DOCKER_HOST": "unix:///nowhere/docker.sock"}).ok().out
    assert "  podman push --tls-verify=false localhost:" in without
    assert "docker push" not in without
    regsetup("teardown", "--purge", "-y").ok()
