"""Manifests, tags and referrers, as OCI's conformance suite (development version) checks them one by one."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX
from tests.registry.harness import Client, descriptor, image, index, local

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = "application/vnd.example.oci.conformance.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
ACCEPT = ", ".join((OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST))
NO_REFERRERS = "has no referrers"
NO_TAG_PARAMETERS = "has no tag parameters"
NO_PAGES = "takes no notice of n and last in a list of tags"
SHA512 = "answers with the sha256 of what was pushed as sha512"


@dataclass
class Data:
    """What one case pushes: blobs, then manifests in order, some with tags."""

    algorithm: str = "sha256"
    blobs: list[bytes] = field(default_factory=list)
    manifests: list[bytes] = field(default_factory=list)
    tags: dict[str, bytes] = field(default_factory=dict)
    referrers: dict[bytes, list[tuple[bytes, str]]] = field(default_factory=dict)
    by_parameter: bool = False

    def image(self, tag: str | None = None, layers: int = 2, **more: Any) -> bytes:
        contents = tuple(os.urandom(256) for _ in range(layers))
        config = more.pop(
            "config", b'{"architecture": "amd64", "os": "linux", "x": "%s"}' % uuid4().hex.encode()
        )
        self.blobs += [config, *contents]
        return self.add(image(config, contents, algorithm=self.algorithm, **more), tag)

    def index(self, *children: bytes, tag: str | None = None, **more: Any) -> bytes:
        return self.add(index(*children, algorithm=self.algorithm, **more), tag)

    def artifact(self, kind: str = EXAMPLE, tag: str | None = None, **more: Any) -> bytes:
        return self.image(
            tag, layers=1, config=b"{}", config_type=EMPTY, layer_type=kind, artifactType=kind, **more
        )

    def attach(self, subject: bytes, kind: str, **more: Any) -> bytes:
        """An artifact whose subject is a manifest."""
        made = self.artifact(
            kind,
            annotations={"org.opencontainers.conformance": uuid4().hex},
            subject=self.descriptor(subject),
            **more,
        )
        self.referrers.setdefault(subject, []).append((made, kind))
        return made

    def descriptor(self, manifest: bytes) -> dict[str, Any]:
        return descriptor(manifest, json.loads(manifest)["mediaType"], self.algorithm)

    def digest(self, manifest: bytes) -> Digest:
        return Digest.of(manifest, self.algorithm)

    def add(self, manifest: bytes, tag: str | None) -> bytes:
        self.manifests.append(manifest)
        if tag:
            self.tags[tag] = manifest
        return manifest


def plain_image() -> Data:
    data = Data()
    data.image("image")
    return data


def large_manifest() -> Data:
    data = Data()
    data.image("large", annotations={f"large-annotation-{n}": "A" * 10000 for n in range(390)})
    return data


def multi_platform() -> Data:
    data = Data()
    data.index(data.image(), data.image(), tag="index")
    return data


def nested() -> Data:
    data = Data()
    first = data.index(data.image(), data.image())
    data.index(first, data.index(data.image()), tag="index-of-index")
    return data


def empty_index() -> Data:
    data = Data()
    data.index(tag="empty")
    return data


def artifact() -> Data:
    data = Data()
    data.artifact(tag="artifact")
    return data


def artifact_index() -> Data:
    data = Data()
    data.index(data.artifact(), data.artifact(), tag="artifact-index", artifactType=EXAMPLE)
    return data


def with_subject() -> Data:
    data = Data()
    subject = data.image("image")
    unkind = data.image(config_type="application/vnd.example.config", subject=data.descriptor(subject))
    data.referrers[subject] = [(unkind, "application/vnd.example.config")]
    data.attach(subject, EXAMPLE, tag="one")
    data.attach(subject, f"{EXAMPLE}.other", tag="two")
    return data


def index_with_subject() -> Data:
    data = Data()
    subject = data.index(data.image(), tag="index")
    attached = data.index(
        data.artifact(), tag="attached", artifactType=EXAMPLE, subject=data.descriptor(subject)
    )
    data.referrers[subject] = [(attached, EXAMPLE)]
    return data


def missing_subject() -> Data:
    data = Data()
    data.attach(image(uuid4().bytes), EXAMPLE, tag="attached")
    return data


def data_field() -> Data:
    data = Data()
    config, layer = uuid4().bytes, uuid4().bytes
    data.blobs += [config, layer]
    document = json.loads(image(config, (layer,)))
    for entry, content in ((document["config"], config), (document["layers"][0], layer)):
        entry["data"] = base64.b64encode(content).decode()
    data.add(json.dumps(document).encode(), "data")
    return data


def nondistributable() -> Data:
    data = Data()
    config = uuid4().bytes
    data.blobs.append(config)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    document = json.loads(image(config))
    document["layers"] = [descriptor(os.urandom(32), kind, urls=["https://store.example.com/blobs/"])]
    data.add(json.dumps(document).encode(), "nondistributable")
    return data


def custom_fields() -> Data:
    data = Data()
    child = data.image(org={"example": uuid4().hex})
    data.index(child, tag="custom", org={"example": [1, None]})
    return data


def no_layers() -> Data:
    data = Data()
    data.image("no-layers", layers=0)
    return data


def sha512() -> Data:
    data = Data("sha512")
    data.index(data.image(), data.image())
    return data


def tag_parameters() -> Data:
    data = Data(by_parameter=True)
    data.index(data.image("first"), data.image("second"), tag="index")
    data.tags["index-again"] = data.tags["index"]
    return data


def tag_parameters_sha512() -> Data:
    data = Data("sha512", by_parameter=True)
    data.index(data.image("first"), tag="index")
    data.tags["index-again"] = data.tags["index"]
    return data


def case(make: object, why: str) -> object:
    return pytest.param(make, marks=pytest.mark.differs(why))


CASES = [
    plain_image,
    large_manifest,
    multi_platform,
    nested,
    empty_index,
    artifact,
    artifact_index,
    case(with_subject, NO_REFERRERS),
    case(index_with_subject, NO_REFERRERS),
    case(missing_subject, NO_REFERRERS),
    data_field,
    case(nondistributable, "refuses layers with urls unless its configuration allows the host"),
    custom_fields,
    no_layers,
    case(sha512, SHA512),
    case(tag_parameters, NO_TAG_PARAMETERS),
    case(tag_parameters_sha512, NO_TAG_PARAMETERS),
]


@pytest.mark.parametrize("make", CASES)
def test_push_list_pull_and_delete(client: Client, repository: str, make: Callable[[], Data]) -> None:
    data = make()
    push(client, repository, data)
    listed(client, repository, data)
    pull(client, repository, data)
    referred(client, repository, data)
    deleted(client, repository, data)


def push(client: Client, repository: str, data: Data) -> None:
    for content in data.blobs:
        client.push_blob(repository, content, data.algorithm)
    for manifest in data.manifests:
        tags = [tag for tag, tagged in data.tags.items() if data.by_parameter and tagged == manifest]
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags else ""
        answer = pushed(
            client, repository, f"{data.digest(manifest)}{query}", manifest, data.digest(manifest)
        )
        assert answer.headers.get_all("OCI-Tag", []) == tags
    for tag, manifest in data.tags.items():
        if not data.by_parameter:
            pushed(client, repository, tag, manifest, data.digest(manifest))


def pushed(client: Client, repository: str, reference: str, manifest: bytes, digest: Digest) -> Any:
    answer = client.push_manifest(repository, reference, manifest)
    assert answer.status == 201, answer.body
    assert answer["Docker-Content-Digest"] == str(digest)
    subject = json.loads(manifest).get("subject")
    if subject:
        assert answer["OCI-Subject"] == subject["digest"]
    got = client.get(local(answer["Location"]), Accept=ACCEPT)
    assert (got.status, got.body) == (200, manifest)
    return answer


def listed(client: Client, repository: str, data: Data) -> None:
    path = f"/v2/{repository}/tags/list"
    answer = client.get(path)
    if not data.tags:
        assert answer.status in {200, 404}
        return
    assert answer.json() == {"name": repository, "tags": sorted(data.tags)}


def pull(client: Client, repository: str, data: Data) -> None:
    wanted = {str(data.digest(manifest)): manifest for manifest in data.manifests} | data.tags
    for reference, manifest in wanted.items():
        path = f"/v2/{repository}/manifests/{reference}"
        head, got = client.head(path, Accept=ACCEPT), client.get(path, Accept=ACCEPT)
        for answer in (head, got):
            assert answer.status == 200
            assert answer["Content-Type"] == json.loads(manifest)["mediaType"]
            assert answer["Content-Length"] == str(len(manifest))
            assert answer["Docker-Content-Digest"] == str(data.digest(manifest))
        assert (head.body, got.body) == (b"", manifest)


def referred(client: Client, repository: str, data: Data) -> None:
    for subject, attached in data.referrers.items():
        path = f"/v2/{repository}/referrers/{data.digest(subject)}"
        everything = referrers(client, path)
        assert set(everything) == {str(data.digest(manifest)) for manifest, _ in attached}
        for manifest, kind in attached:
            entry = everything[str(data.digest(manifest))]
            document = json.loads(manifest)
            assert entry["artifactType"] == kind
            assert entry["mediaType"] == document["mediaType"]
            assert entry["size"] == len(manifest)
            assert entry.get("annotations") == document.get("annotations")
            answer = client.get(f"{path}?artifactType={kind}")
            assert "artifactType" in answer["OCI-Filters-Applied"]
            assert {found["artifactType"] for found in answer.json()["manifests"]} == {kind}


def referrers(client: Client, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status == 200
    assert answer["Content-Type"] == OCI_INDEX
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return {entry["digest"]: entry for entry in document["manifests"]}


def deleted(client: Client, repository: str, data: Data) -> None:
    subjects = {data.digest(subject) for subject in data.referrers}
    for manifest in reversed(data.manifests):
        path = f"/v2/{repository}/manifests/{data.digest(manifest)}"
        assert client.ask("DELETE", path).status == 202
        answer = client.get(path, Accept=ACCEPT)
        assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
    for tag in data.tags:
        assert client.head(f"/v2/{repository}/manifests/{tag}", Accept=ACCEPT).status == 404
    for subject in subjects:
        assert referrers(client, f"/v2/{repository}/referrers/{subject}") == {}
    for content in dict.fromkeys(data.blobs):
        path = f"/v2/{repository}/blobs/{Digest.of(content, data.algorithm)}"
        assert client.ask("DELETE", path).status == 202
        assert client.head(path).status == 404


@pytest.mark.differs("removes a tag only with its manifest")
def test_a_tag_is_deleted_and_its_manifest_stays(client: Client, repository: str) -> None:
    digest, manifest = client.push_image(repository, "kept")
    assert client.push_manifest(repository, "gone", manifest).status == 201
    assert client.ask("DELETE", f"/v2/{repository}/manifests/gone").status == 202
    assert client.head(f"/v2/{repository}/manifests/gone", Accept=ACCEPT).status == 404
    assert client.head(f"/v2/{repository}/manifests/kept", Accept=ACCEPT).status == 200
    assert client.head(f"/v2/{repository}/manifests/{digest}", Accept=ACCEPT).status == 200
    assert client.get(f"/v2/{repository}/tags/list").json()["tags"] == ["kept"]


def test_ping(client: Client) -> None:
    answer = client.get("/v2/")
    assert (answer.status, answer["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


def test_liveness_needs_nothing(client: Client) -> None:
    assert client.get("/").status == 200


def test_the_tags_of_nothing(client: Client, repository: str) -> None:
    answer = client.get(f"/v2/{repository}/tags/list")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


@pytest.mark.differs(NO_REFERRERS)
def test_the_referrers_of_nothing(client: Client, repository: str) -> None:
    assert referrers(client, f"/v2/{repository}/referrers/{Digest.of(uuid4().bytes)}") == {}


MIB = 1 << 20


@pytest.mark.differs(NO_REFERRERS)
@pytest.mark.parametrize("kind", [None, EXAMPLE])
def test_referrers_that_no_one_index_can_hold_come_in_pages(
    client: Client, repository: str, kind: str | None
) -> None:
    data = Data()
    subject = data.image()
    attached = [
        data.artifact(subject=data.descriptor(subject), annotations={"number": str(n), "filling": "x" * MIB})
        for n in range(6)
    ]
    data.artifact("application/vnd.example.other", subject=data.descriptor(subject))
    push(client, repository, data)
    start = f"/v2/{repository}/referrers/{data.digest(subject)}"
    path = start if kind is None else f"{start}?artifactType={kind}"
    seen: list[str] = []
    sizes = []
    while path:
        answer = client.get(path)
        assert (answer.status, answer["Content-Type"]) == (200, OCI_INDEX)
        assert ("artifactType" in answer.headers.get("OCI-Filters-Applied", "")) is (kind is not None)
        seen += [entry["digest"] for entry in answer.json()["manifests"]]
        sizes.append(len(answer.body))
        link = answer.headers.get("Link")
        path = link[1 : link.index('>; rel="next"')] if link else ""
    assert len(sizes) == 2
    assert max(sizes) <= 4 * MIB
    assert len(seen) == len(set(seen)) == (7 if kind is None else 6)
    assert {str(data.digest(manifest)) for manifest in attached} <= set(seen)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_can_be_no_tag_is_no_manifest(client: Client, repository: str, method: str) -> None:
    """Conformance suite 1.1, "GET nonexistent manifest should return 404"."""
    client.push_image(repository, "there")
    assert client.ask(method, f"/v2/{repository}/manifests/.INVALID_MANIFEST_NAME").status == 404
    there = client.ask(method, f"/v2/{repository}/manifests/there", headers={"Accept": ACCEPT})
    assert there.status == 200


@pytest.mark.parametrize("reference", ["missing", str(Digest.of(b"missing manifest"))])
def test_a_missing_manifest(client: Client, repository: str, reference: str) -> None:
    answer = client.get(f"/v2/{repository}/manifests/{reference}")
    assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
    assert client.head(f"/v2/{repository}/manifests/{reference}").status == 404
    assert client.ask("DELETE", f"/v2/{repository}/manifests/{Digest.of(b'missing')}").status == 404


def test_a_manifest_of_another_digest_is_refused(client: Client, repository: str) -> None:
    digest, manifest = client.push_image(repository)
    answer = client.push_manifest(repository, str(digest), manifest + b"  ")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.differs("answers 500")
def test_what_is_no_digest_is_no_manifest(client: Client, repository: str) -> None:
    _, manifest = client.push_image(repository)
    reference = "sha256:baddigeststring"
    assert client.push_manifest(repository, reference, manifest).status in {400, 404}
    assert client.get(f"/v2/{repository}/manifests/{reference}").status in {400, 404}


def broken(**change: Any) -> bytes:
    document = json.loads(image(b"{}", (b"layer",)))
    document.update(change)
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


BROKEN = {
    "not JSON": b"blablabla",
    "not an object": b"[]",
    "another mediaType": broken(mediaType=DOCKER_IMAGE),
    "an unknown mediaType": broken(mediaType="application/vnd.example.manifest"),
    "config and manifests": broken(manifests=[]),
}


@pytest.mark.parametrize("manifest", BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_refused(client: Client, repository: str, manifest: bytes) -> None:
    client.push_blob(repository, b"{}")
    client.push_blob(repository, b"layer")
    answer = client.ask("PUT", f"/v2/{repository}/manifests/x", manifest, {"Content-Type": OCI_IMAGE})
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert client.head(f"/v2/{repository}/manifests/x").status == 404


@pytest.mark.differs("answers 500")
def test_a_manifest_without_schema_version_is_refused(client: Client, repository: str) -> None:
    answer = client.push_manifest(repository, "x", broken(schemaVersion=None))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


def test_a_manifest_without_its_blobs_is_refused(client: Client, repository: str) -> None:
    answer = client.push_manifest(repository, "x", image(uuid4().bytes, (uuid4().bytes,)))
    assert (answer.status, answer.codes[0]) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_without_its_children_is_refused(client: Client, repository: str) -> None:
    answer = client.push_manifest(repository, "x", index(image(uuid4().bytes)))
    assert (answer.status, answer.codes[0]) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_above_four_mebibytes_is_refused(client: Client, repository: str) -> None:
    large = image(b"{}", annotations={"large": "A" * (4 << 20)})
    answer = client.push_manifest(repository, "x", large)
    assert answer.status in {400, 413}
    assert client.head(f"/v2/{repository}/manifests/x").status == 404


def test_a_manifest_that_the_client_has_is_not_sent(client: Client, repository: str) -> None:
    digest, _ = client.push_image(repository)
    path = f"/v2/{repository}/manifests/latest"
    etag = client.get(path, Accept=ACCEPT)["Etag"]
    assert etag == f'"{digest}"'
    assert client.get(path, Accept=ACCEPT, If_None_Match=etag).status == 304
    assert client.head(path, Accept=ACCEPT, If_None_Match=etag).status == 304


def test_a_tag_moves(client: Client, repository: str) -> None:
    first, _ = client.push_image(repository, layers=(b"one",))
    second, manifest = client.push_image(repository, layers=(b"two",))
    assert first != second
    got = client.get(f"/v2/{repository}/manifests/latest", Accept=ACCEPT)
    assert got.body == manifest
    assert client.head(f"/v2/{repository}/manifests/{first}", Accept=ACCEPT).status == 200


def test_docker_manifests_are_kept_as_they_are(client: Client, repository: str) -> None:
    config, layer = uuid4().bytes, uuid4().bytes
    client.push_blob(repository, config)
    client.push_blob(repository, layer)
    child = image(config, (layer,), mediaType=DOCKER_IMAGE)
    assert client.push_manifest(repository, str(Digest.of(child)), child).status == 201
    whole = index(child, mediaType=DOCKER_LIST)
    assert client.push_manifest(repository, "list", whole).status == 201
    got = client.get(f"/v2/{repository}/manifests/list", Accept=ACCEPT)
    assert (got.body, got["Content-Type"]) == (whole, DOCKER_LIST)


@pytest.mark.differs(NO_PAGES)
def test_tags_come_in_pages(client: Client, repository: str) -> None:
    _, manifest = client.push_image(repository, "t0")
    for number in range(1, 5):
        assert client.push_manifest(repository, f"t{number}", manifest).status == 201
    path = f"/v2/{repository}/tags/list"
    assert client.get(path).json()["tags"] == ["t0", "t1", "t2", "t3", "t4"]
    assert client.get(f"{path}?n=2&last=t1").json()["tags"] == ["t2", "t3"]
    assert client.get(f"{path}?last=t1").json()["tags"] == ["t2", "t3", "t4"]
    assert client.get(f"{path}?last=t4").json()["tags"] == []


@pytest.mark.differs(NO_PAGES)
def test_pages_of_tags_lead_to_the_next(client: Client, repository: str) -> None:
    _, manifest = client.push_image(repository, "t0")
    for number in range(1, 5):
        assert client.push_manifest(repository, f"t{number}", manifest).status == 201
    found = []
    path: str | None = f"/v2/{repository}/tags/list?n=2"
    while path:
        answer = client.get(path)
        found.append(answer.json()["tags"])
        link = answer.headers.get("Link")
        path = link.partition("<")[2].partition(">")[0] if link else None
    assert found == [["t0", "t1"], ["t2", "t3"], ["t4"]]


@pytest.mark.differs(NO_PAGES)
def test_no_tags_are_asked_for(client: Client, repository: str) -> None:
    client.push_image(repository)
    answer = client.get(f"/v2/{repository}/tags/list?n=0")
    assert answer.json()["tags"] == []
    assert answer.headers["Link"] is None


def test_the_catalog_comes_in_pages(client: Client, repository: str) -> None:
    names = [f"{repository}/{letter}" for letter in "abc"]
    for name in names:
        client.push_image(name)
    answer = client.get(f"/v2/_catalog?n=2&last={repository}")
    assert answer.json()["repositories"] == names[:2]
    link = answer["Link"]
    assert link.endswith('>; rel="next"')
    rest = client.get(local(link.partition("<")[2].partition(">")[0])).json()["repositories"]
    assert rest[0] == names[2]


@pytest.mark.differs("takes what is no number for the default")
@pytest.mark.parametrize("n", ["-1", "x", "1.5"])
def test_a_page_has_a_number_of_entries(client: Client, n: str) -> None:
    answer = client.get(f"/v2/_catalog?n={n}")
    assert (answer.status, answer.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


def test_what_a_method_can_not_do(client: Client, repository: str) -> None:
    assert client.ask("POST", f"/v2/{repository}/manifests/x").status == 405
    assert client.ask("PUT", f"/v2/{repository}/tags/list").status == 405


def test_an_error_is_a_json_document(client: Client, repository: str) -> None:
    answer = client.get(f"/v2/{repository}/manifests/x")
    assert answer["Content-Type"].startswith("application/json")
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = answer.json()["errors"]
    assert set(error) == {"code", "message", "detail"}
