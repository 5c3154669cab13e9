"""A pull-through cache in front of registries that go away, lie, hurry and want tokens."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE
from regsetup.registry.disk.layout import Layout
from regsetup.registry.upstream import BLOBS, MAX_TOKENS, Upstream, _Token
from tests.registry.harness import (
    Client,
    DockerRegistry,
    Running,
    descriptor,
    eventually,
    image,
    index,
    refuse_to_start,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.clients import Skopeo

BIG = os.urandom(3_000_000)
SIGNED = "?sig=a%2Fb%3D&to=%7Ec"  # an object store's; written otherwise it may not hold


def mirror(place: Path, upstream: int | str, **settings: Any) -> Running:
    url = upstream if isinstance(upstream, str) else f"http://127.0.0.1:{upstream}"
    return Running.start(place / "mirror", mirror_of=url, **settings)


@pytest.fixture(params=["bundled", "docker-registry"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running | DockerRegistry]:
    root = tmp_path / "upstream"
    root.mkdir()
    if request.param == "bundled":
        with Running.start(root) as running:
            yield running
        return
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    with DockerRegistry.start(root) as theirs:
        yield theirs


def pull(client: Client, repository: str, reference: str) -> list[bytes]:
    """Pull manifest, config and layers, all verified; children of an index, too."""
    answer = client.get(f"/v2/{repository}/manifests/{reference}")
    assert answer.status == 200, answer.body
    assert str(Digest.of(answer.body)) == answer["Docker-Content-Digest"]
    found = [answer.body]
    document = answer.json()
    for one in document.get("manifests", ()):
        found += pull(client, repository, one["digest"])
    for one in [document["config"], *document["layers"]] if "config" in document else ():
        got = client.get(f"/v2/{repository}/blobs/{one['digest']}")
        assert (got.status, str(Digest.of(got.body))) == (200, one["digest"])
        found.append(got.body)
    return found


def test_a_first_pull_stores_and_a_second_needs_no_upstream(
    upstream: Running | DockerRegistry, tmp_path: Path
) -> None:
    with upstream.client() as client:
        _, one = client.push_image("team/app", None, (BIG, b"small"))
        client.push_manifest("team/app", "1.0", index(one))
    with mirror(tmp_path, upstream.port) as cache, cache.client() as client:
        first = pull(client, "team/app", "1.0")
        assert BIG in first
        upstream.stop()
        assert pull(client, "team/app", "1.0") == first
        assert client.get("/v2/_catalog").json() == {"repositories": ["team/app"]}
        assert client.get("/v2/team/app/tags/list").json()["tags"] == ["1.0"]
        answer = client.get("/v2/team/app/manifests/2.0")
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        answer = client.get(f"/v2/team/app/blobs/{Digest.of(b'other')}")
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert client.head(f"/v2/team/app/blobs/{Digest.of(b'other')}").status == 503
        assert client.get(f"/v2/team/app/manifests/{Digest.of(b'other')}").status == 503
    with mirror(tmp_path, upstream.port) as cache, cache.client() as client:
        assert pull(client, "team/app", "1.0") == first


def test_pushes_are_refused(tmp_path: Path) -> None:
    with mirror(tmp_path, 9) as cache, cache.client() as client:
        for method, path in (
            ("POST", "/v2/app/blobs/uploads/"),
            ("PUT", "/v2/app/manifests/latest"),
            ("DELETE", "/v2/app/manifests/latest"),
            ("PATCH", "/v2/app/blobs/uploads/0"),
        ):
            answer = client.ask(method, path, b"{}")
            assert (answer.status, answer.codes, answer["Allow"]) == (405, ["UNSUPPORTED"], "GET, HEAD")
        assert client.get("/v2/app/blobs/uploads/0").status == 405
        assert client.get("/v2/").status == 200
        assert client.get("/v2/app/manifests/-").codes == ["MANIFEST_UNKNOWN"]


def test_a_tag_that_moved_is_followed_and_one_that_is_gone_is_gone(
    upstream: Running | DockerRegistry, tmp_path: Path
) -> None:
    with (
        upstream.client() as there,
        mirror(tmp_path, upstream.port, mirror_ttl=0.0) as cache,
        cache.client() as client,
    ):
        old, _ = there.push_image("app", "latest", (b"old",))
        assert b"old" in pull(client, "app", "latest")
        there.push_image("app", "latest", (b"new",))
        assert b"new" in pull(client, "app", "latest")
        assert client.get("/v2/app/manifests/none").codes == ["MANIFEST_UNKNOWN"]
        assert client.get("/v2/none/tags/list").codes == ["NAME_UNKNOWN"]
        moved = client.head("/v2/app/manifests/latest")["Docker-Content-Digest"]
        assert there.ask("DELETE", f"/v2/app/manifests/{moved}").status == 202
        assert client.get("/v2/app/manifests/latest").status == 404
        assert b"old" in pull(client, "app", str(old))


def test_a_tag_is_looked_up_once_within_its_time(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        fake.add_image("app", "latest")
        for _ in range(3):
            pull(client, "app", "latest")
        assert fake.count("HEAD", "/manifests/latest") == 1
        assert fake.count("GET", "/manifests/") == 1
        assert fake.count("GET", "/blobs/") == 2


def test_concurrent_first_pulls_fetch_once(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache:
        fake.add_image("app", "latest", BIG)
        fake.delay = 0.02  # seconds a piece: the pulls overlap

        def one(_: int) -> list[bytes]:
            with cache.client() as client:
                return pull(client, "app", "latest")

        with ThreadPoolExecutor(8) as pool:
            pulled = list(pool.map(one, range(8)))
        assert all(parts == pulled[0] for parts in pulled)
        assert fake.count("GET", f"/blobs/{Digest.of(BIG)}") == 1
        assert fake.count("HEAD", "/manifests/latest") == 1


def test_bytes_come_while_they_are_fetched_and_the_last_after_they_are_verified(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_blob("app", BIG)
        fake.stop_at = 2_500_000
        connection = client._connect()
        connection.request("GET", f"/v2/app/blobs/{digest}")
        response = connection.getresponse()
        assert response.headers["Content-Length"] == str(len(BIG))
        begin = response.read(1_000_000)
        assert begin == BIG[:1_000_000]
        fake.go_on.set()
        assert begin + response.read() == BIG


def test_a_client_that_leaves_does_not_stop_the_fetching(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache:
        digest = fake.add_blob("app", BIG)
        fake.stop_at = 2_500_000
        with cache.client() as client:
            connection = client._connect()
            connection.request("GET", f"/v2/app/blobs/{digest}")
            connection.getresponse().read(100_000)
        fake.go_on.set()
        eventually(lambda: os.path.exists(Layout(cache.root).blob(digest)))  # noqa: PTH110
        fake.stop()
        with cache.client() as client:
            assert client.get(f"/v2/app/blobs/{digest}").body == BIG


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_wrong_blob_is_neither_stored_nor_served_whole(tmp_path: Path, size: int) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client(timeout=10) as client:
        content = os.urandom(size)
        digest = fake.add_blob("app", content)
        fake.blobs[f"app/{digest}"] = content[:-1] + bytes([content[-1] ^ 1])
        connection = client._connect()
        connection.request("GET", f"/v2/app/blobs/{digest}")
        response = connection.getresponse()
        if size < 1000:
            assert response.status == 502
        else:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                response.read()
        client.close()
        assert not list(cache.root.rglob("data"))
        fake.blobs[f"app/{digest}"] = content
        assert client.get(f"/v2/app/blobs/{digest}").body == content


def test_an_upstream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client(timeout=10) as client:
        digest = fake.add_blob("app", BIG)
        fake.break_at = 1_500_000
        connection = client._connect()
        connection.request("GET", f"/v2/app/blobs/{digest}")
        response = connection.getresponse()
        if response.status == 200:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                response.read()
        else:  # it broke off before the answer began
            assert response.status == 503
        client.close()
        eventually(lambda: not list(cache.root.rglob("data")))
        fake.break_at = None
        assert client.get(f"/v2/app/blobs/{digest}").body == BIG


def test_a_wrong_manifest_is_refused(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_image("app", "latest")
        fake.manifests[f"app/{digest}"] = b'{"schemaVersion": 2, "layers": []}'
        assert client.get("/v2/app/manifests/latest").status == 502
        assert client.get(f"/v2/app/manifests/{digest}").status == 502
        assert not list(cache.root.rglob("link"))


def test_an_upstream_that_names_no_digest_is_believed_by_its_bytes(tmp_path: Path) -> None:
    with Fake(names_digests=False) as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_image("app", "latest")
        assert client.get("/v2/app/manifests/latest")["Docker-Content-Digest"] == str(digest)


def test_ranges_and_heads_of_what_is_not_stored(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_blob("app", BIG)
        head = client.head(f"/v2/app/blobs/{digest}")
        assert (head.status, head["Content-Length"]) == (200, str(len(BIG)))
        assert fake.count("GET", "/blobs/") == 0
        part = client.get(f"/v2/app/blobs/{digest}", Range="bytes=100-199")
        assert (part.status, part.body) == (206, BIG[100:200])
        assert client.get(f"/v2/app/blobs/{digest}", If_None_Match=f'"{digest}"').status == 304
        assert client.head(f"/v2/app/blobs/{Digest.of(b'none')}").status == 404
        assert client.get(f"/v2/app/blobs/{Digest.of(b'none')}").codes == ["BLOB_UNKNOWN"]


def test_a_blob_of_another_repository_is_not_fetched_again(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_blob("one", BIG)
        fake.add_blob("two", BIG)
        for repository, status in (("one", 200), ("two", 200), ("three", 404)):
            assert client.get(f"/v2/{repository}/blobs/{digest}").status == status
        assert fake.count("GET", f"/two/blobs/{digest}") == 0


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * len(BIG)], ids=["emptied", "truncated", "rotten"])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_damaged_on_disk_is_fetched_again(tmp_path: Path, damage: bytes, *, restarted: bool) -> None:
    """Nobody pushes to a cache: what it does not heal itself stays damaged."""
    with ExitStack() as servers:
        fake = servers.enter_context(Fake())
        cache = servers.enter_context(mirror(tmp_path, fake.port))
        manifest = fake.add_image("app", "latest", BIG)
        with cache.client() as client:
            whole = pull(client, "app", "latest")
        places = Layout(cache.root)
        Path(places.blob(Digest.of(BIG))).write_bytes(damage)
        if restarted:  # else the manifest is served from memory
            Path(places.blob(manifest)).write_bytes(damage[:10])
            cache.stop()
            cache = servers.enter_context(mirror(tmp_path, fake.port))
        with cache.client() as client:
            assert pull(client, "app", "latest") == whole
            fake.stop()
            assert pull(client, "app", "latest") == whole
            Path(places.blob(Digest.of(BIG))).write_bytes(damage)
            assert client.get(f"/v2/app/blobs/{Digest.of(BIG)}").status == 503


def test_half_a_blob_of_a_cache_that_was_killed_goes(tmp_path: Path) -> None:
    with Fake() as fake:
        digest = fake.add_blob("app", BIG)
        fake.stop_at = 2_500_000
        with mirror(tmp_path, fake.port) as cache, cache.client() as client:
            connection = client._connect()
            connection.request("GET", f"/v2/app/blobs/{digest}")
            connection.getresponse().read(1_000_000)
            cache.process.kill()
            cache.process.wait()
        (session,) = cache.root.glob("**/_uploads/*")
        for path in (session, *session.iterdir()):
            os.utime(path, (time.time() - 3600,) * 2)
        with mirror(tmp_path, fake.port):
            eventually(lambda: not session.exists())
        fake.go_on.set()


def test_chunked_answers_of_the_upstream_are_taken(tmp_path: Path) -> None:
    with Fake(chunked=True) as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        digest = fake.add_blob("app", BIG)
        assert client.get(f"/v2/app/blobs/{digest}").body == BIG


def test_referrers_are_the_upstreams(upstream: Running | DockerRegistry, tmp_path: Path) -> None:
    with (
        upstream.client() as there,
        mirror(tmp_path, upstream.port) as cache,
        cache.client() as client,
    ):
        subject, manifest = there.push_image("app")
        attached = image(b"{}", (b"layer",), subject=descriptor(manifest, OCI_IMAGE), artifactType="a/b")
        there.push_blob("app", b"{}")
        assert there.push_manifest("app", "signature", attached).status == 201
        answer = client.get(f"/v2/app/referrers/{subject}?artifactType=a/b")
        if isinstance(upstream, DockerRegistry):  # 2.8 has no referrers: a client falls back to tags
            assert answer.status == 404
            return
        assert [one["digest"] for one in answer.json()["manifests"]] == [str(Digest.of(attached))]
        assert answer["OCI-Filters-Applied"] == "artifactType"
        pull(client, "app", "signature")
        upstream.stop()
        assert len(client.get(f"/v2/app/referrers/{subject}").json()["manifests"]) == 1


def test_further_referrers_are_asked_of_the_cache(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        path = f"/v2/app/referrers/{Digest.of(b'')}"
        assert client.get(path)["Link"] == f'<{path}?last=a%2Fb&n=1>; rel="next"'
        last = client.get(f"{path}?last=a%2Fb&n=1")
        assert (last.status, "Link" in last.headers) == (200, False)


def test_the_tag_list_is_the_upstreams_page_by_page(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        for tag in ("b", "a", "c"):
            fake.add_image("app", tag)
        fake.page = 2
        assert client.get("/v2/app/tags/list").json() == {"name": "app", "tags": ["a", "b", "c"]}
        first = client.get("/v2/app/tags/list?n=2")
        assert (first.json()["tags"], "last=b" in first["Link"]) == (["a", "b"], True)
        fake.garbage = True
        assert client.get("/v2/app/tags/list").status == 502


@pytest.mark.parametrize("status", [500, 429])
def test_an_upstream_in_trouble_counts_as_down(tmp_path: Path, status: int) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port, mirror_ttl=0.0) as cache, cache.client() as client:
        fake.add_image("app", "latest")
        pull(client, "app", "latest")
        fake.trouble = status
        pull(client, "app", "latest")
        assert client.get("/v2/app/manifests/other").status == 503
        fake.trouble = 0
        assert client.get("/v2/app/manifests/other").status == 404


@pytest.mark.parametrize("status", [429, 503])
def test_what_is_stored_is_served_while_the_token_service_is_in_trouble(tmp_path: Path, status: int) -> None:
    """Docker Hub counts tokens, too: auth.docker.io answers 429 to who asks often."""
    with Fake(token="t") as fake, mirror(tmp_path, fake.port, mirror_ttl=0.0) as cache:
        fake.add_image("library/app", "latest")
        with cache.client() as client:
            first = pull(client, "library/app", "latest")
            fake.token, fake.token_trouble = "another", status
            assert pull(client, "library/app", "latest") == first
            assert client.get("/v2/library/app/manifests/other").codes == ["UNAVAILABLE"]
            fake.token_trouble = 0
            assert client.get("/v2/library/app/manifests/other").codes == ["MANIFEST_UNKNOWN"]


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize("kind", ["blobs", "manifests", "tags", "token"])
def test_an_upstream_that_drips_is_given_up_and_others_are_served_meanwhile(
    tmp_path: Path, kind: str, part: str
) -> None:
    """It is never silent for long: a byte comes every 20 ms."""
    with (
        Fake(token="t") as fake,
        mirror(tmp_path, fake.port, mirror_patience=1.0) as cache,
        cache.client(timeout=20) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        digest, layer = fake.add_image("app", "latest", BIG), Digest.of(BIG)
        fake.add_image("other", "latest")
        fake.add_image("stored", "latest")
        stored = pull(client, "stored", "latest")
        client.head(f"/v2/other/blobs/{layer}")  # gives a token
        reference = {"blobs": f"blobs/{layer}", "tags": "tags/list"}.get(kind, f"manifests/{digest}")
        fake.drips, fake.drips_head = "/token" if kind == "token" else f"/app/{reference}", part == "head"
        waiting = pool.submit(status_of, cache, f"/v2/app/{reference}")
        eventually(lambda: fake.count("GET", fake.drips or ""))
        assert pull(client, "stored", "latest") == stored
        assert pull(client, "other", "latest")
        assert not waiting.done()
        # A long body is begun with; a list of tags is what is stored, if the upstream does not serve.
        expected = {"blobs": 503 if part == "head" else None, "tags": 404}.get(kind, 503)
        assert waiting.result() == expected
        eventually(lambda: fake.left)
        assert not [place for place in cache.root.rglob("_uploads/*") if place.is_dir()]
        fake.drips = None
        assert BIG in pull(client, "app", "latest")


def test_more_blobs_that_drip_than_are_fetched_at_once_leave_room_for_what_is_small(tmp_path: Path) -> None:
    with (
        Fake() as fake,
        mirror(tmp_path, fake.port, mirror_patience=1.0) as cache,
        cache.client() as client,
        ThreadPoolExecutor(BLOBS + 1) as pool,
    ):
        fake.add_image("app", "latest")
        fake.drips = "/blobs/"
        paths = [f"/v2/app/blobs/{Digest.of(bytes([number]))}" for number in range(BLOBS + 1)]
        waiting = [pool.submit(status_of, cache, path) for path in paths]
        eventually(lambda: fake.count("GET", "/blobs/") == BLOBS)
        assert client.get("/v2/app/manifests/latest").status == 200
        assert not waiting[0].done()
        assert [one.result() for one in waiting] == [None] * (BLOBS + 1)


def test_a_blob_without_an_end_leaves_the_disk_its_floor(small_disk: Path) -> None:
    """An upstream need not say how much it sends."""
    with Fake() as fake, mirror(small_disk, fake.port, min_free=8 << 20) as cache:
        fake.drips, fake.endless = "/blobs/", True
        with cache.client() as client:
            answer = client.get(f"/v2/app/blobs/{Digest.of(b'endless')}")
            assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        eventually(lambda: fake.left)
        assert not [place for place in cache.root.rglob("_uploads/*") if place.is_dir()]
        assert not list(cache.root.rglob("data"))


def status_of(cache: Running, path: str) -> int | None:
    """Return the status of an answer that came whole; None where it was cut."""
    with cache.client() as client:
        try:
            return client.get(path).status
        except (ConnectionError, http.client.HTTPException):
            return None


def test_tokens_are_fetched_for_nobody_and_used_again(tmp_path: Path) -> None:
    with Fake(token="secret-token") as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        fake.add_image("app", "latest", BIG)
        pull(client, "app", "latest")
        assert (
            fake.count("GET", "/token?service=fake&scope=repository%3Aapp%3Apull")
            + fake.count("GET", "/token?service=fake&scope=repository:app:pull")
            == 1
        )
        assert fake.logins == [None]
        fake.token = "another"  # the old one is not taken any more: a new one is fetched
        fake.add_image("app", "next", b"more")
        pull(client, "app", "next")


@pytest.mark.parametrize("basic", [False, True])
def test_credentials_are_for_the_upstream_and_its_token_service(tmp_path: Path, basic: bool) -> None:
    secret = tmp_path / "credentials"
    secret.write_text("alice:s3cret\n")
    with (
        Fake(token=None if basic else "t", user="alice:s3cret") as fake,
        Fake() as elsewhere,
        mirror(tmp_path, fake.port, mirror_credentials=secret) as cache,
        cache.client() as client,
    ):
        fake.add_image("app", "latest", BIG)
        fake.redirect = f"http://localhost:{elsewhere.port}"
        elsewhere.add_blob("app", BIG)
        elsewhere.add_blob("app", b"{}")
        pull(client, "app", "latest")
        assert elsewhere.count("GET", f"/blobs/{Digest.of(BIG)}{SIGNED}") == 1
        assert elsewhere.count("GET", "/blobs/") == 2
        assert elsewhere.authorizations == [None, None]
    assert "s3cret" not in cache.log.read_text()


def test_an_upstream_may_name_several_ways_in(tmp_path: Path) -> None:
    """Each in a header of its own, and one that we don't know first."""
    secret = tmp_path / "credentials"
    secret.write_text("alice:s3cret\n")
    with (
        Fake(user="alice:s3cret", first_challenge="Negotiate") as fake,
        mirror(tmp_path, fake.port, mirror_credentials=secret) as cache,
        cache.client() as client,
    ):
        fake.add_image("app", "latest")
        pull(client, "app", "latest")


