"""Schema 1 manifests as the real registry:2 makes them of newer ones, and what a change does to them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.auth.libtrust import BadSignature, signed_payload
from regsetup.client import Endpoint, RegistryClient
from regsetup.client.api import SIGNED_SCHEMA1
from regsetup.reference import Digest
from tests.bed.liar import Liar, reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.liar import Reply, Request
    from tests.bed.registry import RegistryProcess
    from tests.contract.calling import Calling

DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b"unpacked"))]},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}],
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A schema 1 manifest, synthesised and signed by docker-registry."""
    from tests.bed.registry import start_registry

    place: Path = tmp_path_factory.mktemp("schema1")
    server = start_registry(place, data=place / "data")
    try:
        with RegistryClient(Endpoint(server.url)) as client:
            manifest = push(client)
            given = client.get_manifest("old/client", "latest", accept=())
            assert given.media_type.startswith(SIGNED_SCHEMA1)
            assert given.digest != Digest.of(given.content)
            assert given.digest != Digest.of(manifest)
            return given.content
    finally:
        server.stop()


def push(client: RegistryClient) -> bytes:
    config = json.dumps(CONFIG).encode()
    parts: dict[str, Any] = {}
    for name, kind, body in (("config", "container.image.v1+json", config), ("layer", "image.rootfs", b"l")):
        digest = client.put_blob("old/client", body)
        parts[name] = {
            "mediaType": f"application/vnd.docker.{kind}", "digest": str(digest), "size": len(body),
        }  # fmt: skip
    document = {
        "schemaVersion": 2, "mediaType": DOCKER_IMAGE, "config": parts["config"], "layers": [parts["layer"]],
    }  # fmt: skip
    manifest = json.dumps(document).encode()
    client.put_manifest("old/client", "latest", manifest, DOCKER_IMAGE)
    return manifest


def test_what_registry_2_signs_is_verified(content: bytes) -> None:
    payload = json.loads(signed_payload(content))
    assert payload["schemaVersion"] == 1
    assert payload["name"] == "old/client"
    assert "signatures" not in payload


def test_a_newer_client_is_given_what_was_pushed(
    registry_process: Callable[..., RegistryProcess],
) -> None:
    with RegistryClient(Endpoint(registry_process().url)) as client:
        manifest = push(client)
        assert client.get_manifest("old/client", "latest").content == manifest


def test_another_tag_in_the_signed_bytes_is_found(content: bytes) -> None:
    with pytest.raises(BadSignature) as caught:
        signed_payload(content.replace(b'"tag": "latest"', b'"tag": "newest"'))
    assert "not those that were signed" in str(caught.value.cause)


def _changed(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change the signatures; the bytes before them stay, so the payload does."""
    signatures = json.loads(content)["signatures"]
    change(signatures[0])
    head = content[: content.rindex(b'"signatures"')]
    return head + b'"signatures": ' + json.dumps(signatures).encode() + b"}"


def _protected(signature: dict[str, Any], **more: object) -> None:
    text = signature["protected"]
    described = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    signature["protected"] = (
        base64.urlsafe_b64encode(json.dumps(described | more).encode()).decode().strip("=")
    )


def test_signatures_may_stand_as_they_like(content: bytes) -> None:
    assert signed_payload(_changed(content, lambda _: None)) == signed_payload(content)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda one: one["header"].update(alg="none"), "unknown kind, 'none'"),
        (lambda one: one["header"]["jwk"].update(crv="P-384"), "unknown kind"),
        (lambda one: one["header"]["jwk"].update(x=one["header"]["jwk"]["y"]), "can't be read"),
        (lambda one: one.update(signature="AAAA"), "3 bytes, not 64"),
        (lambda one: one.update(signature="A" * 86), "not those that were signed"),
        (lambda one: one.update(protected="e30"), "KeyError"),
        (lambda one: one.update(protected="!"), "can't be read"),
        (lambda one: _protected(one, formatLength=10), "not those that were signed"),
        (lambda one: one.pop("header"), "KeyError"),
    ],
)
def test_a_signature_that_does_not_hold_is_refused(
    content: bytes, change: Callable[[dict[str, Any]], object], cause: str
) -> None:
    with pytest.raises(BadSignature) as caught:
        signed_payload(_changed(content, change))
    assert cause in str(caught.value.cause)


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"signatures": []}', b"no JSON", b'{"signatures": 5}'])
def test_what_has_no_signature_is_refused(content: bytes) -> None:
    with pytest.raises(BadSignature):
        signed_payload(content)


def test_one_is_inspected_with_what_it_is_and_why_it_can_not_be_moved(content: bytes, call: Calling) -> None:
    digest = str(Digest.of(signed_payload(content)))

    def handler(request: Request) -> Reply:
        if request.path.endswith("/manifests/latest"):
            return reply(200, content, Content_Type=SIGNED_SCHEMA1, Docker_Content_Digest=digest)
        return reply(200, b"{}") if request.path == "/v2/" else reply(404)

    with Liar(handler) as server:
        ref = f"{server.address}/old/client:latest"
        data = call.json("inspect", ref)["data"]
        assert (data["digest"], data["media_type"], data["layers"]) == (digest, SIGNED_SCHEMA1, [])
        assert "its signature was verified" in data["problem"]
        assert call("manifest", "--raw", ref).ok().raw == content
        assert call.codes("pull", ref, "out") == (1, ["old-schema"])
