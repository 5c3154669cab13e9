"""Data directories: facts about them, and that purge takes a registry's and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.storage import NotARegistry, NotDeleted, RefusedToDelete, look, purge
from tests.bed.rights import as_nobody

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")


def a_registry(path: Path, *repositories: str) -> Path:
    """Write the layout with one blob of 1000 bytes and 71 bytes of link in each repository."""
    blob = path / "docker/registry/v2/blobs/sha256/ab" / ("ab" * 32)
    blob.mkdir(parents=True)
    (blob / "data").write_bytes(b"x" * 1000)
    for name in repositories:
        below = path / "docker/registry/v2/repositories" / name
        (below / "_layers/sha256" / ("ab" * 32)).mkdir(parents=True)
        (below / "_layers/sha256" / ("ab" * 32) / "link").write_text("sha256:" + "ab" * 32)
        (below / "_manifests/tags").mkdir(parents=True)
    return path


def test_facts_of_a_registry(tmp_path: Path) -> None:
    facts = look(a_registry(tmp_path / "data", "app", "team/deep/app"))
    assert (facts.exists, facts.is_registry, facts.foreign) == (True, True, ())
    assert (facts.size, facts.repositories) == (1000 + 2 * 71, 2)
    assert facts.writable
    assert facts.free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=1 << 28)


def test_an_empty_directory_may_become_a_registry(tmp_path: Path) -> None:
    facts = look(tmp_path)
    assert (facts.is_registry, facts.size, facts.repositories) == (True, 0, 0)


def test_a_directory_that_does_not_exist_has_the_facts_of_where_it_would_be(tmp_path: Path) -> None:
    facts = look(tmp_path / "not/yet")
    assert (facts.exists, facts.is_registry, facts.size, facts.writable) == (False, False, 0, True)
    assert facts.free > 0
    assert list(tmp_path.iterdir()) == []


def test_looking_leaves_no_file_and_no_new_time(tmp_path: Path) -> None:
    a_registry(tmp_path)
    before = tmp_path.stat().st_mtime_ns
    look(tmp_path)
    assert tmp_path.stat().st_mtime_ns == before


def test_foreign_files_are_named(tmp_path: Path) -> None:
    a_registry(tmp_path)
    (tmp_path / "thesis.odt").touch()
    (tmp_path / "docker/registry/v2/notes").mkdir()
    (tmp_path / ".lock").touch()
    facts = look(tmp_path)
    assert facts.is_registry is False
    assert facts.foreign == ("docker/registry/v2/notes", "thesis.odt")


@needs_root
def test_what_cannot_be_read_is_unknown_not_zero(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    closed = a_registry(tmp_path / "data", "app")
    closed.chmod(0o700)
    with as_nobody():
        facts, inside = look(closed), look(closed / "docker")
        with pytest.raises(NotDeleted) as refused:
            purge(closed)
        with pytest.raises(NotDeleted):
            purge(closed / "docker")
    assert (facts.exists, facts.is_registry, facts.size, facts.repositories) == (True, None, None, None)
    assert (facts.writable, inside.exists) == (False, False)
    assert refused.value.cause == f"{closed}: Permission denied"
    assert refused.value.fix == "sudo regsetup teardown --purge"
    assert look(closed).repositories == 1


def test_purge_takes_a_registry_and_leaves_its_neighbours(tmp_path: Path) -> None:
    data = a_registry(tmp_path / "data", "app")
    (data / ".lock").touch()
    (data / ".cache").mkdir()
    (data / "scheduler-state.json").write_text("{}")
    (tmp_path / "auth").mkdir()
    purge(data)
    assert [entry.name for entry in tmp_path.iterdir()] == ["auth"]
    purge(data)  # gone already


def test_purge_takes_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    purge(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_purge_that_was_killed_half_way_can_be_repeated(tmp_path: Path) -> None:
    data = a_registry(tmp_path / "data", "app")
    shutil.rmtree(data / "docker/registry/v2/blobs")
    shutil.rmtree(data / "docker/registry/v2")
    purge(data)
    assert not data.exists()


@pytest.mark.parametrize(
    "foreign",
    ["thesis.odt", "docker/thesis.odt", "docker/registry/thesis.odt", "docker/registry/v2/thesis.odt"],
)
def test_purge_refuses_what_is_not_only_a_registry(tmp_path: Path, foreign: str) -> None:
    data = a_registry(tmp_path / "data", "app")
    (data / foreign).touch()
    with pytest.raises(NotARegistry, match="is not a registry's data directory") as caught:
        purge(data)
    assert caught.value.found == (foreign,)
    assert foreign in str(caught.value.cause)
    assert look(data).repositories == 1
    (data / foreign).unlink()
    purge(data)


def test_a_long_list_of_foreign_files_is_cut(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"photo-{number}").touch()
    with pytest.raises(NotARegistry) as caught:
        purge(tmp_path)
    assert caught.value.cause == "it holds photo-0, photo-1, photo-2, photo-3, photo-4 and 4 more"


def test_dot_files_alone_are_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    with pytest.raises(NotARegistry) as caught:
        purge(tmp_path)
    assert caught.value.cause == "it has no docker/registry/v2"
    assert (tmp_path / ".ssh").exists()


def test_files_in_the_place_of_the_layout_are_foreign(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("a file")
    (tmp_path / "scheduler-state.json").mkdir()
    assert look(tmp_path).foreign == ("docker", "scheduler-state.json")


@pytest.mark.parametrize("link", ["", "docker", "docker/registry/v2/blobs", ".elsewhere"])
def test_links_are_refused_and_what_they_name_stays(tmp_path: Path, link: str) -> None:
    elsewhere = a_registry(tmp_path / "elsewhere", "app")
    data = a_registry(tmp_path / "data", "app")
    shutil.rmtree(data / link, ignore_errors=True)
    (data / link if link else data).symlink_to(elsewhere / link)
    with pytest.raises((RefusedToDelete, NotARegistry)):
        purge(data)
    assert look(elsewhere).repositories == 1


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(RefusedToDelete) as caught:
        purge(tmp_path / "data")
    assert caught.value.cause == "it is not a directory"
    purge(tmp_path / "data/below-a-file")


@pytest.mark.parametrize("path", ["/", "/var", "/var/lib", "/usr/../var/lib", "/tmp"])
def test_directories_of_the_system_are_refused(path: str) -> None:
    with pytest.raises(RefusedToDelete) as caught:
        purge(Path(path))
    assert caught.value.cause == "it is a directory of the system"


def test_mount_points_are_refused() -> None:
    with pytest.raises(RefusedToDelete) as caught:
        purge(Path("/dev/shm"))
    assert caught.value.cause == "a file system is mounted at /dev/shm"


@needs_root
def test_a_file_system_mounted_inside_is_refused(tmp_path: Path) -> None:
    data = a_registry(tmp_path / "da ta", "app")
    inside = data / "docker/registry/v2/blobs"
    code = f"from pathlib import Path; from regsetup import storage; storage.purge(Path({str(data)!r}))"
    script = f"mount --bind {str(tmp_path)!r} {str(inside)!r} && exec {sys.executable} -c {code!r}"
    said = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "not permitted" in said.stderr or "denied" in said.stderr:
        pytest.skip(f"mounts are not allowed here: {said.stderr.strip()}")
    assert "RefusedToDelete" in said.stderr
    assert (inside / "sha256").exists()


def test_a_home_directory_is_refused_and_what_is_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = a_registry(tmp_path / "people" / "alice")
    monkeypatch.setenv("HOME", str(home))
    for path in (home, home.parent):
        with pytest.raises(RefusedToDelete) as caught:
            purge(path)
        assert caught.value.cause == f"it is or holds the home directory {home}"


def test_the_working_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = a_registry(tmp_path / "data", "app")
    monkeypatch.chdir(data / "docker")
    with pytest.raises(RefusedToDelete) as caught:
        purge(data)
    assert caught.value.cause == "it is or holds the working directory"


def test_an_undeletable_file_is_named(tmp_path: Path) -> None:
    data = a_registry(tmp_path / "data", "app")
    stuck = data / "docker/registry/v2/blobs"
    subprocess.run(["chattr", "+i", str(stuck)], check=False, capture_output=True)
    try:
        if (
            "i"
            not in subprocess.run(["lsattr", "-d", str(stuck)], capture_output=True, text=True).stdout[:20]
        ):
            pytest.skip("this file system has no immutable flag")
        with pytest.raises(NotDeleted) as caught:
            purge(data)
        assert "Operation not permitted" in str(caught.value.cause)
    finally:
        subprocess.run(["chattr", "-i", str(stuck)], check=False, capture_output=True)


names = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/"), min_size=1, max_size=20
)


@given(name=names)
def test_any_other_name_at_the_top_saves_the_directory(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    data = a_registry(tmp_path_factory.mktemp("data") / "data")
    known = name.startswith(".") or name in ("docker", "scheduler-state.json")
    if not known:
        (data / name).touch()
        with pytest.raises(NotARegistry):
            purge(data)
        (data / name).unlink()
    purge(data)
    assert not data.exists()
