"""What has no I/O: routes, ranges, pages, manifests. Examples and laws."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.reference import Digest, is_repository
from regsetup.registry.content import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    OCI_IMAGE,
    OCI_INDEX,
    media_type_of,
    parse,
    subject_of,
)
from regsetup.registry.errors import (
    ApiError,
    ManifestInvalid,
    NameInvalid,
    PaginationNumberInvalid,
    RangeInvalid,
)
from regsetup.registry.paging import link, page
from regsetup.registry.ranges import byte_range, matches, upload_range
from regsetup.registry.routing import Kind, Route, route
from regsetup.registry.tags import lexical
from tests.registry.harness import descriptor, image, index
from tests.registry.strange import STRANGE

COMPONENTS = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(
    lambda text: len(text) < 60
)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join).filter(is_repository)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)


@given(NAMES, TAGS)
def test_every_name_finds_its_way(name: str, tag: str) -> None:
    assert route(f"/v2/{name}/manifests/{tag}") == Route(Kind.MANIFEST, name, tag)
    assert route(f"/v2/{name}/blobs/{tag}") == Route(
        Kind.UPLOADS if tag == "uploads" else Kind.BLOB, *((name,) if tag == "uploads" else (name, tag))
    )
    assert route(f"/v2/{name}/blobs/uploads/") == Route(Kind.UPLOADS, name)
    assert route(f"/v2/{name}/blobs/uploads/{tag}") == Route(Kind.UPLOAD, name, tag)
    assert route(f"/v2/{name}/tags/list") == Route(Kind.TAGS, name)
    assert route(f"/v2/{name}/referrers/{tag}") == Route(Kind.REFERRERS, name, tag)


@given(st.text(max_size=80))
def test_a_route_never_has_a_name_outside_the_grammar(text: str) -> None:
    for path in (text, f"/v2/{text}", f"/v2/{text}/manifests/x", f"/v2/{text}/blobs/uploads/x"):
        try:
            found = route(path)
        except NameInvalid:
            continue
        assert found.repository == "" or is_repository(found.repository)
        assert ".." not in found.repository


@pytest.mark.parametrize(
    ("header", "size", "found"),
    [
        (None, 10, None),
        ("bytes=0-4", 10, (0, 4)),
        ("bytes = 2 - ", 10, (2, 9)),
        ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)),
        ("bytes=9-99999999999999999999999", 10, (9, 9)),
        ("bytes=0-1,4-5", 10, None),
        ("items=0-1", 10, None),
    ],
)
def test_ranges(header: str | None, size: int, found: tuple[int, int] | None) -> None:
    assert byte_range(header, size) == found


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=a-b", "bytes", "bytes=٣-"]
)
def test_ranges_that_can_not_be_served(header: str) -> None:
    with pytest.raises(RangeInvalid) as caught:
        byte_range(header, 10)
    assert caught.value.headers == {"Content-Range": "bytes */10"}


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 41), st.integers(0, 1 << 41))
def test_a_range_is_always_inside(size: int, first: int, last: int) -> None:
    for header in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        try:
            found = byte_range(header, size)
        except RangeInvalid:
            continue
        assert found is not None
        assert 0 <= found[0] <= found[1] < size


@given(st.text(max_size=30))
def test_any_range_header_is_read_or_refused(header: str) -> None:
    with contextlib.suppress(RangeInvalid):
        assert byte_range(f"bytes={header}", 100) is None or header
    with contextlib.suppress(RangeInvalid):
        assert upload_range(header)[0] >= 0


@pytest.mark.parametrize("header", ["0-9", "bytes 0-9/10", "bytes=0-9", "0-9/*"])
def test_forms_of_an_upload_range(header: str) -> None:
    assert upload_range(header) == (0, 9)


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("", False),
    ],
)
def test_if_none_match(header: str | None, same: bool) -> None:
    assert matches(header, "a") is same


@given(st.lists(TAGS, unique=True, max_size=30), st.integers(1, 10))
def test_pages_together_are_the_whole_list(tags: list[str], n: int) -> None:
    tags.sort(key=lexical)
    found: list[str] = []
    last = None
    more = True
    while more:
        names, more = page(tags, str(n), last, lexical)
        found += names
        last = names[-1] if names else None
    assert found == tags


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "²"])
def test_a_page_size_is_a_number(n: str) -> None:
    with pytest.raises(PaginationNumberInvalid):
        page(["a"], n, None)


@pytest.mark.parametrize("n", ["9" * 18, "9" * 30, "9" * 5000])
def test_no_number_of_entries_is_too_large(n: str) -> None:
    assert page(["a", "b"], n, "a") == (["b"], False)


def test_a_link_is_escaped() -> None:
    assert link("/v2/_catalog", ["a", "b/c"], "2") == '</v2/_catalog?last=b%2Fc&n=2>; rel="next"'


def test_tags_are_ordered_without_regard_to_case() -> None:
    assert sorted(["b", "A", "a", "B", "_"], key=lexical) == ["_", "A", "a", "B", "b"]


def change(content: bytes, **fields: Any) -> bytes:
    document = json.loads(content) | fields
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


IMAGE = image(b"{}", (b"layer",))
INDEX = index(IMAGE)
SUBJECT = descriptor(b"subject", OCI_IMAGE)


@pytest.mark.parametrize(
    ("content", "header", "found"),
    [
        (IMAGE, OCI_IMAGE, OCI_IMAGE),
        (IMAGE, "", OCI_IMAGE),
        (IMAGE, f"{OCI_IMAGE.upper()}; charset=utf-8", OCI_IMAGE),
        (change(IMAGE, mediaType=...), OCI_IMAGE, OCI_IMAGE),
        (change(IMAGE, mediaType=...), "application/json", OCI_IMAGE),
        (change(INDEX, mediaType=...), "", OCI_INDEX),
        (change(IMAGE, mediaType=DOCKER_IMAGE), DOCKER_IMAGE, DOCKER_IMAGE),
        (change(INDEX, mediaType=DOCKER_LIST), DOCKER_LIST, DOCKER_LIST),
    ],
)
def test_the_type_of_a_manifest(content: bytes, header: str, found: str) -> None:
    assert parse(content, header).media_type == found
    assert media_type_of(content) == found


INVALID = {
    "a type that is not stated": (change(IMAGE, mediaType=...), DOCKER_IMAGE),
    "an index that is called an image": (change(INDEX, mediaType=...), OCI_IMAGE),
    "types that do not agree": (IMAGE, DOCKER_IMAGE),
    "no schema version": (change(IMAGE, schemaVersion=...), ""),
    "schema version 3": (change(IMAGE, schemaVersion=3), ""),
    "a type of another kind": (change(IMAGE, mediaType=7), ""),
    "an unknown type": (change(IMAGE, mediaType="text/html"), ""),
    "no config": (change(IMAGE, config=...), ""),
    "no layers": (change(IMAGE, layers=...), ""),
    "layers that are no list": (change(IMAGE, layers={}), ""),
    "a layer that is no object": (change(IMAGE, layers=["x"]), ""),
    "a negative size": (change(IMAGE, config=SUBJECT | {"size": -1}), ""),
    "a size that is true": (change(IMAGE, config=SUBJECT | {"size": True}), ""),
    "a digest of another kind": (change(IMAGE, config=SUBJECT | {"digest": "md5:1"}), ""),
    "a digest that is none": (change(IMAGE, config=SUBJECT | {"digest": None}), ""),
    "a subject that is text": (change(IMAGE, subject="x"), ""),
    "annotations that are a list": (change(IMAGE, annotations=[1]), ""),
    "an annotation that is a number": (change(IMAGE, annotations={"a": 1}), ""),
    "an index with layers": (change(INDEX, layers=[]), ""),
    "an image with manifests": (change(IMAGE, manifests=[]), ""),
    "deep nesting": (b"[" * 100_000, ""),
    "schema 1": (b'{"schemaVersion": 1}', ""),
    "schema 1 by header": (IMAGE, DOCKER_SCHEMA1),
}


@pytest.mark.parametrize(("content", "header"), INVALID.values(), ids=INVALID)
def test_what_is_no_manifest(content: bytes, header: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse(content, header)


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_what_distribution_would_not_read_is_no_manifest(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse(content)


def test_what_a_manifest_says() -> None:
    found = parse(change(IMAGE, subject=SUBJECT, annotations=None, artifactType=None))
    assert [str(blob.digest) for blob in found.blobs] == [str(Digest.of(b"{}")), str(Digest.of(b"layer"))]
    assert found.subject is not None
    assert found.subject.digest == Digest.of(b"subject")
    assert found.artifact_type == "application/vnd.oci.image.config.v1+json"
    assert found.annotations == {}
    assert parse(INDEX).children[0].digest == Digest.of(IMAGE)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"schemaVersion": 1}', DOCKER_SCHEMA1),
        (b'{"schemaVersion": 1, "signatures": []}', DOCKER_SCHEMA1_SIGNED),
        (b'{"mediaType": "a/b"}', "a/b"),
        (b'{"mediaType": "a/b\\r\\nX: y"}', "application/octet-stream"),
        (b'{"mediaType": 7}', "application/octet-stream"),
        (b"not JSON", "application/octet-stream"),
    ],
)
def test_what_other_registries_stored_is_served_as_something(content: bytes, found: str) -> None:
    assert media_type_of(content) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{}", None),
        (b'"subject"', None),
        (b'{"subject": null}', None),
        (b'{"subject": {"digest": "x"}}', None),
        (change(IMAGE, subject=SUBJECT), Digest.of(b"subject")),
    ],
)
def test_subjects_of_stored_manifests(content: bytes, found: Digest | None) -> None:
    assert subject_of(content) == found


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "schemaVersion",
                        "mediaType",
                        "config",
                        "layers",
                        "manifests",
                        "subject",
                        "digest",
                        "size",
                        "annotations",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(document: Any) -> None:
    content = json.dumps(document).encode()
    assert media_type_of(content)
    subject_of(content)
    with contextlib.suppress(ManifestInvalid):
        assert parse(content).media_type in {OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert media_type_of(content)
    with pytest.raises(ManifestInvalid):
        parse(content)


def test_an_error_is_the_document_of_the_specification() -> None:
    error = ApiError("it failed", detail={"a": 1}, status=418)
    assert json.loads(error.body()) == {
        "errors": [{"code": "UNKNOWN", "message": "it failed", "detail": {"a": 1}}]
    }
    assert error.status == 418
    assert json.loads(ApiError("x").body()) == {"errors": [{"code": "UNKNOWN", "message": "x"}]}
