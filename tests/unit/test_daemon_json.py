"""daemon.json as text: what goes in comes out again, and nothing else moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regsetup.host.daemon_json import (
    INSECURE,
    MIRRORS,
    DaemonJsonUnreadable,
    Entry,
    add,
    decode,
    entries,
    remove,
    withdraw,
    without_key,
)
from tests.bed.daemon_texts import texts

OURS = Entry(INSECURE, "registry.lan:5000")


def parsed(text: str | None) -> dict[str, object]:
    document = json.loads(text) if text and text.strip() else {}
    assert isinstance(document, dict)
    return document


@given(texts(), st.sampled_from([INSECURE, MIRRORS]), st.text(min_size=1, max_size=12))
@example("{}", INSECURE, "registry.lan:5000")
@example('{\n    "insecure-registries": [\n        "a.lan"\n    ]\n}', INSECURE, "registry.lan:5000")
def test_add_then_withdraw_gives_back_the_bytes(text: str | None, key: str, value: str) -> None:
    entry = Entry(key, value)
    if value in entries(text, key):
        assert add(text, entry) == text
        return
    after = add(text, entry)
    assert parsed(after) == {**parsed(text), key: [*entries(text, key), value]}
    taken = withdraw(after, text, entry)
    assert taken.final == text
    assert parsed(taken.reload) == {**parsed(text), key: list(entries(text, key))}


@given(texts())
def test_keys_keep_their_order_and_the_text_around_stays(text: str | None) -> None:
    after = add(text, OURS)
    old = list(parsed(text))
    assert list(parsed(after)) == old + [INSECURE] * (INSECURE not in old)
    if text and old:
        prefix = text[: text.index('"')]
        assert after.startswith(prefix)
        assert after.endswith(text[text.rindex("}") :])


@given(texts(), texts())
def test_withdrawing_from_a_file_that_others_changed_takes_only_ours(
    text: str | None, changed: str | None
) -> None:
    now = add(changed, OURS)  # somebody rewrote the file and kept our entry
    taken = withdraw(now, text, OURS)
    left = parsed(taken.final)
    expected = [value for value in entries(changed, INSECURE) if value != OURS.value]
    assert (left.get(INSECURE) or []) == expected
    others = {key: value for key, value in parsed(changed).items() if key != INSECURE}
    assert {key: value for key, value in left.items() if key != INSECURE} == others


@given(texts())
def test_withdrawing_after_a_kill_between_the_two_writes_still_gives_back_the_bytes(text: str | None) -> None:
    if OURS.value not in entries(text, INSECURE):
        half_way = withdraw(add(text, OURS), text, OURS).reload
        assert withdraw(half_way, text, OURS).final == text


@given(texts())
def test_a_list_that_others_took_out_is_read_once_more_as_empty_and_the_file_stays(text: str | None) -> None:
    """The engine has the entry still, and an absent key means no change to it."""
    for theirs in ('{"debug": true}', "{\n}", "", text or ""):
        if OURS.value not in entries(theirs, INSECURE):
            taken = withdraw(theirs, '{"debug": false}', OURS)
            assert parsed(taken.reload) == {**parsed(theirs), INSECURE: list(entries(theirs, INSECURE))}
            assert taken.final == theirs or INSECURE in parsed(theirs)


def test_an_entry_that_others_followed_is_taken_from_the_middle() -> None:
    text = '{"insecure-registries": ["a", "registry.lan:5000", "b"]}'
    assert remove(text, OURS) == '{"insecure-registries": ["a", "b"]}'
    assert (
        remove('{"insecure-registries": ["registry.lan:5000", "b"]}', OURS)
        == '{"insecure-registries": ["b"]}'
    )


def test_a_list_that_we_brought_goes_when_empty_and_stays_when_others_use_it() -> None:
    mine = '{\n  "debug": true,\n  "insecure-registries": ["registry.lan:5000"]\n}\n'
    grown = mine.replace("true", "false")
    assert withdraw(grown, '{\n  "debug": true\n}\n', OURS).final == '{\n  "debug": false\n}\n'
    shared = mine.replace('5000"]', '5000", "b"]')
    assert withdraw(shared, '{\n  "debug": true\n}\n', OURS).final == shared.replace(
        '"registry.lan:5000", ', ""
    )


def test_indentation_and_line_ends_are_taken_over() -> None:
    text = '{\r\n\t"debug": true,\r\n\t"insecure-registries": [\r\n\t\t"a"\r\n\t]\r\n}'
    assert add(text, OURS) == text.replace('"a"', '"a",\r\n\t\t"registry.lan:5000"')
    assert add('{"a": 1, "b": 2}', OURS) == '{"a": 1, "b": 2, "insecure-registries": ["registry.lan:5000"]}'


def test_the_file_of_an_engine_without_any_is_readable() -> None:
    assert add(None, OURS) == '{\n  "insecure-registries": ["registry.lan:5000"]\n}\n'
    assert add("{}\n", OURS) == '{\n  "insecure-registries": ["registry.lan:5000"]\n}\n'


@pytest.mark.parametrize(
    ("text", "line", "column", "detail"),
    [
        ("{\n  a: 1\n}", 2, 3, "property name"),
        ('{"a": 1', 1, 8, "delimiter"),
        ("[]", 1, 1, "must be an object"),
        ('\n "text"', 2, 2, "must be an object"),
        ('{\n "insecure-registries": "a"}', 2, 25, "insecure-registries must be a list of strings"),
        ('{"insecure-registries": [1]}', 1, 25, "must be a list of strings"),
        ('{\n"a": NaN}', 2, 6, "NaN is not JSON"),
        ("\ufeff{}", 1, 1, "BOM"),
        ('{"a": ' + "[" * 99_999 + "]" * 99_999 + "}", 1, 1, "nested too deeply"),
        ('{"a": 1} x', 1, 10, "Extra data"),
    ],
)
def test_what_dockerd_would_not_read_is_an_error_with_its_place(
    text: str, line: int, column: int, detail: str
) -> None:
    for act in (lambda: add(text, OURS), lambda: remove(text, OURS), lambda: entries(text, INSECURE)):
        with pytest.raises(DaemonJsonUnreadable) as caught:
            act()
        assert (caught.value.line, caught.value.column) == (line, column)
        assert detail in (caught.value.cause or "")


def test_bytes_that_are_not_utf8_are_an_error_with_their_place() -> None:
    with pytest.raises(DaemonJsonUnreadable, match="line 2, column 3"):
        decode(b'{\n "\xff": 1}')
    with pytest.raises(DaemonJsonUnreadable) as caught:
        decode(b"\xff\xfe{\0}\0")
    assert caught.value.of(Path("/d.json")).fix == (
        "save /d.json as UTF-8 without a byte order mark, then try again"
    )
    assert decode(b"{}\r\n") == "{}\r\n"


@pytest.mark.parametrize("text", ["", "{}", '{"insecure-registries": ["a"]}', '{"b": 1}'])
def test_removing_what_is_not_there_changes_nothing(text: str) -> None:
    assert remove(text, OURS) == text
    assert without_key(text, MIRRORS) == text


def test_of_two_members_of_one_name_the_last_counts() -> None:
    text = '{"insecure-registries": ["a"], "insecure-registries": ["b"]}'
    assert entries(text, INSECURE) == ("b",)
    assert add(text, OURS) == text.replace('"b"', '"b", "registry.lan:5000"')


def test_adding_twice_changes_nothing() -> None:
    once = add('{"debug": true}', OURS)
    assert add(once, OURS) == once
