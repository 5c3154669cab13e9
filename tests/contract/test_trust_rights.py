"""Somebody who is not root: what is theirs is done, what is root's is named, with the command for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca
from regsetup.backends.engine import DEFAULT_ENGINE, find_address
from regsetup.trust import rights
from regsetup.trust.base import Edit, Plan
from tests.bed.clients import Completed, run
from tests.bed.rights import as_nobody
from tests.bed.run import free_port, missing, need

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ADDRESS = "registry.lan:5000"
CA_OF_DOCKER = Path("/etc/docker/certs.d")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of nobody's, who may use no engine."""
    if os.geteuid() != 0:
        missing("only root can become somebody else")
    need("podman")
    if not CA_OF_DOCKER.parent.is_dir():
        missing("no Docker is installed here")
    place = Path(tempfile.mkdtemp(prefix="rtn", dir="/tmp"))
    shutil.chown(place, "nobody", "nogroup")
    yield place
    shutil.rmtree(place)


def nobody(home: Path, *args: str) -> Completed:
    env = {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "DOCKER_HOST": "unix:///nonexistent.sock",
        "NO_COLOR": "1",
    }
    return run([sys.executable, "-m", "tests.bed.nobody", *args], env=env)


def said(done: Completed) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_what_is_roots_is_named_with_the_command_and_the_rest_is_done(home: Path) -> None:
    told = ("--host", ADDRESS, "--insecure")
    done = nobody(home, "trust", "install", *told, "--json")
    error = said(done)["errors"][0]
    assert (done.code, error["code"]) == (1, "needs-root")
    assert "/etc/docker/daemon.json" in error["message"]
    assert error["fix"] == f"regsetup trust export --host {ADDRESS} --insecure --for docker | sudo sh"
    drop_in = home / ".config/containers/registries.conf.d/50-regsetup-registry.lan-5000.conf"
    assert ADDRESS in drop_in.read_text()
    assert said(nobody(home, "trust", "remove", "--host", ADDRESS, "--json"))["changed"]
    assert not drop_in.exists()


def test_the_store_of_the_system_is_no_error_unless_it_was_asked_for(home: Path) -> None:
    """The twin: what only root may write, and nobody asked for."""
    need("update-ca-certificates")
    authority = new_ca("test", Names.of(["registry.lan"]), datetime.now(UTC))
    (home / "ca.crt").write_bytes(authority.certificate)
    told = ("--host", ADDRESS, "--ca", str(home / "ca.crt"))
    asked = nobody(home, "trust", "install", *told, "--for", "podman", "--for", "system")
    assert (asked.code, "--for system | sudo sh" in asked.err) == (1, True)
    assert nobody(home, "trust", "install", *told, "--for", "podman").code == 0


def test_up_plans_what_it_may_and_names_the_rest(home: Path) -> None:
    up = ("up", "--bind", "0.0.0.0", "--host", "127.0.0.9", "--no-auth", "--backend", "embedded", "--dry-run")
    more = ("--port", str(free_port("0.0.0.0")), "--json")
    refused = nobody(home, *up, *more, "--trust", "ca")
    assert (refused.code, said(refused)["errors"][0]["code"]) == (1, "needs-root")
    steps = {
        step["target"].partition(" ")[0]: step
        for step in said(nobody(home, *up, *more).ok())["data"]["steps"]
        if step["resource"] == "trust"
    }
    assert (steps["podman"]["changes"], steps["docker"]["changes"]) == (True, False)
    assert steps["docker"]["reason"].endswith("regsetup trust export --for docker | sudo sh")


def test_a_file_may_be_written_where_its_directory_may(home: Path) -> None:
    mine, closed = home / "a" / "b" / "daemon.json", home / "closed"
    closed.mkdir(mode=0o755)
    (closed / "there").touch()
    with as_nobody():
        for path, expected in ((mine, True), (closed / "new", False), (closed / "there", False)):
            assert rights.may_write(path) is expected, path
        plan = Plan((Edit(mine, None, b"x"), Edit(closed / "new", None, b"x"), Edit(closed / "x", b"", b"")))
        assert rights.closed(plan) == (closed / "new",)
        assert rights.by_root(("--name", "a b")) == "regsetup trust export --name 'a b' | sudo sh"
    assert rights.by_root((), ["docker"]) == "regsetup trust install --for docker"


def test_a_rootless_engine_is_found_by_its_socket_where_the_machines_is_closed(home: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(home), "HOME": str(home)}
    with as_nobody():
        assert find_address(environ)[0] == DEFAULT_ENGINE
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(str(home / "docker.sock"))
            assert find_address(environ)[0] == f"unix://{home}/docker.sock"
            assert find_address(environ | {"DOCKER_HOST": "unix:///other"})[0] == "unix:///other"
