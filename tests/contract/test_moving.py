"""pull, push and copy over both registries: what goes in comes out by digest, and nothing moves twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.image import layout
from regsetup.image.archive import Archive
from regsetup.image.document import OCI_INDEX
from regsetup.image.files import Directory
from regsetup.image.platform import Platform
from regsetup.image.tree import NoSuchPlatform, Tree
from regsetup.reference import Digest
from regsetup.transfer.source import choose
from regsetup.transfer.watch import Fate
from tests.bed.moving import Shelf, copied, fetched, pushed
from tests.contract.both import REGISTRIES, Serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def client(serve: Serve) -> Iterator[RegistryClient]:
    with RegistryClient(Endpoint(serve().url)) as made:
        yield made


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A layout with an index of two platforms, an attestation, and what is attached to one of them."""
    return Shelf.multi(tmp_path / "made")


def test_an_index_goes_in_and_comes_out_with_all_platforms(
    client: RegistryClient, shelf: Shelf, tmp_path: Path
) -> None:
    digest, watch = pushed(client, "team/app", shelf.path, tag="1")
    assert digest == shelf.root
    assert watch.fates.total() == len(shelf.blobs) == watch.fates[Fate.MOVED]
    tree, watch = fetched(client, "team/app", "1", tmp_path / "out")
    assert tree.root.part.digest == shelf.root
    assert watch.fates[Fate.MOVED] == len(shelf.blobs)
    assert {str(one) for one in tree.platforms} == {"linux/amd64", "linux/arm64"}
    for blob in (*tree.blobs, *(one.part for one in tree.documents)):
        layout.verify(Directory(tmp_path / "out"), blob)


def test_nothing_moves_twice(client: RegistryClient, shelf: Shelf, tmp_path: Path) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    _, again = pushed(client, "team/app", shelf.path, tag="1")
    _, other = pushed(client, "team/other", shelf.path, tag="1", mount_from=["team/nothing", "team/app"])
    fetched(client, "team/app", "1", tmp_path / "out")
    _, twice = fetched(client, "team/app", "1", tmp_path / "out")
    count = len(shelf.blobs)
    assert (again.fates, again.bytes) == ({"there": count}, 0)
    assert (other.fates, other.bytes) == ({"mounted": count}, 0)
    assert (twice.fates, twice.bytes) == ({"there": count}, 0)


def test_one_platform_is_one_manifest(client: RegistryClient, shelf: Shelf, tmp_path: Path) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    tree, _ = fetched(client, "team/app", "1", tmp_path / "out", platform=ARM64)
    assert len(tree.documents) == 1
    assert [one.part.digest for one in layout.images(Directory(tmp_path / "out"))] == [tree.root.part.digest]
    with pytest.raises(NoSuchPlatform):
        fetched(client, "team/app", "1", tmp_path / "other", platform=Platform("linux", "s390x"))
    assert not (tmp_path / "other").exists()


def test_one_platform_of_a_layout_can_be_pushed(client: RegistryClient, shelf: Shelf) -> None:
    digest, _ = pushed(client, "team/arm", shelf.path, tag="1", platform=ARM64)
    found = client.head_manifest("team/arm", "1")
    assert found is not None
    assert found.digest == digest != shelf.root


@pytest.mark.parametrize("docker", [True, False])
def test_an_archive_keeps_the_digest_there_and_back(
    client: RegistryClient, shelf: Shelf, tmp_path: Path, docker: bool
) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    platform = AMD64 if docker else None
    tree, _ = fetched(client, "team/app", "1", tmp_path / "out.tar", docker=docker, platform=platform)
    again, watch = pushed(client, "team/back", tmp_path / "out.tar", tag="1")
    assert again == tree.root.part.digest
    assert watch.fates[Fate.MOVED] == len(tree.blobs)
    with Archive.at(tmp_path / "out.tar") as archive:
        assert (archive.size("manifest.json") is not None) is docker
        assert [one.names for one in layout.images(archive)] == [("reg.example/team/app:1", "1")]


def test_several_images_share_a_layout(client: RegistryClient, shelf: Shelf, tmp_path: Path) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    arm, _ = pushed(client, "team/app", shelf.path, tag="2", platform=ARM64)
    for tag in ("1", "2", "1"):
        fetched(client, "team/app", tag, tmp_path / "out")
    fetched(client, "team/app", str(arm), tmp_path / "out")
    assert {one.names[1]: one.part.digest for one in layout.images(Directory(tmp_path / "out"))} == {
        "1": shelf.root,
        "2": arm,
    }
    pushed(client, "team/app", shelf.path, tag="1", platform=ARM64)  # the tag moves on
    fetched(client, "team/app", "1", tmp_path / "out")
    found = choose(Directory(tmp_path / "out"), "app:1", None, compress=True).image
    assert isinstance(found, Tree)
    assert found.root.part.digest == arm
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert {one["digest"] for one in index["manifests"]} == {str(arm)}


