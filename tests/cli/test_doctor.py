"""doctor where no registry is: it looks at the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_to_explain_is_wrong_usage(regsetup: Regsetup, text: str) -> None:
    for done in (regsetup("doctor", "--explain", text), regsetup("doctor", "--explain", "-", stdin=text)):
        assert (done.code, "no text to explain" in done.err) == (2, True)
    found = regsetup.json("doctor", "--explain", text)
    assert (found["ok"], found["errors"][0]["code"]) == (False, "nothing-to-explain")
    known = regsetup.json("doctor", "--explain", "-", stdin="x509: certificate signed by unknown authority")
    assert (known["ok"], known["data"]["explanation"]["code"] != "unexplained") == (True, True)
    assert set(known["data"]["explanation"]) == {"code", "message", "cause", "fix"}
