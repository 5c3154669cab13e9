"""The documentation and the program say the same; ``tests.bed.docs`` tells how a block is marked."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docs import record
from regsetup.cli import run as program
from regsetup.settings import FIELDS
from tests.bed.docs import Block, blocks, calls, matches, run
from tests.bed.processes import end_marked
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.engine import PrivateEngine
    from tests.bed.sshd import Sshd

ROOT = Path(__file__).parents[2]
PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
BLOCKS = [block for path in FILES for block in blocks(str(path.relative_to(ROOT)), path.read_text())]
RUN = {
    name: [one for one in BLOCKS if one.file == name and one.runs and not one.needs_systemd]
    for name in {one.file for one in BLOCKS}
}  # what needs systemd runs on a whole host: tests/hosts/test_keep.py


def _cases(needs: str) -> list[str]:
    return sorted(file for file, found in RUN.items() if found and _needs(found) == needs)


def _needs(found: list[Block]) -> str:
    if any(one.needs_ssh for one in found):
        return "ssh"
    return "engine" if any(one.needs_engine for one in found) else ""


def _name(block: Block) -> str:
    return f"{block.file}:{block.line}"


def _environment(home: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "REGSETUP_HOME": str(home / "regsetup"),
        "DOCKER_CONFIG": str(home / ".docker"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        **more,
    }


def _links(text: str) -> list[str]:
    """Return the targets of Markdown links that lead to files of this project."""
    outside_code = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)", outside_code, re.MULTILINE)
    return [one for pair in targets for one in pair if one and not one.startswith(("http", "#"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_in_the_docs_leads_somewhere(path: Path) -> None:
    lost = [one for one in _links(path.read_text()) if not (path.parent / one.partition("#")[0]).exists()]
    assert not lost


def test_a_link_is_seen_where_it_is_one_and_not_in_code() -> None:
    text = "[a](b.md) ![c](d.svg#e) [f](https://g) `[h](i)`\n```sh\n[j](k)\n```\n[l]: m.md\n"
    assert _links(text) == ["b.md", "d.svg#e", "m.md"]


@functools.cache
def _help(*command: str) -> str:
    """Return what a process of its own would print (the next test holds that), in a tenth of the time."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        for name, value in PLAIN.items():
            patch.setenv(name, value)
        assert program([*command, "--help"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("command", [(), ("up",), ("trust", "export")], ids=" ".join)
def test_the_help_that_is_compared_is_what_a_process_prints(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "regsetup", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ) | PLAIN,
    )
    assert done.stdout == _help(*command)


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.check[:1] == ("help",)], ids=_name)
def test_help_blocks_are_what_the_program_prints(block: Block) -> None:
    assert matches(block.text, _help(*block.check[1:])), _help(*block.check[1:])


@pytest.mark.parametrize("block", [one for one in BLOCKS if calls(one)], ids=_name)
def test_every_command_and_flag_in_the_docs_exists(block: Block) -> None:
    for arguments in calls(block):
        command = _command([word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word)])
        known = set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", _help(*command))) | {"--help"}
        flags = {word.partition("=")[0] for word in arguments if re.fullmatch(r"--?[a-zA-Z].*", word)}
        assert flags <= known, f"{_name(block)}: regsetup {' '.join(command)} has no {flags - known}"


def _command(words: list[str]) -> tuple[str, ...]:
    """Return the command that ``words`` begin with: as many as the help texts know, ``trust install`` say."""
    command: tuple[str, ...] = ()
    for word in words:
        listed = _help(*command).partition("╰")[2]  # below the options
        if not re.search(rf"^│ {re.escape(word)}\s", listed, re.MULTILINE):
            break
        command = (*command, word)
    assert command or not words, f"there is no command {words[0]!r}"
    return command


def test_every_command_stands_in_the_readme() -> None:
    listed = re.findall(r"^│ ([a-z]+) ", _help().partition("╰")[2], re.MULTILINE)
    said = set(re.findall(r"`(?:regsetup )?([a-z]+)[^`]*`", (ROOT / "README.md").read_text()))
    assert len(listed) > 10
    assert set(listed) <= said


