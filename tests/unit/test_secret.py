"""A secret comes out by ``reveal`` and no other way."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.secret import Secret

HIDDEN = "hunter2-hunter2"


def test_only_reveal_gives_the_value() -> None:
    assert Secret(HIDDEN).reveal() == HIDDEN


@pytest.mark.parametrize("form", ["{}", "{!r}", "{!s}", "{0!r:>30}"])
def test_showing_a_secret_shows_stars(form: str) -> None:
    shown = form.format(Secret(HIDDEN)) + str([Secret(HIDDEN)])
    assert HIDDEN not in shown
    assert "****" in shown


def test_a_log_shows_stars(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("password %s %r", Secret(HIDDEN), Secret(HIDDEN))
    assert caplog.messages == ["password **** Secret('****')"]


def test_a_traceback_shows_stars() -> None:
    def fail(password: Secret) -> None:
        raise ValueError(password)

    with pytest.raises(ValueError) as caught:
        fail(Secret(HIDDEN))
    lines = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "password = Secret('****')" in lines
    assert HIDDEN not in lines


def test_a_secret_is_not_serialised() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(HIDDEN))
    for serialise in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not serialised"):
            serialise(Secret(HIDDEN))
    with pytest.raises(TypeError):
        vars(Secret(HIDDEN))


@given(st.text(st.characters()), st.text(st.characters()))
def test_secrets_are_equal_where_their_values_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert Secret(one) == Secret(one)
    assert hash(Secret(one)) == hash(Secret(one))
    assert bool(Secret(one)) is bool(one)


def test_half_a_surrogate_pair_can_be_compared() -> None:
    assert Secret("\ud800") == Secret("\ud800")
    assert Secret("\ud800") != Secret("x")


def test_a_secret_is_never_equal_to_its_text() -> None:
    assert Secret(HIDDEN) != HIDDEN
