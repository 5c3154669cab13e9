"""A setting as it was written somewhere, before it means anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.errors import UsageError
from regsetup.settings import FIELDS, BadValue, Field

if TYPE_CHECKING:
    from pathlib import Path


class BadSetting(UsageError):
    """A value that its setting can't take; says where it was written and what is expected."""

    code = "bad-setting"

    def __init__(self, origin: str, text: str, expected: str) -> None:
        super().__init__(f"{origin}: {text!r} is not possible here", cause=f"expected {expected}")


@dataclass(frozen=True, slots=True)
class Given:
    """Text as it was written, where, and the directory that relative paths start from."""

    texts: tuple[str, ...]
    origin: str
    base: Path


def read(field: Field, given: Given | None) -> Any:
    """Return what the text means, None where nothing was given.

    Raises:
        BadSetting: it means nothing to this setting.
    """
    if given is None:
        return None
    values = []
    for text in given.texts:
        try:
            values.append(field.read(text, given.base))
        except BadValue as error:
            raise BadSetting(given.origin, text, str(error)) from None
    return tuple(dict.fromkeys(values)) if field.many else values[0]


def inverted(given: Given) -> Given:
    """Return ``no_auth`` as ``auth``."""
    no_auth = read(FIELDS["auth"], given)
    return Given((str(not no_auth),), given.origin, given.base)
