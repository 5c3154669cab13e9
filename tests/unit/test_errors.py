"""Errors say what, why and what to type."""

from __future__ import annotations

import pytest

from regsetup.errors import RegsetupError, UsageError


class DiskGone(RegsetupError):
    code = "disk-gone"


def test_an_error_shows_all_four_parts() -> None:
    error = DiskGone("the disk is gone", cause="somebody pulled it", fix="put it back")
    assert str(error) == "the disk is gone"
    assert error.as_dict() == {
        "code": "disk-gone",
        "message": "the disk is gone",
        "cause": "somebody pulled it",
        "fix": "put it back",
    }


def test_cause_and_fix_may_be_unknown() -> None:
    assert RegsetupError("no").as_dict() == {"code": "error", "message": "no", "cause": None, "fix": None}


@pytest.mark.parametrize(("kind", "status"), [(RegsetupError, 1), (DiskGone, 1), (UsageError, 2)])
def test_usage_errors_end_with_2_and_failures_with_1(kind: type[RegsetupError], status: int) -> None:
    assert kind("no").exit_code == status
