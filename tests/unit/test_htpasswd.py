"""The htpasswd file as a value: what distribution's parser makes of it, what Apache's tool makes of it."""

from __future__ import annotations

import shutil
import string
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.auth.htpasswd import (
    MAX_LINE,
    BadPassword,
    BadUserName,
    Cost,
    Htpasswd,
    Problem,
    check_name,
    check_password,
    generate_password,
    hash_password,
    verify_password,
)
from regsetup.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path
ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"  # bcrypt's base64

HASH = "$2y$05$" + "a" * 53
OTHER = "$2y$05$" + "b" * 53
WEAK = "$2y$04$3EO5YLV5jGgN6gtGHxOiXewsUWTf1uKTA9SEy5aEDT7hmg6UjcC9S"  # any bcrypt hash at its lowest cost
needs_apache = pytest.mark.skipif(shutil.which("htpasswd") is None, reason="apache2-utils is not installed")

NAMES = st.text(string.ascii_letters + string.digits + "._-@ äλ", min_size=1, max_size=20).filter(
    lambda name: name == name.strip()
)
LINES = st.one_of(
    st.text(max_size=20),
    st.builds(
        lambda name, blank: f"{blank}{name}:{HASH}{blank}", NAMES, st.sampled_from(["", " ", "\r", "\t"])
    ),
    st.sampled_from(["", "# comment", "no colon", ":", "#x:y", "alice:plain"]),
)
TEXTS = st.one_of(st.text(), st.lists(LINES).map("\n".join))


@given(TEXTS)
def test_parsing_and_printing_are_inverse(text: str) -> None:
    parsed = Htpasswd.parse(text)
    assert str(parsed) == text
    assert Htpasswd.parse(str(parsed)) == parsed


@given(TEXTS, NAMES)
def test_adding_and_removing_a_user_keeps_every_other_line(text: str, name: str) -> None:
    before = Htpasswd.parse(text)
    others = [line for line in text.split("\n") if Htpasswd.parse(line).users != (name,)]
    after = before.with_user(name, OTHER).without_user(name)
    assert [line for line in after.lines if line] == [line for line in others if line]
    assert name not in after.users


@given(TEXTS, NAMES)
def test_an_added_user_is_there_once_with_the_new_hash(text: str, name: str) -> None:
    after = Htpasswd.parse(text).with_user(name, OTHER)
    assert after.hash_of(name) == OTHER
    assert [line for line in after.lines if line.startswith(f"{name}:")].count(f"{name}:{OTHER}") == 1
    assert after.with_user(name, OTHER) == after
    assert set(Htpasswd.parse(text).users) | {name} == set(after.users)


@given(TEXTS, NAMES)
def test_removing_a_user_touches_no_other(text: str, name: str) -> None:
    before = Htpasswd.parse(text)
    after = before.without_user(name)
    assert set(after.users) == set(before.users) - {name}
    assert all(after.hash_of(user) == before.hash_of(user) for user in after.users)
    assert after.without_user(name) == after


@given(TEXTS)
def test_problems_name_lines_that_exist(text: str) -> None:
    parsed = Htpasswd.parse(text)
    assert all(1 <= problem.line <= len(parsed.lines) and problem.reason for problem in parsed.problems)


def test_comments_blank_and_unknown_lines_stay_in_place() -> None:
    text = f"# staff\n\nalice:{HASH}\nnonsense\nbob:{HASH}\n"
    changed = Htpasswd.parse(text).with_user("alice", OTHER).with_user("carol", HASH)
    assert str(changed) == f"# staff\n\nalice:{OTHER}\nnonsense\nbob:{HASH}\ncarol:{HASH}\n"
    assert changed.users == ("alice", "bob", "carol")


def test_a_last_line_without_newline_is_ended_before_the_next_user() -> None:
    assert str(Htpasswd.parse(f"alice:{HASH}").with_user("bob", HASH)) == f"alice:{HASH}\nbob:{HASH}\n"


