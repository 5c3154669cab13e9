"""What a proof leaves is removed, and nothing else, wherever links lead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from regsetup.reference import Digest
from regsetup.smoke import NotCleaned, forget
from regsetup.smoke.leftovers import STALE

if TYPE_CHECKING:
    from pathlib import Path

NAME = "regsetup-check/0123456789abcdef"
OURS, OTHER = Digest.of(b"ours"), Digest.of(b"other")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a proof's repository and blob, and another's."""
    root = tmp_path / "data/docker/registry/v2"
    for repository, digest in ((NAME, OURS), ("team/app", OTHER)):
        link = root / "repositories" / repository / "_layers/sha256" / digest.hex / "link"
        link.parent.mkdir(parents=True)
        link.write_text(str(digest))
        blob = root / "blobs/sha256" / digest.hex[:2] / digest.hex / "data"
        blob.parent.mkdir(parents=True)
        blob.write_text("content")
    return tmp_path / "data"


def files(data: Path) -> list[str]:
    return sorted(
        str(path.relative_to(data / "docker/registry/v2")) for path in data.rglob("*") if path.is_file()
    )


LEFT = [
    f"blobs/sha256/{OTHER.hex[:2]}/{OTHER.hex}/data",
    f"repositories/team/app/_layers/sha256/{OTHER.hex}/link",
]


def test_repository_and_blobs_go_and_the_rest_stays(data: Path) -> None:
    forget(data, NAME, [OURS])
    assert files(data) == LEFT
    assert not (data / "docker/registry/v2/repositories/regsetup-check").exists()
    assert not (data / "docker/registry/v2/blobs/sha256" / OURS.hex[:2]).exists()


def test_forgetting_twice_is_no_error(data: Path, tmp_path: Path) -> None:
    forget(data, NAME, [OURS])
    forget(data, NAME, [OURS])
    assert files(data) == LEFT
    (tmp_path / "empty").mkdir()
    forget(tmp_path / "empty", NAME, [OURS])


def test_a_blob_with_the_same_beginning_stays(data: Path) -> None:
    sibling = data / "docker/registry/v2/blobs/sha256" / OURS.hex[:2] / ("0" * 64)
    sibling.mkdir()
    forget(data, NAME, [OURS])
    assert sibling.is_dir()


@pytest.mark.parametrize(
    "name", ["team/app", "regsetup-check", "regsetup-check/..", "regsetup-check/x", "../x", ""]
)
def test_another_repository_is_never_removed(data: Path, name: str) -> None:
    before = files(data)
    with pytest.raises(ValueError, match="not a proof's repository"):
        forget(data, name, [OURS])
    assert files(data) == before


@pytest.mark.parametrize(
    "link",
    [
        "repositories/regsetup-check/0123456789abcdef",
        "repositories/regsetup-check",
        "repositories",
        f"blobs/sha256/{OURS.hex[:2]}/{OURS.hex}",
        f"blobs/sha256/{OURS.hex[:2]}",
        "blobs",
    ],
)
def test_a_link_leads_nowhere(data: Path, tmp_path: Path, link: str) -> None:
    place = data / "docker/registry/v2" / link
    outside = tmp_path / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    before = sorted(path for path in outside.rglob("*"))
    with pytest.raises(NotCleaned):
        forget(data, NAME, [OURS])
    assert sorted(path for path in outside.rglob("*")) == before


def test_the_data_directory_itself_may_be_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    forget(tmp_path / "link", NAME, [OURS])
    assert files(data) == LEFT


def test_what_a_killed_proof_left_goes_after_an_hour(data: Path) -> None:
    proofs = data / "docker/registry/v2/repositories/regsetup-check"
    for name, age in (("a" * 16, STALE + 60), ("b" * 16, 60), ("somebody", STALE + 60)):
        (proofs / name / "_layers").mkdir(parents=True)
        then = (proofs / name).stat().st_mtime - age
        os.utime(proofs / name, (then, then))
    forget(data, NAME, [])
    assert sorted(path.name for path in proofs.iterdir()) == ["b" * 16, "somebody"]


def test_a_file_where_the_directory_should_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(NotCleaned) as caught:
        forget(tmp_path / "data", NAME, [])
    assert (caught.value.code, caught.value.cause) == ("not-cleaned", "Not a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_no_rights_are_explained(data: Path, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            forget(data, NAME, [OURS])
        except NotCleaned as error:
            os._exit(0 if error.fix == "sudo regsetup check removes it" else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(files(data)) == 4


def test_a_file_in_the_repositorys_place_stays_and_is_said(data: Path) -> None:
    proofs = data / "docker/registry/v2/repositories/regsetup-check"
    proofs.rename(proofs.with_name("elsewhere"))
    proofs.write_text("somebody's")
    with pytest.raises(NotCleaned):
        forget(data, NAME, [])
    assert proofs.read_text() == "somebody's"
