"""``service.json``: what is written is read, and damage is explained."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.backends.description import Description, DescriptionDamaged, ManagedBy
from regsetup.observed import Spec

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = Description(
    id="0123456789ab",
    managed_by=ManagedBy.USER,
    spec=Spec({"port": "5000"}),
    argv=("/usr/bin/python3", "-m", "regsetup"),
    env=(("A", "b=c"),),
    boots=True,
    unit="[Unit]\n",
)


@pytest.mark.parametrize(
    "service", [SERVICE, replace(SERVICE, spec=None, managed_by=ManagedBy.NOBODY, unit="")]
)
def test_what_is_written_is_read(tmp_path: Path, service: Description) -> None:
    service.write(tmp_path / "service.json")
    assert Description.read(tmp_path / "service.json") == service
    assert (tmp_path / "service.json").stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_service(tmp_path: Path) -> None:
    assert Description.read(tmp_path / "service.json") is None


@pytest.mark.parametrize("change", [{"version": 2}, {"managed_by": "upstart"}, {"argv": 7}, {"spec": [1]}])
def test_another_content_is_damage_that_names_the_file(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "service.json"
    SERVICE.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DescriptionDamaged, match=r"service\.json can't be read"):
        Description.read(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\xff"])
def test_what_is_no_description_is_damage(tmp_path: Path, content: str) -> None:
    path = tmp_path / "service.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DescriptionDamaged) as caught:
        Description.read(path)
    assert caught.value.cause


def test_a_directory_in_its_place_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DescriptionDamaged) as caught:
        Description.read(tmp_path)
    assert caught.value.cause == "Is a directory"
