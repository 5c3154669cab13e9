"""The grammar of names: what is allowed comes back unchanged, what is not is named."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.reference import BadReference, Digest, Reference, is_repository, is_tag

ALNUM = string.ascii_lowercase + string.digits
COMPONENTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}", fullmatch=True)
REPOSITORIES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
REGISTRIES = st.one_of(
    st.sampled_from(["localhost", "localhost:5000", "[::1]:5000", "127.0.0.1:5000", "registry:5000"]),
    st.from_regex(r"[a-z0-9]{1,5}\.[a-z0-9]{1,5}(:[0-9]{1,5})?", fullmatch=True),
)
DIGESTS = st.builds(Digest.of, st.binary(), st.sampled_from(["sha256", "sha512"]))
REFERENCES = st.builds(
    Reference, st.none() | REGISTRIES, REPOSITORIES, st.none() | TAGS, st.none() | DIGESTS
).filter(lambda reference: not ambiguous(reference))


def ambiguous(reference: Reference) -> bool:
    """Without a registry, a first component with a dot is read as one; that is the grammar's own doubt."""
    first, slash, _ = reference.repository.partition("/")
    return reference.registry is None and bool(slash) and ("." in first or first == "localhost")


@given(REFERENCES)
def test_a_reference_that_is_printed_parses_to_itself(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.text())
def test_any_text_is_a_reference_or_a_bad_reference(text: str) -> None:
    try:
        parsed = Reference.parse(text)
    except BadReference:
        return
    assert str(parsed) == text
    assert is_repository(parsed.repository)


@given(st.text(ALNUM + "./_-:@", max_size=12))
def test_no_repository_name_escapes_its_root(text: str) -> None:
    if is_repository(text):
        parts = text.split("/")
        assert all(parts)
        assert not any(part.startswith((".", "_", "-")) for part in parts)


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "target"),
    [
        ("app", None, "app", None, "latest"),
        ("app:1.0", None, "app", "1.0", "1.0"),
        ("team/app", None, "team/app", None, "latest"),
        ("localhost/app", "localhost", "app", None, "latest"),
        ("localhost:5000/team/app:1", "localhost:5000", "team/app", "1", "1"),
        ("[::1]:5000/app", "[::1]:5000", "app", None, "latest"),
        ("r.io/a:1@sha256:" + "0" * 64, "r.io", "a", "1", "sha256:" + "0" * 64),
    ],
)
def test_parts_are_told_apart(
    text: str, registry: str | None, repository: str, tag: str | None, target: str
) -> None:
    parsed = Reference.parse(text)
    assert (parsed.registry, parsed.repository, parsed.tag) == (registry, repository, tag)
    assert parsed.target == target


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "bad repository name ''"),
        ("App", "bad repository name 'App'"),
        ("a//b", "bad repository name 'a//b'"),
        ("../etc", "bad registry '..'"),
        ("a/../b", r"bad repository name 'a/\.\./b'"),
        ("a___b", "bad repository name"),
        ("a" * 256, "bad repository name"),
        ("app:", "bad tag ''"),
        ("app:.x", r"bad tag '\.x'"),
        ("app:" + "x" * 129, "bad tag"),
        ("app:1\n", "bad tag"),
        ("-r.io/app", "bad registry '-r.io'"),
        ("r.io:x/app", "bad registry 'r.io:x'"),
        ("http://localhost:5000/app", "bad registry 'http:'"),
        ("docker://r.io/app:1", "bad registry 'docker:'"),
        ("app@", "not a digest: ''"),
        ("app@md5:" + "0" * 32, "not a digest"),
    ],
)
def test_the_part_that_is_wrong_is_named(text: str, part: str) -> None:
    with pytest.raises(BadReference, match=part) as caught:
        Reference.parse(text)
    assert caught.value.code == "bad-reference"
    assert caught.value.fix


def test_a_name_in_capitals_is_given_back_as_it_may_be() -> None:
    with pytest.raises(BadReference) as caught:
        Reference.parse("reg.example/Team/App:1")
    assert caught.value.fix == "write team/app"


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_is_that_of_hashlib_and_parses_to_itself(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "0" * 63 + "\n",
        "sha512:" + "0" * 64,
        "SHA256:" + "0" * 64,
        "md5:" + "0" * 32,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(BadReference, match="not a digest"):
        Digest.parse(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1.0", True),
        ("_x", True),
        ("x" * 128, True),
        ("", False),
        ("-x", False),
        ("x" * 129, False),
        ("a\n", False),
    ],
)
def test_tags_follow_the_grammar(text: str, good: bool) -> None:
    assert is_tag(text) is good
