"""doctor where no registry is: it looks at the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"DOCKER_HOST": "tcp://192.0.2.1:2375"}, "engine-elsewhere"),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": "nobody-made-it"}, "bad-docker-context"),
    ],
)
def test_without_a_registry_it_says_what_up_would_meet(
    regsetup: Regsetup, variables: dict[str, str], code: str
) -> None:
    found = regsetup.json("doctor", env=variables)
    assert (found["errors"], found["data"]["registry"]) == ([], False)
    assert code in {one["code"] for one in found["data"]["findings"]}
    fine = regsetup("doctor", env={"DOCKER_HOST": f"unix://{regsetup.place}/none"})
    assert "there is no registry named registry yet" in fine.out
    assert code not in fine.out
    assert not regsetup.home.exists(), "it changes nothing"
