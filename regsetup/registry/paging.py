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
    if not (n.isascii() and n.isdigit()) or len(n) > 18:
        raise PaginationNumberInvalid("n is not a number of results", detail={"n": n})
    count = int(n)
    found = list(names[first : first + count])
    return found, bool(count) and first + count < len(names)


def link(path: str, names: Sequence[str], n: str) -> str:
    """Return the Link header that leads to the page after ``names``."""
    return f'<{path}?{urlencode({"last": names[-1], "n": n})}>; rel="next"'