def test_the_only_user_leaves_an_empty_file() -> None:
    assert str(Htpasswd.parse(f"alice:{HASH}").without_user("alice")) == ""
    assert str(Htpasswd().with_user("alice", HASH).without_user("alice")) == ""


def test_the_last_line_of_a_name_counts_and_a_change_leaves_one() -> None:
    text = f"alice:{HASH}\nbob:{HASH}\nalice:{OTHER}\n"
    parsed = Htpasswd.parse(text)
    assert parsed.users == ("alice", "bob")
    assert parsed.hash_of("alice") == OTHER
    assert parsed.problems == (Problem(3, "'alice' stands above already; the last line counts"),)
    assert str(parsed.with_user("alice", HASH)) == f"alice:{HASH}\nbob:{HASH}\n"
    assert str(parsed.without_user("alice")) == f"bob:{HASH}\n"


def test_an_unknown_user_has_no_hash_and_removing_one_changes_nothing() -> None:
    parsed = Htpasswd.parse(f"alice:{HASH}\n")
    assert parsed.hash_of("bob") is None
    assert parsed.without_user("bob") == parsed


def test_windows_line_ends_are_no_part_of_the_hash() -> None:
    assert Htpasswd.parse(f"alice:{HASH}\r\nbob:{OTHER}\r\n").hash_of("alice") == HASH


@pytest.mark.parametrize(
    ("line", "reason", "stops"),
    [
        ("alice", "no ':' between name and hash", True),
        ("a:" + "x" * MAX_LINE, "longer than 65536 bytes", True),
        (f":{HASH}", "no name before the ':'", False),
        ("alice:plain", "'alice' has no bcrypt hash, so nobody can log in by this name", False),
        ("alice:$apr1$x$y", "'alice' has no bcrypt hash, so nobody can log in by this name", False),
        (f"alice:{HASH}x", "'alice' has no bcrypt hash, so nobody can log in by this name", False),
    ],
)
def test_a_problem_names_line_and_reason(line: str, reason: str, stops: bool) -> None:
    assert Htpasswd.parse(f"# first\n\n{line}\n").problems == (Problem(3, reason, stops),)


def test_a_sound_file_has_no_problems() -> None:
    assert Htpasswd.parse(f"# x\n\n alice:{HASH} \r\nbob:{WEAK}\n\t\n").problems == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("a:b", "':'"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("a\x7f", "control"),
        ("a\x85b", "control"),
        ("a\ud800", "surrogate"),
        (" a", "blanks"),
        ("a ", "blanks"),
        ("\u00a0a", "blanks"),
        ("#a", "comment"),
        ("a" * 256, "255 bytes"),
        ("ä" * 128, "255 bytes"),
    ],
)
def test_a_bad_name_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(BadUserName, match=reason) as caught:
        check_name(name)
    assert (caught.value.exit_code, caught.value.code) == (2, "bad-user-name")
    with pytest.raises(BadUserName, match=reason):
        Htpasswd().with_user(name, HASH)


@pytest.mark.parametrize("name", ["a", "a" * 255, "alice@example.org", "Jo Doe", "a#", "日本", "-x"])
def test_a_good_name_is_given_back_and_found_again(name: str) -> None:
    assert check_name(name) == name
    assert Htpasswd.parse(str(Htpasswd().with_user(name, HASH))).users == (name,)


def test_what_is_no_bcrypt_hash_is_never_written() -> None:
    with pytest.raises(ValueError, match="bcrypt"):
        Htpasswd().with_user("alice", f"{HASH}\nmallory:{HASH}")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "empty"),
        ("a" * 73, "73 bytes"),
        ("ä" * 37, "74 bytes"),
        ("a\0b", "NUL"),
        ("a\nb", "line break"),
        ("a\r", "line break"),
        ("abc\udc80", "UTF-8"),
    ],
)
def test_a_bad_password_is_refused_with_its_reason_and_never_shown(password: str, reason: str) -> None:
    with pytest.raises(BadPassword, match=reason) as caught:
        check_password(Secret(password))
    assert (caught.value.exit_code, caught.value.code) == (2, "bad-password")
    assert caught.value.__cause__ is None
    with pytest.raises(BadPassword):
        hash_password(Secret(password), Cost.FAST)


