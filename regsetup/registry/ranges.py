"""Range, Content-Range and conditional headers. Pure.

RFC 9110 sections 13.1.2 (If-None-Match), 13.1.5 (If-Range) and 14 (Range); OCI distribution-spec 1.1
"Pushing a blob in chunks" for the form of Content-Range that uploads use, which is not HTTP's.
"""

from __future__ import annotations

import re

from regsetup.registry.errors import RangeInvalid

_RANGE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.ASCII)
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?\s*([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?\s*", re.ASCII)
MAX_OFFSET = (1 << 63) - 1  # bytes; off_t


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte of what a Range header asks of ``size`` bytes; None means all of it.

    Several ranges, and units other than bytes, are answered with all of it (RFC 9110 14.2 allows it).

    Raises:
        RangeInvalid: no byte of it is there, or it can't be read.
    """
    if header is None or not header.strip().startswith("bytes") or "," in header:
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        raise _unsatisfiable(size)
    first, last = match.groups()
    if not first:
        length = min(_number(last), size)
        if length == 0:
            raise _unsatisfiable(size)
        return size - length, size - 1
    begin = _number(first)
    end = min(_number(last), size - 1) if last else size - 1
    if begin > end:
        raise _unsatisfiable(size)
    return begin, end


def upload_range(header: str) -> tuple[int, int]:
    """Return first and last byte of an upload's Content-Range, ``0-1023``.

    Raises:
        RangeInvalid: it can't be read.
    """
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise RangeInvalid(f"Content-Range {header!r} is not of the form first-last", status=400)
    return int(match.group(1)), int(match.group(2))


def matches(header: str | None, etag: str) -> bool:
    """Tell whether If-None-Match names ``etag`` (without quotes), compared weakly."""
    if header is None:
        return False
    return any(
        part.strip().removeprefix("W/").strip('"') in {etag, "*"}
        for part in header.split(",")
        if part.strip()
    )


def _number(digits: str) -> int:
    return MAX_OFFSET if len(digits) > 19 else int(digits)


def _unsatisfiable(size: int) -> RangeInvalid:
    return RangeInvalid("range can't be satisfied", headers={"Content-Range": f"bytes */{size}"})
