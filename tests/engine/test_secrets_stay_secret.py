"""A password that regsetup was given is nowhere to be found: not while it runs, not afterwards."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.deployed import Deployed

pytestmark = pytest.mark.engine

OLD, NEW, BOBS = "Old-Passw0rd-of-alice", "New-Passw0rd-of-alice", "B0bs-Passw0rd-is-long"


def traces() -> list[bytes]:
    """Every form in which a password could lie somewhere: as it is, and as HTTP's Basic auth carries it."""
    pairs = [("alice", OLD), ("alice", NEW), ("bob", BOBS)]
    basic = [base64.b64encode(f"{user}:{password}".encode()).rstrip(b"=") for user, password in pairs]
    return [*(password.encode() for _, password in pairs), *basic]


class Watch:
    """Reads the arguments and the environment of every process of the machine, again and again."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.rounds = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    self._look(entry)
            self.rounds += 1
            self._end.wait(0.01)

    def _look(self, entry: Path) -> None:
        try:
            seen = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:  # it ended, or is another user's
            return
        if any(trace in seen for trace in traces()):
            self.found.add(seen.replace(b"\0", b" ").decode(errors="replace"))


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch() as watching:
        yield watching


def test_the_watch_would_see_a_password_in_arguments(watch: Watch) -> None:
    """The failing twin: without it, all that follows would prove nothing."""
    import subprocess
    import sys

    from tests.bed.run import wait_for

    with subprocess.Popen([sys.executable, "-c", "input()", OLD], stdin=subprocess.PIPE) as process:
        wait_for("the watch", lambda: watch.found)
        process.communicate(b"\n")


def test_no_password_is_left_anywhere(deployed: Deployed, watch: Watch, tmp_path: Path) -> None:
    debug = {"REGSETUP_DEBUG": "1"}
    (tmp_path / "passwords").write_text(f"{NEW}\n")
    said = []

    def run(*args: str, stdin: str | None = None, code: int = 0) -> None:
        done = deployed(*args, stdin=stdin, env=debug)
        assert done.code == code, done.err
        said.append(done.out + done.err)

    up = ("up", "--backend", "docker", "--port", str(deployed.port), "--user", "alice", "--password-stdin")
    run(*up, "--env", "REGISTRY_STORAGE=nonsense", stdin=f"{OLD}\n", code=1)
    run(*up, "--env", "REGISTRY_LOG_LEVEL=debug", stdin=f"{OLD}\n")
    run("adduser", "bob", "--password-stdin", "--json", stdin=f"{BOBS}\n")
    run("adduser", "bob", "--password-stdin", stdin=f"{BOBS}\n", code=2)
    run("passwd", "alice", "--password-file", str(tmp_path / "passwords"))
    run("passwd", "alice", "--password-stdin", stdin=f"{OLD}{'x' * 72}\n", code=2)
    run("check")
    run("status", "--json")
    run("logs")
    run("up", "--realm", "Another", "--json")
    (tmp_path / "passwords").unlink()

    inspected = json.dumps(deployed.container().attrs)
    logged = deployed.container().logs().decode()
    secret = (deployed.regsetup.home / "registry" / "http.secret").read_text().strip()
    assert secret not in inspected
    assert secret not in logged
    assert secret not in "".join(said)
    places = {"output": "".join(said), "inspect": inspected, "container's log": logged}
    files = {str(path): path.read_bytes() for path in deployed.regsetup.place.rglob("*") if path.is_file()}
    assert files
    for place, content in [*((place, text.encode()) for place, text in places.items()), *files.items()]:
        for trace in traces():
            assert trace not in content, place
    assert watch.rounds > 10
    assert watch.found == set()


def test_files_with_secrets_are_their_owners_alone(deployed: Deployed) -> None:
    deployed.up_with_alice("--tls", "self-signed").ok()
    root = deployed.regsetup.home / "registry"
    modes = {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}
    for name in ("http.secret", "config.yml", "htpasswd", "state.json", "deployment.yaml"):
        assert modes[name] == 0o600, name
    for name, mode in modes.items():
        if name.endswith(".key"):
            assert mode == 0o600, name
    assert root.stat().st_mode & 0o077 == 0
