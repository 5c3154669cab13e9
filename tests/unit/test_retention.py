"""Retention: what goes, what stays and why; the rules never take more than they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.contents.retention import BadAge, Rules, Tagged, companion_of, judge, parse_age, parse_date
from regsetup.reference import Digest

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DIGESTS = [Digest.of(bytes([number])) for number in range(6)]


def tagged(tag: str, number: int, days: int | None) -> Tagged:
    return Tagged(tag, DIGESTS[number], None if days is None else NOW - timedelta(days=days))


def going(tags: list[Tagged], rules: Rules) -> list[str]:
    return [one.tagged.tag for one in judge(tags, rules, NOW) if one.goes]


FIVE = [
    tagged("a", 0, 1),
    tagged("b", 1, 10),
    tagged("pr-1", 2, 40),
    tagged("pr-2", 3, 50),
    tagged("x", 4, None),
]


@pytest.mark.parametrize(
    ("rules", "goes"),
    [
        (Rules(keep=2), ["pr-1", "pr-2"]),
        (Rules(keep=0), ["a", "b", "pr-1", "pr-2"]),
        (Rules(keep=9), []),
        (Rules(older_than=timedelta(days=45)), ["pr-2"]),
        (Rules(match="pr-*"), ["pr-1", "pr-2"]),
        (Rules(match="?"), ["a", "b", "x"]),
        (Rules(match="pr-*", keep=1), ["pr-2"]),
        (Rules(match="pr-*", keep=1, older_than=timedelta(days=60)), []),
    ],
)
def test_a_tag_goes_if_all_rules_say_so(rules: Rules, goes: list[str]) -> None:
    assert rules.given
    assert going(FIVE, rules) == goes


def test_latest_stays_unless_it_is_named() -> None:
    tags = [tagged("latest", 0, 100), tagged("old", 1, 100)]
    assert going(tags, Rules(keep=0)) == ["old"]
    assert going(tags, Rules(match="*")) == ["old"]
    assert going(tags, Rules(match="latest")) == ["latest"]
    (latest, _) = judge(tags, Rules(keep=0), NOW)
    assert "protected" in latest.reason


def test_several_tags_of_an_image_count_once() -> None:
    tags = [tagged("1", 0, 1), tagged("1.2", 0, 1), tagged("0.9", 1, 5), tagged("0.8", 2, 9)]
    assert going(tags, Rules(keep=2)) == ["0.8"]


def test_what_stays_says_why() -> None:
    reasons = {
        one.tagged.tag: one.reason for one in judge(FIVE, Rules(keep=1, older_than=timedelta(days=45)), NOW)
    }
    assert reasons == {
        "a": "it is one of the 1 newest",
        "b": "it is younger",
        "pr-1": "it is younger",
        "pr-2": "",
        "x": "it says no date",
    }
    assert judge(FIVE, Rules(match="q"), NOW)[0].reason == "it does not match"


@pytest.mark.parametrize(
    ("tag", "image"),
    [
        (f"sha256-{DIGESTS[0].hex}", DIGESTS[0]),
        (f"sha256-{DIGESTS[0].hex}.sig", DIGESTS[0]),
        (f"sha256-{DIGESTS[0].hex[:-1]}", None),
        (f"sha512-{'a' * 64}", None),
        ("1.0", None),
    ],
)
def test_a_signature_belongs_to_its_image(tag: str, image: Digest | None) -> None:
    assert companion_of(tag) == image
    if image:
        assert judge([Tagged(tag, DIGESTS[1], None)], Rules(match="*"), NOW) == ()


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-11-23T00:00:00Z", NOW),
        ("2026-11-23T02:00:00.123456789+02:00", NOW + timedelta(microseconds=123456)),
        ("2026-11-23T00:00:00", NOW),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_a_date_is_read_and_what_only_looks_like_one_is_none(text: object, date: datetime | None) -> None:
    assert parse_date(text) == date


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("2w", 14), ("48h", 2), ("1440m", 1), ("86400s", 1)])
def test_an_age_has_a_unit(text: str, days: int) -> None:
    assert parse_age(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "30 d", "1y", "9999999d", "٣d"])
def test_an_age_without_one_is_refused(text: str) -> None:
    with pytest.raises(BadAge, match="--older-than"):
        parse_age(text)


names = st.sampled_from(["latest", "1", "1.0", "2", "pr-1", "pr-2", "dev", f"sha256-{DIGESTS[0].hex}"])
days = st.none() | st.integers(-5, 100)
lists = st.builds(
    lambda made, pairs: [Tagged(name, DIGESTS[number], made[number]) for name, number in pairs.items()],
    st.lists(days.map(lambda n: None if n is None else NOW - timedelta(days=n)), min_size=6, max_size=6),
    st.dictionaries(names, st.integers(0, 5)),
)
rules = st.builds(
    Rules,
    st.none() | st.integers(0, 4),
    st.none() | st.integers(0, 90).map(lambda n: timedelta(days=n)),
    st.none() | st.sampled_from(["*", "pr-*", "latest", "1*"]),
)


@given(lists, rules)
def test_rules_take_nothing_that_they_do_not_name(tags: list[Tagged], given_: Rules) -> None:
    verdicts = judge(tags, given_, NOW)
    gone = {one.tagged.tag: one.tagged for one in verdicts if one.goes}
    assert all(one.goes == (one.reason == "") for one in verdicts)
    for tag, one in gone.items():
        assert companion_of(tag) is None
        assert tag != "latest" or given_.match == "latest"
        assert given_.match is None or fnmatchcase(tag, given_.match)
        assert given_.older_than is None or (
            one.created is not None and one.created < NOW - given_.older_than
        )
        assert one.created is not None or not given_.need_dates
    if given_.keep is not None:
        judged = [
            one.tagged for one in verdicts if "match" not in one.reason and "protected" not in one.reason
        ]
        dated = {one.digest: one.created for one in judged if one.created}
        stay = {one.digest for one in judged if one.tag not in gone and one.created}
        assert len(stay) >= min(given_.keep, len(dated))
        newest = sorted(filter(None, dated.values()), reverse=True)[: given_.keep]
        assert not newest or all(one.created and one.created <= newest[-1] for one in gone.values())


@given(lists, rules)
def test_a_second_run_takes_nothing_more(tags: list[Tagged], given_: Rules) -> None:
    gone = going(tags, given_)
    assert going([one for one in tags if one.tag not in gone], given_) == []


@given(lists, st.integers(0, 4))
def test_to_keep_more_never_takes_more(tags: list[Tagged], keep: int) -> None:
    assert set(going(tags, Rules(keep=keep + 1))) <= set(going(tags, Rules(keep=keep)))
