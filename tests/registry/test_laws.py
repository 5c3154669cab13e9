"""Laws of the store: any chunking gives the same blob, and what is pushed is what is pulled."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE
from regsetup.registry.disk.store import open_store
from regsetup.registry.disk.uploads import portions
from regsetup.registry.errors import (
    BlobUnknown,
    Denied,
    DigestInvalid,
    ManifestUnknown,
    NameUnknown,
    TooManyRequests,
    UploadUnknown,
)
from regsetup.registry.store import StoredManifest
from tests.registry.harness import descriptor, image

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.registry.store import Store

ON_DISK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.sampled_from([1, 700, 50_000])), max_size=9))
def test_chunks_of_any_length_are_written_in_order_64_kib_at_a_time(made: list[tuple[bytes, int]]) -> None:
    chunks = [piece * times for piece, times in made]
    found = list(portions(chunks))
    assert b"".join(piece for portion in found for piece in portion) == b"".join(chunks)
    lengths = [sum(map(len, portion)) for portion in found]
    assert all(0 < length <= 64 << 10 for length in lengths)
    assert all(one + other > 32 << 10 for one, other in itertools.pairwise(lengths)), (
        "none is shorter than it need be"
    )


def push(store: Store, content: bytes, repository: str = "app") -> Digest:
    identifier = store.uploads.start(repository)
    with store.uploads.hold(repository, identifier) as session:
        session.append([content], parallel=False)
        session.commit(Digest.of(content))
    return Digest.of(content)


def put(store: Store, content: bytes, repository: str = "app") -> Digest:
    digest = Digest.of(content)
    store.referrers.put(repository, StoredManifest(digest, OCI_IMAGE, content), None)
    return digest


def pulled(store: Store, digest: Digest, repository: str = "app") -> bytes:
    blob = store.blobs.open(repository, digest)
    try:
        return os.pread(blob.descriptor, blob.size + 1, 0)
    finally:
        os.close(blob.descriptor)


@ON_DISK
@given(
    st.lists(st.lists(st.binary(max_size=200), max_size=4), max_size=5),
    st.sampled_from(["sha256", "sha512"]),
    st.sampled_from(["sha256", "sha512"]),
    st.booleans(),
    st.booleans(),
)
def test_any_chunking_gives_the_same_blob(
    tmp_path: Path, requests: list[list[bytes]], hashed: str, wanted: str, parallel: bool, restarts: bool
) -> None:
    """Over several requests, hashed by another algorithm than asked for, with restarts between."""
    store = open_store(tmp_path)
    identifier = store.uploads.start("app")
    content = b""
    for chunks in requests:
        if restarts:
            store = open_store(tmp_path)
        with store.uploads.hold("app", identifier, hashed) as session:
            session.append(chunks, parallel=parallel)
        content += b"".join(chunks)
        assert store.uploads.size("app", identifier) == len(content)
    digest = Digest.of(content, wanted)
    with store.uploads.hold("app", identifier, wanted) as session:
        session.commit(digest)
    assert pulled(store, digest) == content
    assert open_store(tmp_path).blobs.verify(digest) == len(content)
    with pytest.raises(UploadUnknown):
        store.uploads.size("app", identifier)


@ON_DISK
@given(st.binary(max_size=300), st.binary(min_size=1, max_size=3))
def test_another_digest_is_never_stored(tmp_path: Path, content: bytes, more: bytes) -> None:
    store = open_store(tmp_path)
    identifier = store.uploads.start("app")
    with store.uploads.hold("app", identifier) as session:
        session.append([content, more], parallel=True)
        with pytest.raises(DigestInvalid):
            session.commit(Digest.of(content))
    assert not store.uploads.expire("app", time.time() + 1)


def test_more_pieces_than_one_system_call_takes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    pieces = [os.urandom(3) for _ in range(2000)]
    identifier = store.uploads.start("app")
    with store.uploads.hold("app", identifier) as session:
        session.append(pieces, parallel=False)
        session.commit(Digest.of(b"".join(pieces)))
    assert pulled(store, Digest.of(b"".join(pieces))) == b"".join(pieces)


def test_one_request_holds_an_upload(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identifier = store.uploads.start("app")
    with store.uploads.hold("app", identifier):
        with pytest.raises(TooManyRequests), store.uploads.hold("app", identifier):
            raise AssertionError
        assert store.uploads.expire("app", time.time() + 100) == 0
    assert store.uploads.expire("app", time.time() + 100) == 1
    with pytest.raises(UploadUnknown), store.uploads.hold("app", identifier):
        raise AssertionError


def test_an_upload_that_was_cancelled_meanwhile_stores_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    identifier = store.uploads.start("app")
    with store.uploads.hold("app", identifier) as session:
        session.append([b"content"], parallel=False)
        store.uploads.cancel("app", identifier)
        with pytest.raises(UploadUnknown):
            session.commit(Digest.of(b"content"))
    with pytest.raises(BlobUnknown):
        store.blobs.target("app", Digest.of(b"content"))


@pytest.mark.parametrize(
    "identifier", ["", "..", "../../app", "x" * 36, "00000000-0000-0000-0000-000000000000"]
)
def test_an_identifier_that_is_none_finds_nothing(tmp_path: Path, identifier: str) -> None:
    uploads = open_store(tmp_path).uploads
    for ask in (uploads.size, uploads.cancel):
        with pytest.raises(UploadUnknown):
            ask("app", identifier)


def test_many_sessions_do_not_fill_the_memory(tmp_path: Path) -> None:
    """The oldest hash state is dropped, and its upload is hashed again from disk."""
    store = open_store(tmp_path)
    identifiers = [store.uploads.start("app") for _ in range(260)]
    for identifier in identifiers:
        with store.uploads.hold("app", identifier) as session:
            session.append([identifier.encode()], parallel=False)
    with store.uploads.hold("app", identifiers[0]) as session:
        session.append([b"more"], parallel=False)
        session.commit(Digest.of(identifiers[0].encode() + b"more"))


def test_blobs_are_listed_and_strange_files_passed_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digest = push(store, b"content")
    blobs = tmp_path / "docker/registry/v2/blobs"
    (blobs / "file").write_text("")
    (blobs / "sha256" / "ab").mkdir()
    (blobs / "sha256" / "ab" / "nothing").mkdir()
    (blobs / "sha256" / "ab" / ("ab" * 32)).mkdir()
    assert [(entry.digest, entry.size) for entry in store.blobs.each()] == [(digest, 7)]
    assert list(store.blobs.layers("app")) == [digest]


def test_repositories_that_have_a_manifest_are_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.repositories.listed() == []
    push(store, b"x", "empty")
    for name in ("b", "a/b", "a", "a-b"):
        put(store, image(), name)
    assert store.repositories.listed() == ["a", "a-b", "a/b", "b"]
    assert sorted(store.repositories.each()) == ["a", "a-b", "a/b", "b", "empty"]
    assert store.repositories.exists("empty")
    assert not store.repositories.exists("nothing")
    store.manifests.delete("b", Digest.of(image()), lambda _: True)
    assert "b" not in store.repositories.listed()
    assert store.tags.names("b") == []
    assert store.tags.names("empty") == []
    with pytest.raises(NameUnknown):
        store.tags.names("nothing")


def test_a_tag_that_may_not_move(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, second = put(store, image()), put(store, image(b"other"))
    store.tags.set("app", "v1", first, replace=False)
    store.tags.set("app", "v1", first, replace=False)
    with pytest.raises(Denied):
        store.tags.set("app", "v1", second, replace=False)
    with pytest.raises(Denied):
        store.tags.delete("app", "v1", immutable=True)
    with pytest.raises(Denied):
        store.manifests.delete("app", first, lambda tag: tag != "v1")
    assert store.tags.get("app", "v1") == first
    store.manifests.delete("app", second, lambda _: False)
    with pytest.raises(ManifestUnknown):
        store.manifests.delete("app", second, lambda _: True)


def test_manifests_in_memory_have_an_end(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    made = [image(annotations={"large": f"{number}" * 3_000_000}) for number in range(4)]
    for content in made:
        put(store, content)
    for content in made:
        assert store.manifests.get("app", Digest.of(content)).content == content
    assert store.manifests.has("app", Digest.of(made[0]))
    assert set(store.manifests.each("app")) == {Digest.of(content) for content in made}


def test_a_damaged_manifest_is_unknown(tmp_path: Path) -> None:
    digest = put(open_store(tmp_path), image())
    next(tmp_path.rglob("data")).write_bytes(b"damaged")
    store = open_store(tmp_path)
    assert not store.manifests.has("app", digest)
    with pytest.raises(ManifestUnknown):
        store.manifests.get("app", digest)
    put(store, image())
    assert store.manifests.get("app", digest).content == image()


def test_referrers_of_a_damaged_tree(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    subject = put(store, image())
    attached = image(b"a", subject=descriptor(image(), OCI_IMAGE))
    digest = Digest.of(attached)
    store.referrers.put("app", StoredManifest(digest, OCI_IMAGE, attached), subject)
    assert [found.digest for found in store.referrers.of("app", subject)] == [digest]
    for link in tmp_path.rglob("_referrers/*/*/*/*/link"):
        link.unlink()
    next(tmp_path.rglob("scanned")).unlink()
    assert [found.digest for found in open_store(tmp_path).referrers.of("app", subject)] == [digest]
    assert store.referrers.of("other", subject) == []


def test_links_of_referrers_that_are_gone_go_too(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    subject = put(store, image())
    made = [image(name, subject=descriptor(image(), OCI_IMAGE)) for name in (b"a", b"b")]
    for content in made:
        store.referrers.put("app", StoredManifest(Digest.of(content), OCI_IMAGE, content), subject)
    first, second = map(Digest.of, made)
    store.manifests.delete("app", first, lambda _: True)
    assert [found.digest for found in store.referrers.of("app", subject)] == [second]
    assert [link.parent.name for link in tmp_path.rglob("_referrers/*/*/*/*/link")] == [second.hex]
    store.manifests.delete("app", second, lambda _: True)
    assert store.referrers.of("app", subject) == []
    assert [path.name for path in tmp_path.rglob("_referrers/*")] == ["scanned"]
    store.referrers.put("app", StoredManifest(first, OCI_IMAGE, made[0]), subject)
    assert [found.digest for found in store.referrers.of("app", subject)] == [first]
