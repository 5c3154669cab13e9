"""Too long lines on a terminal: parts stand under one another, commands and addresses stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.cli.folding import folded, labelled


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("  runs as   service registry", "  runs as   "),
        ("kept     /var/lib/regsetup", "kept     "),
        ("  wait for  container registry  (until it answers)", "  wait for  "),
        ("registry is up at http://localhost:5000", ""),
        ("  docker push localhost:5000/IMAGE", ""),
    ],
)
def test_a_label_is_what_stands_before_two_blanks(line: str, label: str) -> None:
    assert line[: labelled(line)] == label


def test_parts_stand_under_one_another() -> None:
    line = "  note      nobody starts the registry again after a reboot"
    assert folded(line, 40, 12) == (
        "  note      nobody starts the registry\n            again after a reboot"
    )


def test_a_command_is_never_cut_and_one_clause_stands_under_another() -> None:
    line = "  fix   regsetup up --name registry; regsetup status --all lists those that are here"
    assert folded(line, 40, 8, whole=True) == (
        "  fix   regsetup up --name registry;\n        regsetup status --all lists those that are here"
    )


@given(st.text("ab,;: ", max_size=120), st.integers(1, 60), st.booleans())
def test_nothing_but_a_blank_becomes_a_line_end(body: str, width: int, whole: bool) -> None:
    text = "  fix   " + body
    assert folded(text, width, 8, whole=whole).replace("\n        ", " ").split() == text.split()


@given(st.lists(st.text("ab/", min_size=1, max_size=12), min_size=1))
def test_what_fits_in_words_fits_the_terminal(words: list[str]) -> None:
    assert max(map(len, folded("  note  " + " ".join(words), 20, 8).splitlines())) <= 20
