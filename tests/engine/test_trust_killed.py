"""The change of daemon.json, killed before each of its steps: dockerd starts from what is left.

And doing it again gets it done.
"""

from __future__ import annotations

import os
import traceback
from itertools import count
from typing import TYPE_CHECKING

import pytest

from regsetup.backends.engine_probe import EngineProbe
from regsetup.deployment import Daemon
from regsetup.host.docker_info import is_listed
from regsetup.host.engine import find
from regsetup.host.reload import Control
from regsetup.trust.base import Registry
from regsetup.trust.docker import Docker
from regsetup.trust.install import install, remove
from regsetup.trust_here import TrustFile
from tests.contract.killer import KILLED, die_before

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ADDRESS = "registry.lan:5000"
PLAIN = Registry(ADDRESS, None)
ORIGINAL = b'{\n  "labels": ["a=b"]\n}\n'


def died(number: int, act: Callable[[], object]) -> bool:
    """Do it in a process that dies before its n-th change; False if it made fewer."""
    pid = os.fork()
    if pid == 0:
        try:
            die_before(number)
            act()
        except BaseException:  # noqa: BLE001  a child must not go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def test_killed_before_any_step_daemon_json_is_one_that_dockerd_starts_from(
    private_engine: PrivateEngine, fresh_engine: Callable[..., PrivateEngine], tmp_path: Path
) -> None:
    probe = EngineProbe(private_engine.url)
    control = Control(find(private_engine.url, probe.info()), probe, Daemon.RELOAD, lambda stops: False)
    client, ledger, config = Docker(control), TrustFile(tmp_path), private_engine.daemon_json
    verbs: dict[str, Callable[[], object]] = {
        "install": lambda: install(client, PLAIN, ledger),
        "remove": lambda: remove(client, ADDRESS, ledger),
    }
    left: dict[bytes, str] = {}
    for verb, act in verbs.items():
        for number in count(1):
            config.write_bytes(ORIGINAL)
            if verb == "remove":
                install(client, PLAIN, ledger)
            killed = died(number, act)
            left.setdefault(config.read_bytes(), f"{verb}, before change {number}")
            act()
            assert is_listed(probe.info() or {}, ADDRESS) is (verb == "install")
            remove(client, ADDRESS, ledger)
            assert (config.read_bytes(), ledger.entries()) == (ORIGINAL, [])
            assert not list(config.parent.glob(".daemon.json.*")), "what the killed one had begun"
            assert not is_listed(probe.info() or {}, ADDRESS)
            if not killed:
                assert number > 5
                break
    assert len(left) == 3, "as it was, with the entry, and with an empty list"
    for text in left:
        starts = fresh_engine()
        starts.daemon_json.write_bytes(text)
        starts.start()
        starts.stop()
