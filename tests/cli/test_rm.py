"""``regsetup rm`` as a person uses it: it shows, asks, deletes, and gets the disk back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from tests.bed.run import free_port
from tests.contract.filled import LAYER, Filled
from tests.registry.test_gc import age

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup


@pytest.mark.slow
def test_rm_asks_deletes_and_collects(regsetup: Regsetup) -> None:
    port = free_port()
    regsetup("up", "--backend", "embedded", "--no-check", "--port", str(port), "--name", "mine").ok()
    with RegistryClient(Endpoint(f"http://127.0.0.1:{port}")) as client:
        filled = Filled(client, f"localhost:{port}")
        filled.image("team/app", "1", "latest")
        filled.image("team/app", "2", layers=(b"two",))
        with regsetup.on_terminal("rm", f"localhost:{port}/team/app:2") as terminal:
            assert "team/app:2" in terminal.expect("Delete 1 tag and 1 manifest?")
            terminal.send("n")
            ended = terminal.wait()
            assert (ended.code, "nothing was deleted" in ended.out) == (1, True)
        assert filled.tags("team/app") == ["1", "2", "latest"]
        with regsetup.on_terminal("rm", "team/app:2", "--name", "mine") as terminal:
            terminal.expect("Delete 1 tag and 1 manifest?")
            terminal.send("y")
            assert terminal.wait().code == 0
        assert filled.tags("team/app") == ["1", "latest"]
        age(regsetup.home / "mine" / "data")
        done = regsetup.json(
            "rm", "team/app:1", f"localhost:{port}/team/app:latest", "--gc", "-y", "--name", "mine"
        )
        assert done["errors"][0]["code"] == "several-registries"
        done = regsetup.json("rm", "team/app:1", "team/app:latest", "--gc", "-y", "--name", "mine")
        assert (done["ok"], done["changed"]) == (True, True)
        assert done["data"]["gc"]["freed"] > done["data"]["size"] > len(LAYER)
        assert done["data"]["gc"]["young"]["blobs"] == 0, "to look before deleting keeps nothing"
        assert filled.tags("team/app") == []
