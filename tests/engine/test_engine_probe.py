"""The probe of an engine that may be gone: over a socket and over TCP, with and without an answer."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from regsetup.backends.engine_probe import EngineProbe
from tests.bed.run import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import docker


@pytest.mark.engine
def test_it_sees_what_the_sdk_sees(engine: docker.DockerClient) -> None:
    probe = EngineProbe("unix:///var/run/docker.sock")
    info = probe.info()
    assert info is not None
    assert info["ID"] == engine.info()["ID"]
    assert isinstance(probe.running(), list)
    assert probe.reloaded(0.0) in (True, False)


@pytest.mark.parametrize("kind", ["no socket", "no listener", "hangs up", "says no", "no TCP", "TCP says no"])
def test_an_engine_that_does_not_answer_is_none(tmp_path: Path, kind: str) -> None:
    url = f"unix://{tmp_path}/s"
    if kind == "no TCP":
        url = f"tcp://127.0.0.1:{free_port()}"
    if kind in ("no socket", "no TCP"):
        assert (EngineProbe(url).info(), EngineProbe(url).running(), EngineProbe(url).reloaded(0)) == (
            None,
            [],
            False,
        )
        return
    family = socket.AF_INET if kind.startswith("TCP") else socket.AF_UNIX
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if kind.startswith("TCP") else f"{tmp_path}/s")
        if kind.startswith("TCP"):
            url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        if kind != "no listener":
            listener.listen()
            threading.Thread(target=_answer, args=(listener, kind), daemon=True).start()
        assert EngineProbe(url).info() is None


def _answer(listener: socket.socket, kind: str) -> None:
    connection, _ = listener.accept()
    with connection:
        if kind != "hangs up":
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_an_engine_over_tcp_is_read(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"ID":"a"}')

        threading.Thread(target=answer, daemon=True).start()
        assert EngineProbe(f"tcp://127.0.0.1:{listener.getsockname()[1]}").info() == {"ID": "a"}
