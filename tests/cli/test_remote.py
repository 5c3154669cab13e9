"""The way to this machine's own registry: as its owner, as who docker knows, by every address, over TLS."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.bed.run import free_port

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse-battery"


def test_the_owner_enters_a_registry_of_this_machine_without_a_password(regsetup: Regsetup) -> None:
    port = free_port()
    options = ["--backend", "embedded", "--no-check", "--port", str(port), "--tls", "self-signed"]
    regsetup("up", *options, "--user", "alice", "--password-stdin", stdin=f"{PASSWORD}\n").ok()
    users = regsetup.home / "registry" / "auth" / "htpasswd"
    before = users.read_text()
    assert regsetup("catalog").ok().out == ""
    with ThreadPoolExecutor() as pool:  # at the same time, each under a name of its own
        addresses = [[], ["--registry", f"localhost:{port}"], ["--registry", f"127.0.0.1:{port}"]]
        for done in pool.map(lambda more: regsetup("catalog", *more), addresses):
            done.ok()
    assert users.read_text() == before
    assert regsetup("exists", f"localhost:{port}/app").code == 3
    refused = regsetup("exists", "app", "-u", "alice", "--password-stdin", stdin="wrong\n")
    assert (refused.code, "refuses 'alice'" in refused.err) == (1, True)

    # A password that docker keeps is used; one that does not enter any more leaves the owner's right.
    assert (
        f"alice enters localhost:{port}"
        in regsetup("login", "-u", "alice", "--password-stdin", stdin=f"{PASSWORD}\n").ok().out
    )
    assert regsetup("catalog").ok().out == ""
    regsetup("passwd", "alice", "--generate").ok()
    assert regsetup("catalog").ok().out == ""
    assert json.loads(regsetup("logout", "--json").ok().out)["data"]["erased"].keys() == {f"localhost:{port}"}


def test_who_is_nobody_is_asked_on_a_terminal(regsetup: Regsetup) -> None:
    port = free_port()
    options = ["--backend", "embedded", "--no-check", "--port", str(port), "--user", "alice"]
    regsetup("up", *options, "--password-stdin", stdin=f"{PASSWORD}\n").ok()
    elsewhere = {"REGSETUP_HOME": str(regsetup.place / "elsewhere")}  # to this one it is a registry of others
    assert regsetup("catalog", "--registry", f"localhost:{port}", env=elsewhere).code == 1
    with regsetup.on_terminal("catalog", "--registry", f"localhost:{port}", env=elsewhere) as terminal:
        terminal.expect(f"User for localhost:{port}")
        terminal.send("alice")
        terminal.expect("Password for alice")
        terminal.send(PASSWORD)
        assert terminal.wait().code == 0
    with regsetup.on_terminal("login", f"localhost:{port}", "-u", "alice", env=elsewhere) as terminal:
        terminal.expect("Password for alice")
        terminal.send("wrong")
        assert terminal.wait().code == 1
    with regsetup.on_terminal("login", f"localhost:{port}", env=elsewhere) as terminal:
        terminal.expect("User for")
        terminal.send("")
        assert terminal.wait().code == 2


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("inspect te", ["team/app", "team/other"]),
        ("tags x", []),
        ("rm team/app:1", ["team/app:1.0", "team/app:1.1"]),
        ("exists none:", []),
        ("exists ../x:", []),
        ("tags --name elsewhere t", []),
    ],
)
def test_repositories_and_tags_of_this_machine_are_completed(
    regsetup: Regsetup, words: str, shown: list[str]
) -> None:
    root = regsetup.home / "registry"
    manifests = root / "data/docker/registry/v2/repositories/team"
    for place in ("app/_manifests/tags/1.0", "app/_manifests/tags/1.1", "app/_layers", "other/_manifests"):
        (manifests / place).mkdir(parents=True)
    (root / "state.json").write_text("{}")
    (root / "deployment.yaml").write_text("port: 5000\n")
    asked = {
        "_REGSETUP_COMPLETE": "complete_bash",
        "COMP_WORDS": f"regsetup {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    assert regsetup(env=asked).ok().out.split() == shown
