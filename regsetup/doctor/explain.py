"""Explains the error text of a client, an engine or a registry that somebody pasted: text in, error out.

What a client says of a registry it can't use is known to ``trust.refusals``; ``machine_errors`` knows what a
person meets before that, ``registry_errors`` what comes after it. A text that none knows is left unexplained.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from regsetup.doctor import machine_errors, registry_errors
from regsetup.doctor.machine_errors import Explained
from regsetup.trust import refusals

if TYPE_CHECKING:
    from regsetup.errors import RegsetupError

LONGEST = 1 << 15  # characters; what went wrong stands at the end
_URL = re.compile(r"https?://([^/\s\"'\\\\]+)")
_DIAL = re.compile(r"dial tcp (\[[^\]]+\]:\d+|[^\s:]+:\d+)|lookup ([^\s:]+)")


def explain(text: str) -> RegsetupError:
    """Return the error that explains ``text``; its code is ``unexplained`` if none is known.

    Of a log only the end is read.
    """
    text = text[-LONGEST:]
    for kind in (*machine_errors.KINDS, *registry_errors.FIRST):
        if refusals.says(text, kind.marks):
            return kind()
    refusal = refusals.kind_of(text)
    if refusal is not refusals.Refusal:
        said = refusals.excerpt(text, refusal.marks)
        return refusal(address_in(said) or "the registry", said)
    known = (kind for kind in registry_errors.KINDS if refusals.says(text, kind.marks))
    return next(known, Explained)()


def address_in(text: str) -> str | None:
    """Return the ``host:port`` that an error text is about, if it names one."""
    found = _URL.search(text) or _DIAL.search(text)
    return next((group for group in found.groups() if group), None) if found else None
