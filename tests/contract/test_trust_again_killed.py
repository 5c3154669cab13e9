"""A client that is told a second time, of a new CA, by a regsetup that is killed: all comes back."""

from __future__ import annotations

import os
import traceback
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup.trust.base import Registry, Touched
from regsetup.trust.install import install, remove
from regsetup.trust_here import TrustFile
from tests.contract.killer import KILLED, die_before
from tests.unit.test_trust_clients import ADDRESS, CA, MAKERS, PLAIN, SECURE, tree

if TYPE_CHECKING:
    from collections.abc import Callable

RENEWED = Registry(ADDRESS, CA.replace(b"\n", b"\r\n"))
THERE = {
    "docker": ("daemon.json", '{"debug": true}'),
    "buildkit": ("buildkitd.toml", "debug = true"),
    "k3s": ("registries.yaml", "mirrors:\n  docker.io: {}\n"),
}


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


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("again", [RENEWED, PLAIN], ids=["new-ca", "plain"])
def test_killed_before_any_step_of_a_second_install_all_is_given_back(
    tmp_path: Path, name: str, again: Registry
) -> None:
    for number in count(1):
        for goes_on in (False, True):
            root = tmp_path / f"{number}-{goes_on}"
            root.mkdir()
            client, ledger = MAKERS[name](root), TrustFile(root.parent / f"{root.name}-home")
            ledger.path.parent.mkdir()
            if name in THERE:
                (root / THERE[name][0]).write_text(THERE[name][1])
            before = tree(root)
            install(client, SECURE, ledger)
            killed = died(number, lambda client=client, ledger=ledger: install(client, again, ledger))  # type: ignore[misc]
            if goes_on:
                died(number + 1, lambda client=client, ledger=ledger: install(client, again, ledger))  # type: ignore[misc]
            remove(client, ADDRESS, ledger)
            assert (tree(root), ledger.entries()) == (before, []), number
        if not killed:
            return


def test_a_ledger_of_before_is_read() -> None:
    entry = Touched("docker", ADDRESS, Path("/x"), None, "a", tls=True)
    old = entry.as_dict()
    del old["earlier"]
    assert Touched.from_dict(old) == entry