def test_72_bytes_are_the_longest_password() -> None:
    longest = Secret("ä" * 36)
    assert check_password(longest) is longest
    hashed = hash_password(longest, Cost.FAST)
    assert verify_password(longest.reveal().encode(), hashed)
    assert not verify_password(b"x" + longest.reveal().encode()[1:], hashed)


def test_generated_passwords_differ_and_pass_our_own_check() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        assert len(check_password(password).reveal()) == 24
        assert set(password.reveal()) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize("cost", Cost)
def test_the_cost_stands_in_the_hash(cost: Cost) -> None:
    assert hash_password(Secret("x"), cost).startswith(f"$2y${cost.value:02}$")


def test_the_right_password_verifies_and_others_do_not() -> None:
    hashed = hash_password(Secret("pässword"), Cost.FAST)
    assert verify_password("pässword".encode(), hashed)
    assert not verify_password(b"password", hashed)
    assert not verify_password(b"", hashed)
    assert hash_password(Secret("pässword"), Cost.FAST) != hashed


@pytest.mark.parametrize("other", "/Nz9")
def test_bits_of_the_salt_that_mean_nothing_may_be_any_as_in_registry2(other: str) -> None:
    """Some programs draw the salt's 22 characters at random; Go reads 2 bits of the last one."""
    hashed = hash_password(Secret("pa"), Cost.FAST)
    found = ALPHABET.index(hashed[28]) & 0b110000 | ALPHABET.index(other) & 0b1111
    odd = hashed[:28] + ALPHABET[found] + hashed[29:]
    assert odd != hashed
    assert verify_password(b"pa", odd)
    assert not verify_password(b"pb", odd)


def test_only_72_bytes_count_at_verification_as_in_registry2() -> None:
    hashed = hash_password(Secret("x" * 72), Cost.FAST)
    assert verify_password(b"x" * 100, hashed)
    assert not verify_password(b"x" * 71, hashed)


@given(st.text(max_size=80))
def test_what_is_no_hash_verifies_nothing(text: str) -> None:
    assert not verify_password(b"x", text)


@needs_apache
def test_our_hash_is_accepted_by_apaches_tool(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(str(Htpasswd().with_user("alice", hash_password(Secret("geheim"), Cost.FAST))))
    verify = ["htpasswd", "-vi", str(file), "alice"]
    assert subprocess.run(verify, input=b"geheim", capture_output=True, check=False).returncode == 0
    assert subprocess.run(verify, input=b"falsch", capture_output=True, check=False).returncode == 3


@needs_apache
def test_the_hash_of_apaches_tool_is_accepted_by_us(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    subprocess.run(["htpasswd", "-ciB", str(file), "alice"], input=b"geheim", capture_output=True, check=True)
    parsed = Htpasswd.parse(file.read_text())
    hashed = parsed.hash_of("alice")
    assert parsed.problems == ()
    assert hashed is not None
    assert verify_password(b"geheim", hashed)
    assert not verify_password(b"falsch", hashed)


@needs_apache
def test_apaches_tool_edits_our_file_and_keeps_our_lines(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"# staff\nalice:{HASH}\n")
    subprocess.run(["htpasswd", "-iB", str(file), "bob"], input=b"x", capture_output=True, check=True)
    parsed = Htpasswd.parse(file.read_text())
    assert parsed.users == ("alice", "bob")
    assert parsed.lines[:2] == ("# staff", f"alice:{HASH}")
