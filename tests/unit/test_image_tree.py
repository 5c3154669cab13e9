"""Manifests read strictly, and all that belongs to an image found from its top."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.image.document import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    BadManifest,
    OldSchema,
    Part,
    parse,
)
from regsetup.image.platform import Platform
from regsetup.image.tree import NoSuchPlatform, Tree, check_platform, grow
from regsetup.reference import Digest

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


class Shelf:
    """Content by digest."""

    def __init__(self) -> None:
        self.content: dict[Digest, bytes] = {}
        self.asked: list[Digest] = []

    def add(self, document: object, media_type: str, platform: str | None = None) -> dict[str, Any]:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = Digest.of(content)
        self.content[digest] = content
        entry: dict[str, Any] = {"mediaType": media_type, "digest": str(digest), "size": len(content)}
        if platform:
            entry["platform"] = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
        return entry

    def image(self, name: str, platform: str | None = None, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
        blobs = {"config": self.add(f"c{name}".encode(), OCI_CONFIG), "layers": [self.add(b"shared", LAYER)]}
        return self.add({"schemaVersion": 2, "mediaType": media_type, **blobs}, media_type, platform)

    def index(self, *entries: dict[str, Any], media_type: str = OCI_INDEX) -> dict[str, Any]:
        return self.add({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}, media_type)

    def fetch(self, part: Part) -> bytes:
        self.asked.append(part.digest)
        return self.content[part.digest]

    def grow(self, entry: dict[str, Any], wanted: Platform | None = None) -> Tree:
        root = Part(Digest.parse(entry["digest"]), entry["size"], entry["mediaType"])
        return grow(root, self.fetch, "app:1", wanted)


def test_an_index_comes_after_its_manifests_and_shared_blobs_once() -> None:
    shelf = Shelf()
    top = shelf.index(shelf.image("a", "linux/amd64"), shelf.image("b", "linux/arm64"))
    tree = shelf.grow(top)
    assert [one.document.media_type for one in tree.documents] == [OCI_MANIFEST, OCI_MANIFEST, OCI_INDEX]
    assert len(tree.blobs) == 3
    assert str(tree.root.part.digest) == top["digest"]
    assert tree.platforms == (AMD64, ARM64)
    assert tree.size == sum(len(shelf.content[blob.digest]) for blob in tree.blobs)


def test_one_platform_of_an_index_is_its_manifest() -> None:
    shelf = Shelf()
    arm = shelf.image("b", "linux/arm64")
    tree = shelf.grow(shelf.index(shelf.image("a", "linux/amd64"), shelf.index(arm), arm), ARM64)
    assert [str(one.part.digest) for one in tree.documents] == [arm["digest"]]


def test_an_index_around_one_image_that_says_nothing_is_that_image() -> None:
    shelf = Shelf()
    only = shelf.image("a")
    assert str(shelf.grow(shelf.index(only), ARM64).root.part.digest) == only["digest"]
    assert shelf.grow(only, ARM64).root.document.media_type == OCI_MANIFEST


def test_a_platform_that_is_not_there_is_told_with_those_that_are() -> None:
    shelf = Shelf()
    top = shelf.index(shelf.image("a", "linux/amd64"), shelf.image("x", "unknown/unknown"))
    with pytest.raises(NoSuchPlatform) as caught:
        shelf.grow(top, ARM64)
    assert (caught.value.cause, caught.value.fix) == ("it is there for linux/amd64", "--platform linux/amd64")
    with pytest.raises(NoSuchPlatform, match="not there for linux/arm64"):
        check_platform(b'{"os": "linux", "architecture": "amd64"}', ARM64, "app:1")
    check_platform(b'{"os": "linux", "architecture": "arm64"}', ARM64, "app:1")
    check_platform(b"{}", ARM64, "app:1")


def test_entries_of_an_index_that_are_no_manifests_are_blobs() -> None:
    """A build cache: its layers stand in an index."""
    shelf = Shelf()
    layer = shelf.add(b"cache", "application/vnd.oci.image.layer.v1.tar+zstd")
    assert [str(blob.digest) for blob in shelf.grow(shelf.index(layer)).blobs] == [layer["digest"]]


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_shared_indexes_are_walked_once(media_type: str) -> None:
    """Eight levels of fifty entries each would be 39 million million fetches."""
    shelf = Shelf()
    entry = shelf.image("a")
    for _ in range(7):
        entry = shelf.index(*[entry] * 50, media_type=media_type)
    assert len(shelf.grow(entry).documents) == 8
    assert len(shelf.asked) == 8


def test_indexes_without_end_are_refused() -> None:
    shelf = Shelf()
    entry = shelf.image("a")
    for _ in range(12):
        entry = shelf.index(entry)
    with pytest.raises(BadManifest, match="app:1"):
        shelf.grow(entry)
    with pytest.raises(BadManifest, match="app:1"):
        shelf.grow(entry, AMD64)


def test_a_manifest_of_another_length_or_too_long_is_refused() -> None:
    shelf = Shelf()
    entry = shelf.image("a")
    with pytest.raises(BadManifest) as caught:
        shelf.grow(entry | {"size": 5})
    assert "bytes, not 5" in str(caught.value.cause)
    with pytest.raises(BadManifest) as caught:
        shelf.grow(entry | {"size": 5 << 20})
    assert "a manifest of 5242880 bytes" in str(caught.value.cause)


GOOD = {"mediaType": LAYER, "digest": f"sha256:{'0' * 64}", "size": 1}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        ({"config": GOOD, "manifests": []}, "at once"),
        ({"layers": [GOOD]}, "not a digest"),
        ({"config": GOOD, "layers": {}}, "no list"),
        ({"config": GOOD, "layers": ["x"]}, "not a digest"),
        ({"config": GOOD | {"size": -1}}, "no usable size"),
        ({"config": GOOD | {"size": True}}, "no usable size"),
        ({"config": GOOD | {"mediaType": None}}, "no media type"),
        ({"config": GOOD | {"digest": "../../etc/passwd"}}, "not a digest"),
        ({"mediaType": OCI_INDEX, "config": GOOD}, "no such keys"),
        ({"mediaType": DOCKER_MANIFEST, "config": GOOD}, "says of itself"),
        ({"config": GOOD, "subject": 7}, "not a digest"),
    ],
)
def test_what_is_no_manifest_is_refused(document: object, reason: str) -> None:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(BadManifest) as caught:
        parse(content, OCI_MANIFEST if reason == "says of itself" else "", "app:1")
    assert reason in str(caught.value.cause)


@pytest.mark.parametrize("said", ["", "application/vnd.docker.distribution.manifest.v1+prettyjws"])
def test_schema_1_is_refused_by_name(said: str) -> None:
    with pytest.raises(OldSchema, match="app:1 has a manifest of schema 1"):
        parse(b'{"schemaVersion": 1, "fsLayers": []}', said, "app:1")


def test_a_manifest_says_what_it_is_attached_to() -> None:
    document = parse(json.dumps({"config": GOOD, "layers": None, "subject": GOOD}).encode(), "", "x")
    assert (document.media_type, document.subject) == (OCI_MANIFEST, Digest("sha256", "0" * 64))
    assert document.blobs[0].as_json() == GOOD


KEYS = st.sampled_from(
    ["config", "layers", "manifests", "mediaType", "digest", "size", "subject", "platform"]
)
VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from([OCI_INDEX, "sha256:" + "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        document = parse(content, "", "app:1")
    except (BadManifest, OldSchema):
        return
    assert all(one.size >= 0 for one in (*document.children, *document.blobs))
