"""A reader of standard output that goes away, as ``| head`` does: no word and no traceback, and status 1."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from regsetup.reference import Digest

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup
    from tests.contract.filled import Filled

LARGE = os.urandom(5_000_000)  # more than a pipe holds, so that the program is writing when its reader goes
DIGEST = str(Digest.of(LARGE))


@pytest.fixture
def stocked(filled: Filled) -> Filled:
    """A registry with an image of one large layer under a few tags."""
    filled.image("team/app", "1", "2", "latest", layers=(LARGE,))
    return filled


def left_after(taken: int, regsetup: Regsetup, *words: str) -> tuple[bytes, int, bytes]:
    """Read so many bytes and go away; return them, the exit status and what stderr says."""
    regsetup.place.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "regsetup", *words], env=dict(os.environ) | regsetup.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        got = process.stdout.read(taken)
        process.stdout.close()
        said = process.stderr.read()
        return got, process.wait(timeout=60), said


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["tags", "{host}/team/app"],
        ["tags", "{host}/team/app", "--json"],
        ["catalog", "--registry", "{host}"],
        ["catalog", "--registry", "{host}", "--tags", "--json"],
        ["manifest", "{host}/team/app:1"],
        ["manifest", "{host}/team/app:1", "--raw"],
        ["inspect", "{host}/team/app:1"],
        ["inspect", "{host}/team/app:1", "--json"],
        ["exists", "{host}/team/app:1"],
        ["exists", "{host}/team/app:none", "--json"],
        ["blob", "{host}/team/app", DIGEST],
    ],
    ids=" ".join,
)
def test_who_reads_nothing_gets_no_word(stocked: Filled, regsetup: Regsetup, words: list[str]) -> None:
    got, status, said = left_after(0, regsetup, *(word.format(host=stocked.host) for word in words))
    assert (got, status, said) == (b"", 1, b"")


@pytest.mark.slow
def test_who_goes_in_the_middle_of_a_blob_has_its_beginning(stocked: Filled, regsetup: Regsetup) -> None:
    got, status, said = left_after(1, regsetup, "blob", f"{stocked.host}/team/app", DIGEST)
    assert (got, status, said) == (LARGE[:1], 1, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("tags {host}/team/app | head -c 1", "1"),
        ("catalog --registry {host} --tags | head -1", "team/app:1\n"),
        ("manifest {host}/team/app:1 --raw | head -c 1", "{{"),
        ("blob {host}/team/app {digest} | head -c 1 | wc -c", "1\n"),
        ("tags {host}/team/app --json | head -1", "{{\n"),
    ],
)
def test_head_gets_what_it_asks_for(stocked: Filled, regsetup: Regsetup, words: str, first: str) -> None:
    line = f"{sys.executable} -m regsetup {words}".format(host=stocked.host, digest=DIGEST)
    regsetup.place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["bash", "-c", line], env=dict(os.environ) | regsetup.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (first.format(), "")
