"""Pull-through caches as ``up --mirror-of`` makes them, on both back ends, pulled from by the engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.client.errors import RegistryError
from tests.bed.images import load, tiny_archive
from tests.bed.run import free_port, lan_address, unique
from tests.registry.harness import Running

if TYPE_CHECKING:
    from pathlib import Path

    import docker

    from tests.bed.cli import Regsetup

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.mark.parametrize("backend", ["docker", "embedded"])
def test_the_engine_pulls_through_a_cache_and_again_without_its_upstream(
    backend: str,
    regsetup: Regsetup,
    unique_name: str,
    engine: docker.DockerClient,
    registry_image: str,
    tmp_path: Path,
) -> None:
    cache, host = free_port(), lan_address()
    with Running.start(tmp_path / "upstream", host="0.0.0.0") as upstream:
        pushed = f"127.0.0.1:{upstream.port}/team/{unique()}:1"
        image = load(engine, tiny_archive(pushed))
        pulled = pushed.replace(f":{upstream.port}/", f":{cache}/")
        try:
            engine.images.push(pushed)
            regsetup(
                "up", "--backend", backend, "--image", registry_image, "--name", unique_name,
                "--port", str(cache), "--mirror-of", f"http://{host}:{upstream.port}",
            ).ok()  # fmt: skip
            for turn in range(2):
                engine.images.remove(pushed, force=True)
                pushed = pulled
                engine.images.pull(pulled)
                assert engine.images.get(pulled).id == image.id
                if turn == 0:  # what comes back holds what it held; registry:2 needs its upstream to start
                    file = str(tmp_path / "cache.tar.zst")
                    regsetup("backup", file, "--name", unique_name).ok()
                    regsetup("restore", file, "-y").ok()
                    upstream.stop()
            with RegistryClient(Endpoint(f"http://127.0.0.1:{cache}"), patience=0) as client:
                with pytest.raises(RegistryError):
                    client.put_blob("team/app", os.urandom(10))
                repository = pulled.partition("/")[2].partition(":")[0]
                assert list(client.catalog()) == [repository]
        finally:
            engine.images.remove(str(image.id), force=True)
    collected = regsetup.json("gc", "--name", unique_name)
    if backend == "docker":
        assert collected["errors"][0]["code"] == "cache-collects-itself"
    else:
        assert (collected["ok"], collected["data"]["freed"]) == (True, 0)
    assert regsetup.json("verify", "--name", unique_name)["ok"]
