"""Errors for people: what is wrong, why, and what to type next.

Every error that a user can meet is a class here or a subclass beside the code that raises it. The ``code``
is API: it stands in ``--json`` output and never changes its meaning.
"""

from __future__ import annotations

from typing import ClassVar


class RegsetupError(Exception):
    """A failure that is explained: one fact, its cause and the command that mends it.

    Attributes:
        code: stable, kebab-case name of the kind of failure.
        exit_code: the status the program ends with (1 failed, 2 usage, 3 a check did not hold).
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, cause: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.fix = fix

    def as_dict(self) -> dict[str, str | None]:
        """Return the error as the JSON envelope shows it: code, message, cause, fix."""
        return {
            "code": self.code,
            "message": self.message,
            "cause": self.cause,
            "fix": self.fix,
        }


class UsageError(RegsetupError):
    """What was asked for can't be meant: a wrong value, an unknown key, flags that exclude each other."""

    code = "usage"
    exit_code = 2