def test_every_setting_stands_in_the_reference() -> None:
    rows = (ROOT / "docs/reference/settings.md").read_text().splitlines()
    keys = {key for row in rows if row.startswith("| `") for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    known = FIELDS.keys() | {field.plural for field in FIELDS.values() if field.plural}
    assert known <= keys
    assert {key for key in keys if key.islower()} <= known


@pytest.mark.slow
def test_the_reference_is_what_make_docs_writes() -> None:
    command = [sys.executable, "-m", "docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home and a working directory; podman's storage is its own; what was left running is ended."""
    state = Path(tempfile.mkdtemp(prefix="rtp", dir="/tmp"))  # podman takes no longer path
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{state}/run"\ngraphroot = "{state}/graph"\n'
    )
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{}")  # podman refuses DOCKER_CONFIG without it
    yield tmp_path
    end_marked(str(tmp_path))
    shutil.rmtree(state)


def _run_all(file: str, place: Path, env: dict[str, str]) -> None:
    ports = {"5000": str(free_port()), "5001": str(free_port())}
    source = (ROOT / file).parent
    if source.parent.name == "examples":
        for path in source.iterdir():
            text = path.read_text()
            for written, used in ports.items():
                text = text.replace(written, used)
            (place / path.name).write_text(text)
    for block in RUN[file]:
        run(block, place, env, ports)


@pytest.mark.slow
@pytest.mark.parametrize("file", _cases(""))
def test_commands_in_the_docs_do_what_they_say(file: str, home: Path) -> None:
    _run_all(file, home, _environment(home, DOCKER_HOST=f"unix://{home}/no-engine-here"))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("file", _cases("engine"))
def test_commands_in_the_docs_that_need_an_engine_do_what_they_say(
    file: str, home: Path, private_engine: PrivateEngine
) -> None:
    _run_all(file, home, _environment(home, DOCKER_HOST=private_engine.url))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("file", _cases("ssh"))
def test_commands_in_the_docs_that_need_another_machine_do_what_they_say(
    file: str, home: Path, sshd: Sshd
) -> None:
    here = _environment(home, DOCKER_HOST=f"unix://{home}/no-engine-here", REGSETUP_TRUST="none")
    _run_all(file, home, here | {"PATH": f"{sshd.way()['PATH'].partition(':')[0]}:{here['PATH']}"})


# The checker itself.

TEXT = """\
Some prose.

<!-- check: run exit=3 -->
```console
$ echo hello; echo world
hello
...
$ echo "port 5000" \\
>   && exit 3
port 5000
```

- an item
  ```sh
  # a comment, and a call
  sudo regsetup up --port 5000 --user alice | cat
  ```
"""


def test_a_block_is_read_with_its_check_and_its_place() -> None:
    first, second = blocks("a.md", TEXT)
    assert (first.line, first.language, first.runs, first.exit_code) == (5, "console", True, 3)
    assert first.commands[0] == ("echo hello; echo world", "hello\n...\n")
    assert (second.check, second.text.splitlines()[0]) == ((), "# a comment, and a call")
    assert calls(first) == []
    assert calls(second) == [["up", "--port", "5000", "--user", "alice"]]


def test_a_block_runs_with_other_ports(tmp_path: Path) -> None:
    run(blocks("a.md", TEXT)[0], tmp_path, os.environ, {"5000": "4711"})


@pytest.mark.parametrize(
    ("old", "new"), [("exit 3\n", "exit 0\n"), ("hello\n...", "bye\n..."), ("exit=3", "exit=2")]
)
def test_a_block_that_is_wrong_fails(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(AssertionError):
        run(blocks("a.md", TEXT.replace(old, new))[0], tmp_path, os.environ, {})


@pytest.mark.parametrize(
    "text", ["```sh\nno end\n", "<!-- check: run -->\nprose\n", "<!-- check: dance -->\n```sh\n```\n"]
)
def test_a_check_that_could_be_lost_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"a\.md:"):
        blocks("a.md", text)


def test_trailing_blanks_do_not_matter_and_words_do() -> None:
    assert matches("a  \nb ... d\n", "a\nb c\nc d")
    assert not matches("a\nb", "a\nc")


def test_without_what_the_recording_needs_its_picture_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = ROOT / "docs" / "session.svg"
    before = picture.stat()
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    record.main()
    assert capsys.readouterr().out == "docs/session.svg stays as it is: a private dockerd needs root\n"
    assert picture.stat().st_mtime_ns == before.st_mtime_ns
