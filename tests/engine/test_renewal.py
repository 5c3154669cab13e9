"""A certificate renewed while clients pull and push; and the old one back if the new one fails."""

from __future__ import annotations

import os
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.client.errors import AnswerCut, RegistryError, Unreachable
from regsetup.deploy import Manner, deploy
from regsetup.deployment import Paths
from regsetup.load import load
from regsetup.step import Action
from regsetup.waiting import NotHealthy
from tests.bed.dying import Killer
from tests.bed.run import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.step import Step
    from tests.bed.deployed import Deployed

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PAUSE = 15.0  # seconds that registry:2 may be away on a busy machine; it is 1 to 3 on an idle one


@dataclass
class Load:
    """Two clients that push and pull without pause, each on connections of its own."""

    where: Endpoint
    done: int = 0
    failed: list[tuple[float, RegistryError]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            with RegistryClient(self.where, patience=0) as client:
                try:
                    content = os.urandom(1 << 14)
                    digest = client.put_blob("team/app", content)
                    assert b"".join(client.get_blob("team/app", digest)) == content
                    self.done += 1
                except RegistryError as error:
                    self.failed.append((time.monotonic(), error))
                    time.sleep(0.02)  # as a person's client: it does not hammer a closed port

    @property
    def pause(self) -> float:
        """Seconds between the first and the last failure."""
        return self.failed[-1][0] - self.failed[0][0] if self.failed else 0.0


@contextmanager
def loaded(where: Endpoint) -> Iterator[Load]:
    running = Load(where)
    threads = [threading.Thread(target=running.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        for thread in threads:
            thread.join()


def shown(deployed: Deployed) -> str:
    return ssl.get_server_certificate(("127.0.0.1", deployed.port))


def up(deployed: Deployed, backend: str) -> Endpoint:
    port = ("--port", str(deployed.port), "--no-check")
    deployed("up", "--backend", backend, "--tls", "self-signed", *port).ok()
    ca = deployed.regsetup.home / "registry" / "certs" / "ca.crt"
    return Endpoint(f"https://127.0.0.1:{deployed.port}", ca=ca)


@pytest.mark.parametrize("backend", ["embedded", "docker"])
def test_a_renewal_under_load(deployed: Deployed, backend: str) -> None:
    """The bundled registry fails no request; registry:2, which must start again, is away for a moment."""
    where = up(deployed, backend)
    before = shown(deployed)
    with loaded(where) as clients:
        wait_for("the load", lambda: clients.done > 5)
        done = deployed.regsetup.json("cert", "renew")
        assert done["ok"], done["errors"]
        served = clients.done
        wait_for("the load to go on", lambda: clients.done > served + 5)
    assert shown(deployed) != before
    actions = [f"{one['action']} {one['resource']}" for one in done["data"]["steps"] if one["changes"]]
    if backend == "embedded":
        assert actions == ["create certificate", "reload service", "discard certificate"]
        assert clients.failed == []
    else:
        assert "set aside container" in actions
        assert all(isinstance(error, Unreachable | AnswerCut) for _, error in clients.failed), clients.failed
        assert clients.pause < PAUSE, "what docs/how-to/trust.md promises"
        print(f"registry:2 was away for {clients.pause:.2f} s")  # noqa: T201  shown with -s: a measurement


class Damager(Killer):
    """Spoils the new key when the registry is about to read it; kills nobody."""

    def __init__(self, key: Path) -> None:
        super().__init__(n=1 << 20)  # events that no run has
        self._key = key

    def started(self, step: Step) -> None:
        super().started(step)
        if step.action in (Action.START, Action.RELOAD):
            self._key.write_text("spoilt")


@pytest.mark.parametrize("backend", ["embedded", "docker"])
def test_the_old_pair_comes_back_when_the_registry_does_not_answer_with_the_new_one(
    deployed: Deployed, backend: str
) -> None:
    up(deployed, backend)
    paths = Paths(deployed.regsetup.home, "registry")
    before, old = shown(deployed), (paths.certs / "tls.crt").read_bytes()
    wanted = load({"name": "registry"}, {}, None, paths.home, cwd=paths.root)
    spoils = Damager(paths.certs / "tls.key")
    with pytest.raises(NotHealthy):
        deploy(wanted, paths, lambda _: {}, spoils, Manner(renew_certificate=True, ready_timeout=1))
    assert (paths.certs / "tls.crt").read_bytes() == old
    wait_for("the registry to answer with the old one", lambda: answers_with(deployed, before))
    assert not deployed.json("up", "--no-check")["changed"]


def answers_with(deployed: Deployed, certificate: str) -> bool:
    try:
        return shown(deployed) == certificate
    except OSError:
        return False
