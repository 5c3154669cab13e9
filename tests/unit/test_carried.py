"""What travels into a container over there: files that are root's, unreadable to others, with their times."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.htpasswd import Cost
from regsetup.backends.carried import pack
from regsetup.backends.container import DATA, FILES, Facts, describe
from regsetup.backends.engine import EngineGone
from regsetup.deployment import Deployment, Volume
from regsetup.secret import Secret
from regsetup.users import add, read, remove, temporary

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_packed_with_mode_owner_and_the_fraction_of_their_time(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("alice:x\n")
    os.utime(path, ns=(0, 1_700_000_000_123_000_000))
    with tarfile.open(fileobj=io.BytesIO(pack({"auth/htpasswd": path, "config.yml": path}))) as tar:
        directory, users, config = tar.getmembers()
        content = tar.extractfile(users)
        assert content is not None
        assert content.read() == b"alice:x\n"
    assert (directory.name, directory.isdir(), directory.mode) == ("auth", True, 0o755)
    assert [one.name for one in (users, config)] == ["auth/htpasswd", "config.yml"]
    assert {(one.uid, one.gid, one.mode) for one in (users, config)} == {(0, 0, 0o600)}
    assert users.mtime == pytest.approx(1_700_000_000.123, abs=1e-6)


def test_a_container_without_sources_has_volumes_of_its_own_and_no_path_of_this_machine() -> None:
    wanted = Deployment("registry", Volume("images"), auth=True, machine="build1")
    made = describe(wanted, None, Facts("/etc/distribution/config.yml", None))
    seen = [(one.source, one.target, one.volume) for one in made.mounts]
    assert seen == [("images", DATA, True), ("", "/etc/distribution", True), ("", FILES, True)]


class Cut:
    """Carries until it does not: the engine goes away at the ``at``-th time."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise EngineGone("connection refused")


@pytest.mark.parametrize("existed", [True, False])
def test_users_that_can_not_be_carried_are_taken_back_here(tmp_path: Path, existed: bool) -> None:
    path = tmp_path / "htpasswd"
    if existed:
        add(path, "alice", Secret("correct horse"), Cost.FAST, None)
    with pytest.raises(EngineGone):
        add(path, "bob", Secret("battery staple"), Cost.FAST, None, carry=Cut(1))
    assert read(path).users == (("alice",) if existed else ())
    assert path.exists() is existed


def test_a_removal_that_is_carried_half_way_leaves_the_user_with_a_password_nobody_knows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "htpasswd"
    add(path, "alice", Secret("correct horse"), Cost.FAST, None)
    before = path.read_text()
    with pytest.raises(EngineGone):
        remove(path, "alice", None, carry=Cut(2))
    assert read(path).users == ("alice",)
    assert path.read_text() != before


def test_a_user_for_the_time_being_is_carried_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    seen: list[tuple[str, ...]] = []
    with temporary(path, "check", carry=lambda: seen.append(read(path).users)):
        assert seen == [("check",)]
    assert seen == [("check",), ()]
