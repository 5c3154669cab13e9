"""Folds lines that are too long for a terminal. Pure.

A word is never broken, for it may be an address, and a command neither, for it is to be copied.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r" *\S+(?: \S+){0,2} {2,}(?=\S)")  # "  runs as   service", "kept     /var/lib"


def labelled(text: str) -> int:
    """Return how long the label before a line's text is, with the blanks after it; 0 if there is none."""
    label = _LABEL.match(text)
    return label.end() if label else 0


def folded(text: str, width: int, indent: int, *, whole: bool = False) -> str:
    """Break a line at blanks, so that its parts stand under one another.

    Words are never broken: an address is to be copied. With ``whole``, for what has commands in it, a line
    ends only after a comma, a semicolon or a colon: a command that is copied in two pieces is another one.
    """
    if len(text) <= width:
        return text
    head, body = text[:indent], text[indent:]
    lines, room = [""], width - indent
    for part in re.split(r"(?<=[,;:]) " if whole else " ", body):
        longer = f"{lines[-1]} {part}" if lines[-1] else part
        if len(longer) > room and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    return head + ("\n" + " " * indent).join(lines)
