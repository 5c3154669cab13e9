"""A setting as it was written somewhere, before it means anything."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.errors import UsageError
from regsetup.settings import FIELDS, BadValue, Field

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PREFIX = "REGSETUP_"
_ALIKE = 0.75  # of difflib's ratio; PROT and PORT have just that


class BadSetting(UsageError):
    """A value that its setting can't take; says where it was written and what is expected."""

    code = "bad-setting"

    def __init__(self, origin: str, text: str, expected: str) -> None:
        super().__init__(
            f"{origin}: {text!r} is not possible here",
            cause=f"expected {expected}",
            fix="regsetup up --help tells what each setting takes",
        )


class UnknownVariable(UsageError):
    """A ``REGSETUP_*`` variable is named almost like one of a setting, and would be passed over."""

    code = "unknown-variable"

    def __init__(self, written: str, meant: str) -> None:
        super().__init__(
            f"no setting is named by the variable {written}",
            cause="what it holds would count for nothing",
            fix=f"did you mean {meant}? Else: unset {written}",
        )


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


def refuse_misspelt(names: Iterable[str]) -> None:
    """Hold if no variable is named almost like that of a setting; others may mean something to others.

    Raises:
        UnknownVariable: names both.
    """
    known = {field.variable for field in FIELDS.values()} | {"REGSETUP_HOME", "REGSETUP_NO_AUTH"}
    words = [name.removeprefix(_PREFIX) for name in sorted(known)]
    for name in sorted(set(names) - known):
        if name.startswith(_PREFIX):
            close = difflib.get_close_matches(name.removeprefix(_PREFIX), words, n=1, cutoff=_ALIKE)
            if close:
                raise UnknownVariable(name, _PREFIX + close[0])


def inverted(given: Given) -> Given:
    """Return ``no_auth`` as ``auth``."""
    no_auth = read(FIELDS["auth"], given)
    return Given((str(not no_auth),), given.origin, given.base)
