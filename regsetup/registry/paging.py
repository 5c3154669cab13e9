"""Pages of a sorted list: ``n``, ``last`` and the Link header. Pure.

OCI distribution-spec 1.1 "Listing Tags"; RFC 8288 for Link.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from regsetup.registry.errors import PaginationNumberInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DIGITS = 18  # of a number that no list is longer than; int() refuses to read some thousands of them


def page(
    names: Sequence[str],
    n: str | None,
    last: str | None,
    key: Callable[[str], tuple[str, ...]] = lambda name: (name,),
) -> tuple[list[str], bool]:
    """Return at most ``n`` names after ``last`` of a list that is sorted by ``key``, and whether more follow.

    Raises:
        PaginationNumberInvalid: ``n`` is not a number from 0.
    """
    first = bisect_right(names, key(last), key=key) if last else 0
    if n is None:
        return list(names[first:]), False
    if not (n.isascii() and n.isdigit()):
        raise PaginationNumberInvalid("n is not a number of results", detail={"n": n})
    count = int(n) if len(n) <= _DIGITS else len(names)
    found = list(names[first : first + count])
    return found, bool(count) and first + count < len(names)


def link(path: str, names: Sequence[str], n: str) -> str:
    """Return the Link header that leads to the page after ``names``."""
    return f'<{path}?{urlencode({"last": names[-1], "n": n})}>; rel="next"'