def test_tokens_for_any_number_of_names_have_an_end() -> None:
    upstream = Upstream("http://127.0.0.1:9")
    for number in range(MAX_TOKENS + 10):
        upstream._keep(f"app{number}", _Token("Bearer x", 0.0))
    assert len(upstream._tokens) == MAX_TOKENS
    assert f"app{MAX_TOKENS + 9}" in upstream._tokens


def test_who_may_not_enter_the_upstream_finds_nothing(tmp_path: Path) -> None:
    with Fake(user="alice:s3cret") as fake, mirror(tmp_path, fake.port) as cache, cache.client() as client:
        fake.add_image("app", "latest")
        assert client.get("/v2/app/manifests/latest").codes == ["MANIFEST_UNKNOWN"]
    with Fake(token="t", user="alice:s3cret") as fake, mirror(tmp_path, fake.port) as cache:
        fake.add_image("app", "latest")
        with cache.client() as client:
            assert client.get("/v2/app/manifests/latest").codes == ["MANIFEST_UNKNOWN"]
            fake.garbage = True
            assert client.get("/v2/app/manifests/latest").codes == ["MANIFEST_UNKNOWN"]


@pytest.mark.parametrize("content", ["no colon", "a:b\nc", ":b", None])
def test_credentials_that_can_not_be_read_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "credentials"
    if content is not None:
        path.write_text(content)
    code, said = refuse_to_start(tmp_path / "data", mirror_of="http://127.0.0.1:9", mirror_credentials=path)
    assert code == 1
    assert "mirror-credentials-unusable" in said