@pytest.mark.parametrize("other", REGISTRIES)
def test_a_copy_has_its_digest_and_what_is_attached(
    client: RegistryClient, shelf: Shelf, tmp_path: Path, other: str
) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    signature = shelf.sign(client, "team/app", shelf.root)
    comment = shelf.sign(client, "team/app", signature)
    second = Serve(other, tmp_path / "second", [])
    (tmp_path / "second").mkdir()
    try:
        with RegistryClient(Endpoint(second().url)) as target:
            watch = copied(client, "team/app", "1", target, "new/app", tag="2")
            assert watch.fates[Fate.MOVED] == len(shelf.blobs) + 1  # one empty configuration for both
            got = target.get_manifest("new/app", "2")
            assert got.digest == shelf.root
            assert [one.digest for one in target.referrers("new/app", shelf.root)] == [signature]
            assert [one.digest for one in target.referrers("new/app", signature)] == [comment]
            again = copied(client, "team/app", "1", target, "new/app", tag="2")
            assert again.bytes == 0
            assert [one.digest for one in target.referrers("new/app", shelf.root)] == [signature]
            copied(client, "team/app", "1", target, "bare/app", tag="2", referrers=False)
            assert target.referrers("bare/app", shelf.root) == ()
    finally:
        for served in second.started:
            served.stop()


def test_an_index_that_refers_to_an_image_is_listed_with_it(
    client: RegistryClient, shelf: Shelf, tmp_path: Path
) -> None:
    """An index may have a subject as a manifest has; registry:2 is told of it by tag."""
    pushed(client, "team/app", shelf.path, tag="1")
    found = client.head_manifest("team/app", "1")
    assert found is not None
    subject = {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}
    attached = Shelf(tmp_path / "attached")
    entry = attached.image([attached.layer({"sbom": b"{}"})], "linux/amd64")
    document = {"schemaVersion": 2, "manifests": [entry], "subject": subject, "artifactType": "x/sboms"}
    attached.finish(attached.document(document, OCI_INDEX))
    pushed(client, "team/app", attached.path, tag="sboms")
    (listed,) = client.referrers("team/app", shelf.root)
    assert (listed.digest, listed.artifact_type) == (attached.root, "x/sboms")
    copied(client, "team/app", "1", client, "copy/app", tag="1")
    assert [one.digest for one in client.referrers("copy/app", shelf.root)] == [attached.root]


def test_what_was_pulled_by_digest_is_pushed_by_digest(
    client: RegistryClient, shelf: Shelf, tmp_path: Path
) -> None:
    """It has no name in the layout, and there may be several."""
    second = Shelf.single(tmp_path / "second")
    for one in (shelf, second):
        pushed(client, "team/app", one.path, tag="1")
        fetched(client, "team/app", str(one.root), tmp_path / "out")
    for one in (shelf, second):
        with Directory(tmp_path / "out") as files:
            found = choose(files, str(one.root), None, compress=True).image
        assert isinstance(found, Tree)
        assert found.root.part.digest == one.root


def test_within_a_registry_nothing_travels(client: RegistryClient, shelf: Shelf) -> None:
    pushed(client, "team/app", shelf.path, tag="1")
    watch = copied(client, "team/app", "1", client, "copy/app", tag="1")
    assert (watch.fates, watch.bytes) == ({"mounted": len(shelf.blobs)}, 0)
    assert client.get_manifest("copy/app", "1").digest == shelf.root


def test_a_blob_that_lies_elsewhere_by_its_own_word_is_left_out(
    client: RegistryClient, tmp_path: Path
) -> None:
    shelf = Shelf.foreign(tmp_path / "made")
    pushed(client, "team/app", shelf.path, tag="1")
    for target in ("out", "out.tar"):
        tree, _ = fetched(client, "team/app", "1", tmp_path / target, docker=False)
        assert Digest.of(b"elsewhere") not in {blob.digest for blob in tree.blobs}
        assert pushed(client, f"team/{target}", tmp_path / target, tag="1")[0] == shelf.root
