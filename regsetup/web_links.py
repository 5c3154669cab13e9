"""Links in the header of an answer (RFC 8288), which lists that come in pages lead on by."""

from __future__ import annotations

import re

_LINK = re.compile(r'<([^>]*)>((?:\s*;(?:[^",;]|"[^"]*")*)*)')
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^\s",;]*))')


def next_page(header: str) -> str | None:
    """Return the target of the link with the relation ``next``, None where there is none (RFC 8288, 3)."""
    for target, parameters in _LINK.findall(header):
        for name, quoted, token in _PARAMETER.findall(parameters):
            if name.lower() == "rel" and "next" in (quoted or token).lower().split():
                return str(target)
    return None
