"""The client against real registries: every call, and what each says when it is refused."""

from __future__ import annotations

import io
import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regsetup.auth.htpasswd import Cost, Htpasswd, hash_password
from regsetup.client import (
    Credentials,
    Endpoint,
    NotFound,
    RegistryClient,
    RegistryError,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    Unsupported,
)
from regsetup.reference import BadReference, Digest
from regsetup.secret import Secret
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bed.registry import RegistryProcess
    from tests.contract.both import Serve, Served

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SIGNATURE = "application/x-signature"
ALICE = Credentials("alice", Secret("alice's pässword"))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(str(Htpasswd().with_user("alice", hash_password(ALICE.password, Cost.FAST))))
    return path


@pytest.fixture
def client(serve: Serve) -> Iterator[RegistryClient]:
    with RegistryClient(Endpoint(serve().url)) as made:
        yield made


def image(client: RegistryClient, repository: str = "team/app", *, layer: bytes = b"layer") -> bytes:
    """Upload the blobs of a small image and return its manifest."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(client.put_blob(repository, config)),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": str(client.put_blob(repository, layer)),
                    "size": len(layer),
                }
            ],
        }
    ).encode()


def uploaded(running: Served, repository: str) -> list[Path]:
    """The bytes of unfinished uploads; a cancel leaves registry:2's hash states to its purging."""
    return list((running.data / "docker/registry/v2/repositories" / repository / "_uploads").rglob("data"))


def test_ping_shows_the_api_version(client: RegistryClient) -> None:
    answer = client.ping()
    assert answer.status == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_a_blob_goes_in_and_comes_out(client: RegistryClient) -> None:
    content = os.urandom(3 << 20)
    assert client.head_blob("a/b", Digest.of(content)) is None
    digest = client.put_blob("a/b", content)
    assert digest == Digest.of(content)
    assert client.head_blob("a/b", digest) == len(content)
    assert b"".join(client.get_blob("a/b", digest, limit=len(content))) == content
    assert client.head_blob("other", digest) is None


def test_a_file_is_uploaded_from_its_beginning(client: RegistryClient) -> None:
    file = io.BytesIO(b"x" * 2_500_000)
    file.read(1000)
    digest = client.put_blob("a", file)
    assert digest == Digest.of(b"x" * 2_500_000)
    assert client.put_blob("b", file, digest) == digest
    assert client.head_blob("b", digest) == 2_500_000


