"""One tree, two registries: what one wrote the other serves; registry:2's collector keeps what is tagged."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX
from tests.registry.harness import (
    Client,
    DockerRegistry,
    Running,
    collect_garbage,
    descriptor,
    image,
    index,
    local,
)
from tests.registry.strange import CONFIG, LAYER, STRANGE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is not installed"),
]
ACCEPT = ", ".join((OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST))


class Tree:
    """What was pushed: manifests by repository and reference, and blobs by repository and digest."""

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}

    def image(self, client: Client, repository: str, reference: str, **more: str) -> bytes:
        algorithm = more.pop("algorithm", "sha256")
        config, layer = uuid4().bytes, os.urandom(5000)
        for content in (config, layer):
            client.push_blob(repository, content, algorithm)
            self.blobs[repository, str(Digest.of(content, algorithm))] = content
        made = image(config, (layer,), algorithm=algorithm, **more)
        self.manifest(client, repository, reference or str(Digest.of(made, algorithm)), made)
        return made

    def manifest(self, client: Client, repository: str, reference: str, content: bytes) -> None:
        answer = client.push_manifest(repository, reference, content)
        assert answer.status == 201, answer.body
        self.manifests[repository, reference] = content

    def served_by(self, client: Client) -> None:
        for (repository, reference), content in self.manifests.items():
            got = client.get(f"/v2/{repository}/manifests/{reference}", Accept=ACCEPT)
            assert (got.status, got.body) == (200, content), (repository, reference)
        for (repository, digest), content in self.blobs.items():
            got = client.get(f"/v2/{repository}/blobs/{digest}")
            assert (got.status, got.body) == (200, content), (repository, digest)
            assert client.head(f"/v2/{repository}/blobs/{digest}").status == 200


def fill(client: Client) -> Tree:
    """Push images, a list of two platforms, a moved tag, a shared blob and a Docker manifest."""
    tree = Tree()
    tree.image(client, "library/oci", "1.0")
    tree.image(client, "library/docker", "1.0", mediaType=DOCKER_IMAGE)
    children = [tree.image(client, "deep/er/app", "") for _ in range(2)]
    tree.manifest(client, "deep/er/app", "multi", index(*children))
    tree.manifest(client, "deep/er/app", "empty", index())
    tree.image(client, "moved", "latest")
    tree.image(client, "moved", "latest")
    return tree


def test_registry_2_serves_what_the_bundled_registry_wrote(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        tree = fill(client)
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        tree.served_by(client)
        names = ["deep/er/app", "library/docker", "library/oci", "moved"]
        assert client.get("/v2/_catalog").json()["repositories"] == names
        assert sorted(client.get("/v2/deep/er/app/tags/list").json()["tags"]) == ["empty", "multi"]


def test_the_bundled_registry_serves_what_registry_2_wrote(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        tree = fill(client)
        their_catalog = client.get("/v2/_catalog").json()
    with Running.start(root) as ours, ours.client() as client:
        tree.served_by(client)
        assert client.get("/v2/_catalog").json() == their_catalog
        assert client.get("/v2/deep/er/app/tags/list").json()["tags"] == ["empty", "multi"]


@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["plain", "delete-untagged"])
def test_their_collector_keeps_every_tagged_image_of_ours(tmp_path: Path, flags: tuple[str, ...]) -> None:
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        tree = fill(client)
        garbage = client.push_blob("library/oci", b"never used by a manifest")
    said = collect_garbage(root, *flags)
    assert str(garbage) in said
    if flags:  # 2.8 deletes the children of tagged lists with -m (distribution#3178)
        tree.manifests = {key: value for key, value in tree.manifests.items() if "deep" not in key[0]}
        tree.blobs = {key: value for key, value in tree.blobs.items() if "deep" not in key[0]}
    moved = [key for key in tree.blobs if key[0] == "moved"]
    for key in moved[:2]:  # of the image that the tag left
        del tree.blobs[key]
    with Running.start(root) as ours, ours.client() as client:
        tree.served_by(client)
        assert client.head(f"/v2/library/oci/blobs/{garbage}").status == 404
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        tree.served_by(client)


def test_no_manifest_that_ours_takes_ends_their_collection(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        tree = fill(client)
        client.push_image("strange", None, (LAYER,), config=CONFIG)
        for number, content in enumerate(STRANGE.values()):
            client.ask("PUT", f"/v2/strange/manifests/{number}", content)
    collect_garbage(root)
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        tree.served_by(client)


def test_a_blob_that_their_collector_took_can_be_pushed_again(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        digest = client.push_blob("app", b"collected")
        client.push_image("app")
        collect_garbage(root)
        assert client.head(f"/v2/app/blobs/{digest}").status == 404
        assert client.push_blob("app", b"collected") == digest
        assert client.get(f"/v2/app/blobs/{digest}").body == b"collected"


def test_sha512_survives_registry_2_and_its_collector(tmp_path: Path) -> None:
    """Stored under its own digest, not as an alias: the collector marks the digests that manifests name."""
    root = tmp_path / "data"
    tree = Tree()
    with Running.start(root) as ours, ours.client() as client:
        config, layer = uuid4().bytes, os.urandom(5000)
        for content in (config, layer):
            client.push_blob("strong", content, "sha512")
            tree.blobs["strong", str(Digest.of(content, "sha512"))] = content
        made = image(config, (layer,), algorithm="sha512")
        digest = Digest.of(made, "sha512")
        assert client.push_manifest("strong", f"{digest}?tag=latest", made).status == 201
        tree.manifests["strong", str(digest)] = tree.manifests["strong", "latest"] = made
    collect_garbage(root)
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        tree.served_by(client)
    with Running.start(root) as ours, ours.client() as client:
        tree.served_by(client)


def test_sha512_as_registry_2_stores_it_is_served(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    content = os.urandom(5000)
    digest = Digest.of(content, "sha512")
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        client.push_blob("alias", content, "sha512")
    with Running.start(root) as ours, ours.client() as client:
        assert client.get(f"/v2/alias/blobs/{digest}").body == content
        assert client.head(f"/v2/alias/blobs/{digest}").status == 200
        answer = client.ask("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=alias")
        assert answer.status == 201
        assert client.get(f"/v2/other/blobs/{digest}").body == content


def test_referrers_that_registry_2_wrote_are_found(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        digest, subject = client.push_image("app")
        attached = image(b"{}", (b"layer",), subject=descriptor(subject, OCI_IMAGE), artifactType="a/b")
        client.push_blob("app", b"{}")
        assert client.push_manifest("app", "first", attached).status == 201
        assert len(client.get(f"/v2/app/referrers/{digest}").json()["manifests"]) == 1
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        other = image(b"{}", (b"layer",), subject=descriptor(subject, OCI_IMAGE), artifactType="c/d")
        assert client.push_manifest("app", "second", other).status == 201
    with Running.start(root) as ours, ours.client() as client:
        found = client.get(f"/v2/app/referrers/{digest}").json()["manifests"]
        assert {entry["artifactType"] for entry in found} == {"a/b", "c/d"}
        assert client.ask("DELETE", "/v2/app/manifests/first").status == 202
        assert client.ask("DELETE", f"/v2/app/manifests/{Digest.of(attached)}").status == 202
        found = client.get(f"/v2/app/referrers/{digest}").json()["manifests"]
        assert [entry["artifactType"] for entry in found] == ["c/d"]


def test_an_upload_that_registry_2_began_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        answer = client.ask("POST", "/v2/app/blobs/uploads/")
        location = local(client.ask("PATCH", local(answer["Location"]), b"half ")["Location"])
    path = location.partition("?")[0]
    digest = Digest.of(b"half and half")
    with Running.start(root) as ours, ours.client() as client:
        assert client.get(path)["Range"] == "0-4"
        assert client.ask("PATCH", path, b"and half").status == 202
        assert client.ask("PUT", f"{path}?digest={digest}").status == 201
        assert client.get(f"/v2/app/blobs/{digest}").body == b"half and half"