def test_stopping_in_the_middle_leaves_no_half_blob(tmp_path: Path) -> None:
    with Fake() as fake:
        digest = fake.add_blob("app", BIG)
        fake.stop_at = 2_000_000
        with mirror(tmp_path, fake.port, stop_grace=0.2) as cache, cache.client() as client:
            connection = client._connect()
            connection.request("GET", f"/v2/app/blobs/{digest}")
            connection.getresponse().read(100_000)
            assert cache.stop() == 0
            assert not list(cache.root.rglob("data"))
        fake.go_on.set()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with Fake() as fake, mirror(tmp_path, fake.port, min_free=1 << 60) as cache, cache.client() as client:
        digest = fake.add_blob("app", BIG)
        assert client.get(f"/v2/app/blobs/{digest}").codes == ["UNAVAILABLE"]


def test_skopeo_copies_through_the_mirror(
    upstream: Running | DockerRegistry, tmp_path: Path, skopeo: Skopeo
) -> None:
    with upstream.client() as there:
        there.push_image("team/app", "1.0", (BIG,), layer_type="application/vnd.oci.image.layer.v1.tar")
    with mirror(tmp_path, upstream.port) as cache:
        source = f"docker://127.0.0.1:{cache.port}/team/app:1.0"
        skopeo("copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/one").ok()
        upstream.stop()
        skopeo("copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/two").ok()


