"""Which tags a retention rule takes away. Pure: dates and digests in, verdicts out.

A tag goes if all rules given say so: it matches, it is old enough, it is not among the newest. What says no
date stays where a date counts, and ``latest`` stays unless it is named itself. Tags that clients keep for
signatures belong to their image and are not judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from regsetup.errors import UsageError
from regsetup.reference import BadReference, Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTECTED = "latest"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
# Before any image was built: what reproducible builds write (1970-01-01, Jib and Bazel; 1980-01-01, Nix and
# buildpacks) and Go's zero time (0001-01-01) are no dates.
_FIRST = datetime(1981, 1, 1, tzinfo=UTC)
# distribution-spec 1.1, "Referrers Tag Schema"; with a suffix cosign's, "Signature Specification".
_COMPANION = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(?:\.[A-Za-z0-9.]+)?")


class BadAge(UsageError):
    """``--older-than`` is no age."""

    code = "bad-age"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"--older-than {text!r} is no age", fix="a number with s, m, h, d or w: --older-than 30d"
        )


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag, what it leads to, and when that was made; None where it does not say."""

    tag: str
    digest: Digest
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the command line asks for; at least one is given.

    Attributes:
        keep: how many of the newest images stay, counted by digest.
        match: a pattern of the shell for tags: ``pr-*``.
    """

    keep: int | None = None
    older_than: timedelta | None = None
    match: str | None = None

    @property
    def given(self) -> bool:
        """Whether there is any rule."""
        return (self.keep, self.older_than, self.match) != (None, None, None)

    @property
    def need_dates(self) -> bool:
        """Whether dates decide."""
        return self.keep is not None or self.older_than is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a tag goes, and why it stays if it does not."""

    tagged: Tagged
    goes: bool
    reason: str = ""


def judge(tags: Sequence[Tagged], rules: Rules, now: datetime) -> tuple[Verdict, ...]:
    """Return a verdict for each tag but those that belong to an image, in the order given."""
    judged = [one for one in tags if companion_of(one.tag) is None]
    newest = _newest([one for one in judged if _stays(one, rules) is None], rules.keep)
    found = []
    for one in judged:
        reason = _stays(one, rules)
        if reason is None and one.digest in newest:
            reason = f"it is one of the {rules.keep} newest"
        if reason is None and rules.older_than is not None and one.created is not None:
            reason = None if one.created < now - rules.older_than else "it is younger"
        found.append(Verdict(one, goes=reason is None, reason=reason or ""))
    return tuple(found)


def companion_of(tag: str) -> Digest | None:
    """Return the image that a tag of this name belongs to, None for an ordinary tag."""
    match = _COMPANION.fullmatch(tag)
    if match is None:
        return None
    try:
        return Digest.parse(f"{match[1]}:{match[2]}")
    except BadReference:  # sha512 is cut to fit a tag
        return None


def parse_age(text: str) -> timedelta:
    """Read ``30d``.

    Raises:
        BadAge: another unit, none, or no number.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise BadAge(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_date(text: object) -> datetime | None:
    """Read RFC 3339; None for what is no date, or one that only says that nobody looked at a clock."""
    try:
        date = datetime.fromisoformat(str(text))
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return date if date >= _FIRST else None


def _stays(one: Tagged, rules: Rules) -> str | None:
    """Return why a tag stays whatever the others are."""
    if rules.match is not None and not fnmatchcase(one.tag, rules.match):
        return "it does not match"
    if one.tag == PROTECTED and rules.match != PROTECTED:
        return "it is protected; --match latest, or rm with its full name, takes it"
    if rules.need_dates and one.created is None:
        return "it says no date"
    return None


def _newest(tags: Sequence[Tagged], keep: int | None) -> frozenset[Digest]:
    """Return the newest images; several tags of one image count once."""
    dates: dict[Digest, datetime] = {one.digest: one.created for one in tags if one.created is not None}
    ranked = sorted(dates, key=lambda digest: (dates[digest], str(digest)), reverse=True)
    return frozenset(ranked[: keep or 0])
