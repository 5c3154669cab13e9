"""The proof by the engine, stopped in the middle: the engine keeps no image of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import docker.errors
import pytest

from regsetup.trust.proof import prove_engine


class BusyEngine:
    """Stands for docker-py's client. Like the engine, it goes on when it is not listened to any more."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.api = self.images = self

    def import_image_from_data(self, _content: bytes, repository: str, tag: str) -> str:
        done = threading.Timer(0.1, self.names.add, [f"{repository}:{tag}"])
        done.start()
        os.kill(os.getpid(), signal.SIGINT)
        done.join()
        return ""

    def push(self, *_: Any, **__: Any) -> list[dict[str, str]]:
        raise AssertionError("it was stopped before")

    def remove(self, name: str, *, force: bool) -> None:
        assert force
        if name not in self.names:
            raise docker.errors.ImageNotFound(name)
        self.names.remove(name)


def test_control_c_while_the_engine_makes_the_image_leaves_none_there() -> None:
    engine: Any = BusyEngine()
    with pytest.raises(KeyboardInterrupt):
        prove_engine(engine, "127.0.0.1:5000", None, repository="proof")
    time.sleep(0.2)
    assert engine.names == set()