def test_an_empty_blob_is_a_blob(client: RegistryClient) -> None:
    digest = client.put_blob("a", b"")
    assert b"".join(client.get_blob("a", digest)) == b""


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=50), max_size=6))
def test_any_chunking_gives_the_digest_of_the_whole(client: RegistryClient, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    digest = client.put_blob_chunks("a", chunks)
    assert digest == Digest.of(whole)
    assert b"".join(client.get_blob("a", digest)) == whole


def test_content_of_another_digest_is_refused(client: RegistryClient) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        client.put_blob("a", b"content", Digest.of(b"other"))
    assert "DIGEST_INVALID" in (caught.value.cause or "")
    assert client.head_blob("a", Digest.of(b"other")) is None
    assert client.head_blob("a", Digest.of(b"content")) is None


def test_chunks_that_fail_half_way_leave_no_upload(serve: Serve) -> None:
    def failing() -> Iterator[bytes]:
        yield b"first"
        raise ZeroDivisionError

    running = serve()
    with RegistryClient(Endpoint(running.url)) as client:
        with pytest.raises(ZeroDivisionError):
            client.put_blob_chunks("a", failing())
        assert uploaded(running, "a") == []


def test_a_blob_is_mounted_or_has_to_be_uploaded(serve: Serve) -> None:
    running = serve()
    with RegistryClient(Endpoint(running.url)) as client:
        digest = client.put_blob("from/here", b"content")
        assert client.mount_blob("to/there", digest, "from/here")
        assert client.head_blob("to/there", digest) == 7
        assert not client.mount_blob("to/there", Digest.of(b"unknown"), "from/here")
        assert uploaded(running, "to/there") == []


def test_a_blob_is_deleted_once(client: RegistryClient) -> None:
    digest = client.put_blob("a", b"content")
    client.delete_blob("a", digest)
    assert client.head_blob("a", digest) is None
    with pytest.raises(NotFound):
        client.delete_blob("a", digest)
    with pytest.raises(NotFound, match="GET /v2/a/blobs/sha256:"):
        next(client.get_blob("a", digest))


def test_a_manifest_goes_in_and_comes_out_byte_for_byte(client: RegistryClient) -> None:
    manifest = image(client)
    assert client.head_manifest("team/app", "1.0") is None
    digest = client.put_manifest("team/app", "1.0", manifest, OCI)
    for reference in ("1.0", digest):
        got = client.get_manifest("team/app", reference)
        assert (got.content, got.media_type, got.digest) == (manifest, OCI, digest)
        seen = client.head_manifest("team/app", reference)
        assert seen is not None
        assert (seen.digest, seen.media_type, seen.size) == (digest, OCI, len(manifest))
    assert client.put_manifest("team/app", digest, manifest, OCI) == digest


def test_a_manifest_is_deleted(client: RegistryClient) -> None:
    digest = client.put_manifest("team/app", "1.0", image(client), OCI)
    client.delete_manifest("team/app", digest)
    assert client.head_manifest("team/app", "1.0") is None
    with pytest.raises(NotFound, match=r"manifests/1\.0"):
        client.get_manifest("team/app", "1.0")
    with pytest.raises(NotFound):
        client.delete_manifest("team/app", digest)


def test_a_manifest_without_its_blobs_is_refused(client: RegistryClient) -> None:
    with pytest.raises(RegistryError) as caught:
        client.put_manifest("other", "1.0", image(client), OCI)
    assert "MANIFEST_BLOB_UNKNOWN" in (caught.value.cause or "")


def test_catalog_and_tags_are_listed(client: RegistryClient) -> None:
    assert list(client.catalog()) == []
    for repository in ("b/c", "a"):
        for tag in ("2", "1"):
            client.put_manifest(repository, tag, image(client, repository), OCI)
    assert list(client.catalog()) == ["a", "b/c"]
    assert sorted(client.tags("a")) == ["1", "2"]
    with pytest.raises(NotFound, match="tags/list"):
        list(client.tags("unknown"))


def test_a_repository_without_tags_has_none(client: RegistryClient) -> None:
    client.delete_manifest("a", client.put_manifest("a", "1", image(client, "a"), OCI))
    assert list(client.tags("a")) == []


def test_referrers_are_found_by_the_api_or_by_the_fallback_tag(client: RegistryClient) -> None:
    subject = client.put_manifest("a", "1", image(client, "a"), OCI)
    assert client.referrers("a", subject) == ()
    entry = {"mediaType": OCI, "digest": str(subject), "size": len(image(client, "a"))}
    signature = json.loads(image(client, "a", layer=b"signature"))
    signature |= {"artifactType": SIGNATURE, "subject": entry, "annotations": {"k": "v"}}
    content = json.dumps(signature).encode()
    digest = client.put_manifest("a", Digest.of(content), content, OCI)
    described = {"mediaType": OCI, "digest": str(digest), "size": len(content)}
    described |= {"artifactType": SIGNATURE, "annotations": {"k": "v"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
    client.put_manifest("a", f"sha256-{subject.hex}", json.dumps(index).encode(), INDEX)
    (found,) = client.referrers("a", subject, SIGNATURE)
    assert (found.digest, found.size, found.annotations) == (digest, len(content), {"k": "v"})
    assert client.referrers("a", subject) == (found,)
    assert client.referrers("a", subject, "application/x-sbom") == ()


def test_the_right_password_enters_and_stays_entered(serve: Serve, users: Path) -> None:
    running = serve(htpasswd=users)
    with RegistryClient(Endpoint(running.url, credentials=ALICE)) as client:
        assert client.ping().status == 200
        digest = client.put_blob("a", b"x" * 100_000)
        assert len(b"".join(client.get_blob("a", digest))) == 100_000


def test_an_upload_as_first_request_is_challenged_and_goes_on(serve: Serve, users: Path) -> None:
    running = serve(htpasswd=users)
    with RegistryClient(Endpoint(running.url, credentials=ALICE)) as client:
        assert client.put_blob_chunks("a", [b"one", b"two"]) == Digest.of(b"onetwo")


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (None, "wants a login"),
        (Credentials("alice", Secret("wrong")), "refuses 'alice' with this password"),
        (Credentials("bob", ALICE.password), "refuses 'bob' with this password"),
    ],
)
def test_nobody_and_the_wrong_password_stay_outside(
    serve: Serve, users: Path, credentials: Credentials | None, message: str
) -> None:
    running = serve(htpasswd=users)
    with RegistryClient(Endpoint(running.url, credentials=credentials)) as client:
        assert client.ping().status == 401
        with pytest.raises(Unauthorized, match=message) as caught:
            list(client.catalog())
        assert caught.value.cause == "UNAUTHORIZED authentication required"
        assert "wrong" not in str(caught.value.as_dict()).replace("wrong password", "")


def test_deletes_that_are_off_are_explained(
    registry_process: Callable[..., RegistryProcess], tmp_path: Path
) -> None:
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    running = registry_process(settings={"storage": storage})
    with RegistryClient(Endpoint(running.url)) as client:
        digest = client.put_blob("a", b"content")
        with pytest.raises(Unsupported) as caught:
            client.delete_blob("a", digest)
        assert caught.value.code == "unsupported"


@pytest.mark.parametrize("name", ["", "A", "a/../b", "a//b", "_catalog", "a?x=y", "a" * 256])
def test_a_name_that_is_none_never_reaches_the_registry(name: str) -> None:
    with RegistryClient(Endpoint("http://127.0.0.1:1")) as client:
        with pytest.raises(BadReference):
            client.head_blob(name, Digest.of(b""))
        with pytest.raises(BadReference):
            client.mount_blob("a", Digest.of(b""), name)
        with pytest.raises(BadReference):
            client.head_manifest("a", f"{name}/")


def test_a_closed_port_refuses() -> None:
    with RegistryClient(Endpoint(f"http://127.0.0.1:{free_port()}")) as client:
        with pytest.raises(Unreachable, match="refuses the connection") as caught:
            client.ping()
        assert caught.value.code == "registry-unreachable"


def test_an_unknown_name_is_said() -> None:
    # RFC 6761: .invalid never resolves
    with (
        RegistryClient(Endpoint("http://registry.invalid:5000")) as client,
        pytest.raises(Unreachable, match=r"registry\.invalid:5000 is no known name"),
    ):
        client.ping()


def test_silence_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with RegistryClient(Endpoint(url), 0.2) as client, pytest.raises(Unreachable, match="not answer"):
            client.ping()
