"""``regsetup logs`` of a detached registry, and the log's files, which do not grow for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.registry.logfile import LIMIT, LogFile
from tests.bed.run import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow


@pytest.fixture
def port(regsetup: Regsetup) -> int:
    """A registry that no systemd looks after."""
    port = free_port()
    up = ("up", "--backend", "embedded", "--port", str(port), "--no-auth", "--no-check")
    regsetup(*up, env={"XDG_RUNTIME_DIR": ""}).ok()
    return port


def ask(port: int, tag: str) -> None:
    with RegistryClient(Endpoint(f"http://127.0.0.1:{port}")) as client:
        assert client.head_manifest("app", tag) is None


@contextmanager
def following(regsetup: Regsetup) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run ``logs -f``; yields the process, and the lines that it writes as they come."""
    words, env = [sys.executable, "-m", "regsetup", "logs", "-f"], {**os.environ, **regsetup.environment()}
    with subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        out, heard = process.stdout, list[str]()
        reader = threading.Thread(target=lambda: heard.extend(iter(out.readline, "")))
        reader.start()
        try:
            yield process, heard
        finally:
            process.kill()
            reader.join(10)


def test_it_is_followed_across_files_until_control_c(regsetup: Regsetup, port: int) -> None:
    root = regsetup.home / "registry"
    log = root / "registry.log"
    if not log.exists():
        pytest.skip("systemd's journal has the log")
    with following(regsetup) as (process, heard):
        for number in range(4):
            for tag in (f"before-{number}", f"full-{number}", f"after-{number}"):
                if tag.startswith("full"):
                    os.truncate(log, LIMIT)
                ask(port, tag)
                wait_for(tag, lambda tag=tag: any(f"/{tag} " in line for line in heard))  # type: ignore[misc]
            assert log.stat().st_size < LIMIT
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    names = sorted(path.name for path in root.glob("registry.log*"))
    assert names == ["registry.log", "registry.log.1", "registry.log.2"], "older ones go"
    assert "/after-3 " in regsetup("logs", "--tail", "1").ok().out
    last = regsetup("logs", "--tail", "2").ok().out.splitlines()
    assert "/full-3 " in last[0], "the last lines may be in two files"
    regsetup("teardown").ok()
    assert not list(root.glob("registry.log*"))


def test_a_log_that_can_not_be_written_is_explained(regsetup: Regsetup, tmp_path: Path) -> None:
    serve = ("serve", "--port", str(free_port()), "--no-auth", "--data", str(tmp_path / "data"))
    done = regsetup(*serve, "--log-file", str(tmp_path / "gone/log"))
    assert done.code == 1
    assert f"the log can't be written: {tmp_path}/gone/log" in done.err
    assert "cause No such file or directory" in done.err


def test_where_it_can_not_be_renamed_the_log_goes_on(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"log.{number}/somebody's").mkdir(parents=True)
    program = (
        "import os, sys; from pathlib import Path; from regsetup.registry.logfile import LogFile;"
        "log = LogFile(Path(sys.argv[1]), 4); log.open();"
        "[(os.write(2, b'some words\\n'), log.turn()) for _ in range(3)]"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "log")], check=True)
    assert (tmp_path / "log").read_text() == "some words\n" * 3
    assert LogFile(tmp_path / "log").limit == LIMIT
