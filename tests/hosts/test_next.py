"""The commands that `up` ends with, taken from its own output and typed: here, and on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bed.images import tiny_archive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

PASSWORD = "correct horse battery staple"
BY_SSH = " | ssh HOST sudo sh"


@pytest.fixture(scope="module")
def registries(server: Host, registry_archive: Path) -> Host:
    server.start_engine()
    server.copy(registry_archive, "/root")
    server.write("/root/password", f"{PASSWORD}\n", mode=0o600)
    server.write("/root/image.tar", tiny_archive("hello:1"))
    server("docker", "load", "-i", "/root/image.tar").ok()
    return server


@pytest.fixture(scope="module")
def client(host_factory: HostFactory) -> Host:
    """A host with an engine, and without regsetup."""
    host = host_factory("client")
    host.start_engine()
    host.write("/root/image.tar", tiny_archive("hello:1"))
    host("docker", "load", "-i", "/root/image.tar").ok()
    return host


def commands(said: str, heading: str) -> list[str]:
    """Return the indented lines below ``heading``."""
    block = said.partition(f"{heading}\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


def typed(host: Host, command: str) -> Completed:
    """Type a command at a terminal of ``host``, and the password where it asks for one."""
    line = command.replace("IMAGE", "hello:1")
    if " login " not in line:
        return host("sh", "-c", line)
    return host("script", "-qec", line, "/dev/null", stdin=f"{PASSWORD}\n")


@pytest.mark.parametrize("backend", ["docker", "embedded"])
@pytest.mark.parametrize("kind", ["", " --insecure"], ids=["tls", "plain"])
def test_what_up_prints_logs_in_and_pushes_on_this_machine_and_on_another(
    registries: Host, client: Host, registry_image: str, backend: str, kind: str
) -> None:
    up = f"up --name team --bind 0.0.0.0 --host server --user alice --password-file /root/password{kind}"
    archive = f" --image {registry_image} --image-archive /root/registry.tar" if backend == "docker" else ""
    said = registries.sh(f"regsetup {up} --backend {backend}{archive}").ok().out
    to_type = commands(said, "Next:")
    assert [line.split()[:2] for line in to_type] == [["docker", word] for word in ("login", "tag", "push")]
    for command in to_type:
        typed(registries, command).ok()
    (once,) = commands(said, "For each other machine, once:")
    assert once.endswith(BY_SSH)
    assert typed(client, to_type[0]).code != 0, "it is not told yet"
    script = registries.sh(once.removesuffix(BY_SSH)).ok().out
    client("sh", stdin=script).ok()
    for command in to_type:
        typed(client, command).ok()
    for host in (registries, client):
        host("docker", "logout", "server:5000").ok()
    client("sh", "-s", "--", "--remove", stdin=script).ok()
    registries("regsetup", "teardown", "--name", "team", "--purge", "-y").ok()