@pytest.mark.parametrize("trusted", [True, False])
def test_an_upstream_with_tls_is_checked(tmp_path: Path, trusted: bool) -> None:
    from tests.registry.test_tls import make, trusting

    cert, key = make(tmp_path, "upstream")
    other, _ = make(tmp_path, "other")
    with Running.start(tmp_path / "upstream", tls_cert=cert, tls_key=key) as upstream:
        with upstream.client(tls=trusting(cert)) as there:
            there.push_image("app", "latest", (BIG,))
        env = {"SSL_CERT_FILE": str(cert if trusted else other)}
        url = f"https://localhost:{upstream.port}"
        with mirror(tmp_path, url, env=env) as cache, cache.client() as client:
            if trusted:
                assert BIG in pull(client, "app", "latest")
            else:
                assert client.get("/v2/app/manifests/latest").codes == ["UNAVAILABLE"]
                assert "CERTIFICATE_VERIFY_FAILED" in cache.log.read_text()


# An upstream that does as it is told.


@dataclass
class Fake:
    """Serves manifests and blobs, and remembers what it was asked; attributes make it misbehave."""

    names_digests: bool = True
    chunked: bool = False
    token: str | None = None
    user: str | None = None
    delay: float = 0.0
    stop_at: int | None = None
    break_at: int | None = None
    page: int = 0
    trouble: int = 0
    garbage: bool = False
    redirect: str | None = None
    first_challenge: str | None = None
    token_trouble: int = 0
    drips: str | None = None
    drips_head: bool = False
    endless: bool = False
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        fake: Fake = self

        class Handler(_Handler):
            upstream = fake

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def add_blob(self, repository: str, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.blobs[f"{repository}/{digest}"] = content
        return digest

    def add_image(self, repository: str, tag: str, layer: bytes = b"layer") -> Digest:
        self.add_blob(repository, b"{}")
        self.add_blob(repository, layer)
        manifest = image(b"{}", (layer,))
        digest = Digest.of(manifest)
        self.manifests[f"{repository}/{tag}"] = self.manifests[f"{repository}/{digest}"] = manifest
        return digest

    def count(self, method: str, part: str) -> int:
        return sum(one.startswith(f"{method} ") and part in one for one in self.asked)


class _Handler(http.server.BaseHTTPRequestHandler):
    upstream: Fake
    protocol_version = "HTTP/1.1"
    timeout = 1  # seconds an idle connection stays

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        fake = self.upstream
        fake.asked.append(f"{self.command} {self.path}")
        if fake.drips is not None and fake.drips in self.path:
            self._drip()
        elif self.path.startswith("/token"):
            self._token()
        elif fake.trouble:
            self._answer(fake.trouble, b"{}")
        elif not self._may_enter():
            challenge = (
                f'Bearer realm="http://127.0.0.1:{fake.port}/token",service="fake"'
                if fake.token
                else 'Basic realm="fake"'
            )
            self._answer(401, b"{}", {"WWW-Authenticate": challenge})
        else:
            self._content()

    def _drip(self) -> None:
        """Send a byte now and then: of a head that never ends, of a body, or of chunks without an end."""
        fake = self.upstream
        self.close_connection = True
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % OCI_IMAGE.encode()
        if fake.drips_head:
            piece = b"x"
        elif fake.endless:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        else:
            head += b"Content-Length: 3000000\r\n\r\n"
            piece = b"x"
        try:
            self.wfile.write(head)
            while not fake.go_on.wait(0.0 if fake.endless else 0.02):
                self.wfile.write(piece)
        except ConnectionError:
            fake.left.append(self.path)

    def _may_enter(self) -> bool:
        import base64

        fake, sent = self.upstream, self.headers["Authorization"]
        fake.authorizations.append(sent)
        if fake.token:
            return bool(sent == f"Bearer {fake.token}")
        return fake.user is None or sent == "Basic " + base64.b64encode(fake.user.encode()).decode()

    def _token(self) -> None:
        import base64

        fake, sent = self.upstream, self.headers["Authorization"]
        fake.logins.append(sent)
        if fake.token_trouble:
            self._answer(fake.token_trouble, b"{}")
        elif fake.garbage:
            self._answer(200, b"[]")
        elif fake.user and sent != "Basic " + base64.b64encode(fake.user.encode()).decode():
            self._answer(401, b"{}")
        else:
            self._answer(200, json.dumps({"token": fake.token, "expires_in": 300}).encode())

    def _content(self) -> None:
        fake = self.upstream
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/([^?]+)(?:\?(.*))?", self.path)
        if match is None:
            self._answer(404, b"{}")
            return
        repository, kind, reference, query = match.groups()
        if kind == "tags":
            self._tags(repository, query or "")
            return
        if kind == "referrers":
            here = f"http://127.0.0.1:{fake.port}{self.path.partition('?')[0]}"
            headers = {} if query else {"Link": f'<{here}?last=a%2Fb&n=1>; rel="next"'}
            self._answer(200, b'{"manifests": []}', headers)
            return
        content = (fake.blobs if kind == "blobs" else fake.manifests).get(f"{repository}/{reference}")
        if content is None:
            self._answer(404, b"{}")
        elif kind == "blobs" and fake.redirect:
            self._answer(307, b"", {"Location": fake.redirect + self.path + SIGNED})
        else:
            named = {"Docker-Content-Digest": str(Digest.of(content))} if fake.names_digests else {}
            self._answer(200, content, {"Content-Type": OCI_IMAGE, **named})

    def _tags(self, repository: str, query: str) -> None:
        fake = self.upstream
        prefix = f"{repository}/"
        tags = sorted(name.removeprefix(prefix) for name in fake.manifests if "sha256" not in name)
        last = dict(part.partition("=")[::2] for part in query.split("&")).get("last", "")
        tags = [tag for tag in tags if tag > last]
        headers = {}
        if fake.page and len(tags) > fake.page:
            tags = tags[: fake.page]
            page = f"/v2/{repository}/tags/list?last={tags[-1]}"
            headers = {"Link": f'<{page}>; title="more, if you like"; rel=next'}
        body = b"garbage" if fake.garbage else json.dumps({"name": repository, "tags": tags}).encode()
        self._answer(200, body, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        fake = self.upstream
        self.send_response(status)
        if status == 401 and fake.first_challenge:
            self.send_header("WWW-Authenticate", fake.first_challenge)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        chunked = fake.chunked and self.command == "GET"
        self.send_header(
            *(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body))))
        )
        self.end_headers()
        if self.command == "HEAD":
            return
        for offset in range(0, len(body), 100_000):
            if fake.stop_at is not None and offset >= fake.stop_at:
                fake.go_on.wait(20)
            if fake.break_at is not None and offset >= fake.break_at:
                self.close_connection = True
                return
            piece = body[offset : offset + 100_000]
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            except ConnectionError:
                self.close_connection = True
                return
            time.sleep(fake.delay)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
