"""The command that reaches an engine by ssh, what its refusals mean, and who runs elsewhere at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup.backends.choice import settings_of_engine
from regsetup.backends.engine import is_elsewhere, machine
from regsetup.deployment import Backend, Deployment, Directory
from regsetup.host import ssh
from regsetup.host.process import ProgramMissing, dial
from regsetup.state import Kind, State

if TYPE_CHECKING:
    from collections.abc import Callable

WANTED = Deployment("registry", Directory(Path("/data")))


@pytest.mark.parametrize(
    ("address", "end"),
    [
        ("ssh://build1", ["--", "build1", "docker", "system", "dial-stdio"]),
        ("ssh://me@build1:2222", ["-l", "me", "-p", "2222", "--", "build1"]),
        ("ssh://build1/", ["build1", "docker", "system", "dial-stdio"]),
        ("ssh://build1/run/d.sock", ["docker", "--host", "unix:///run/d.sock", "system", "dial-stdio"]),
        ("ssh://build1/x;reboot", ["docker", "--host", "unix://'/x;reboot'", "system", "dial-stdio"]),
        ("ssh://-oProxyCommand=x@build1", ["-l", "-oProxyCommand=x", "--", "build1"]),
    ],
)
def test_the_command_is_dockers_own_and_nothing_in_an_address_is_an_option(
    address: str, end: list[str]
) -> None:
    words = ssh.command(address)
    assert words[:4] == ["ssh", "-T", "-o", "BatchMode=yes"]
    assert any(words[at : at + len(end)] == end for at in range(len(words)))


@pytest.mark.parametrize("address", ["ssh://", "ssh://me@", "ssh://build1:port"])
def test_an_address_without_a_host_or_with_a_port_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|Port"):
        ssh.command(address)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("Host key verification failed.", "accept it once: ssh -p 22 me@build1 true"),
        ("me@build1: Permission denied (publickey).", "ssh-copy-id -p 22 me@build1"),
        ("sh: 1: docker: not found", "install the docker command"),
        ("Could not resolve hostname build1", "mend the name"),
        ("something else", "ssh -p 22 me@build1 docker version must succeed"),
        ("", "must succeed without a question"),
    ],
)
def test_a_refusal_says_what_mends_it(said: str, fix: str) -> None:
    error = ssh.SshFailed("ssh://me@build1:22", said)
    assert error.cause == (said or "ssh said nothing")
    assert fix in (error.fix or "")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("unix:///var/run/docker.sock", None),
        ("http+unix:///var/run/docker.sock", None),
        ("tcp://127.0.0.1:2375", None),
        ("tcp://localhost:2375", None),
        ("tcp://[::1]:2375", None),
        ("nonsense", None),
        ("tcp://[::1", None),
        ("tcp://192.0.2.7:2376", "192.0.2.7"),
        ("ssh://me@localhost", "localhost"),  # there may be another user's engine, and other files
    ],
)
def test_an_engine_is_elsewhere_by_its_address(address: str, name: str | None) -> None:
    assert (is_elsewhere(address), machine(address)) == (name is not None, name)


def program(directory: Path, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "ssh").write_text(f"#!/bin/sh\n{text}\n")
    (directory / "ssh").chmod(0o755)


def test_an_alias_of_ssh_is_known_by_its_real_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, 'echo "user me"; echo "hostname 192.0.2.9"')
    assert ssh.real_name("no-such-host.invalid") == "192.0.2.9"
    assert ssh.real_name("localhost") == "localhost"
    program(tmp_path, "exit 255")
    assert ssh.real_name("no-such-host.invalid") == "no-such-host.invalid"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert ssh.real_name("no-such-host.invalid") == "no-such-host.invalid"


def test_a_program_is_spoken_to_and_its_last_words_are_kept() -> None:
    dialed = dial(["sh", "-c", "read line; echo got $line; echo sorry >&2"])
    with dialed.sock as sock:
        assert dialed.last_words(0) is None
        sock.sendall(b"hello\n")
        assert sock.recv(100) == b"got hello\n"
        assert dialed.last_words(10) == "sorry"
    with pytest.raises(ProgramMissing):
        dial(["no-such-program-anywhere"])


FAR = {"DOCKER_HOST": "tcp://192.0.2.7:2376"}


def state(engine: str | None, kind: Kind | None) -> State:
    found = State.new("registry", "docker" if engine else "embedded", engine)
    return found.with_entry(kind, "registry") if kind else found


@pytest.mark.parametrize(
    ("seen", "environ", "expected"),
    [
        (lambda: None, FAR, "192.0.2.7"),
        (lambda: None, {"DOCKER_HOST": "unix:///run/docker.sock"}, None),
        (lambda: None, {"DOCKER_CONTEXT": "nobody-made-it"}, None),
        (lambda: state("tcp://192.0.2.8:2376", Kind.CONTAINER), FAR, "192.0.2.8"),
        (lambda: state("unix:///run/docker.sock", Kind.CONTAINER), FAR, None),
        (lambda: state(None, Kind.SERVICE), FAR, None),
        (lambda: state("unix:///run/docker.sock", None), FAR, "192.0.2.7"),
    ],
)
def test_the_machine_is_that_of_the_engine_it_has_or_will_have(
    seen: Callable[[], State | None], environ: dict[str, str], expected: str | None
) -> None:
    found = settings_of_engine(WANTED, seen(), environ)
    assert ({key: one.texts for key, one in found.items()}) == ({"machine": (expected,)} if expected else {})


def test_who_asks_for_the_bundled_registry_or_names_the_machine_is_not_told_otherwise() -> None:
    embedded = Deployment("registry", Directory(Path("/data")), backend=Backend.EMBEDDED)
    named = Deployment("registry", Directory(Path("/data")), machine="build1")
    assert settings_of_engine(embedded, None, FAR) == {}
    assert settings_of_engine(named, None, FAR) == {}
