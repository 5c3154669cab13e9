"""Collection beside a running registry: what goes, what stays, and that who was told loses nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from regsetup.reference import Digest
from regsetup.registry.collecting import CannotCollect, CollectorRuns, collect_in
from regsetup.registry.content import OCI_IMAGE
from regsetup.registry.disk.held import alone, held
from regsetup.registry.disk.layout import Layout
from tests.registry.harness import (
    Client,
    DockerRegistry,
    Running,
    collect_garbage,
    descriptor,
    image,
    index,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_AGO = time.time() - 30 * 24 * 3600


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running.start(tmp_path / "data") as one:
        yield one


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with running.client() as connected:
        yield connected


def age(root: Path) -> None:
    """Make everything as old as if nobody had asked for it for a month."""
    for path in root.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def blob(root: Path, digest: Digest) -> Path:
    return Path(Layout(root).blob(digest))


def push(client: Client, repository: str, reference: str | None = "latest", **more: object) -> Digest:
    """Push an image of its own; return its digest."""
    return client.push_image(repository, reference, (uuid4().bytes,), config=uuid4().bytes, **more)[0]


def needs(client: Client, repository: str, digest: Digest) -> list[Digest]:
    manifest = client.get(f"/v2/{repository}/manifests/{digest}").json()
    return [Digest.parse(one["digest"]) for one in (manifest["config"], *manifest["layers"])]


def served(client: Client, repository: str, reference: str | Digest) -> bool:
    """Pull an image whole, or an index with its children, and check every digest."""
    answer = client.get(f"/v2/{repository}/manifests/{reference}")
    if answer.status != 200:
        return False
    manifest = json.loads(answer.body)
    if "manifests" in manifest:
        return all(served(client, repository, one["digest"]) for one in manifest["manifests"])
    for one in (manifest["config"], *manifest["layers"]):
        got = client.get(f"/v2/{repository}/blobs/{one['digest']}")
        if got.status != 200 or str(Digest.of(got.body)) != one["digest"]:
            return False
    return True


def test_what_no_manifest_needs_goes_and_the_rest_stays(running: Running, client: Client) -> None:
    push(client, "app")
    garbage = client.push_blob("app", b"x" * 1000)
    age(running.root)
    done = collect_in(running.root)
    assert [entry.digest for entry in done.blobs] == [garbage]
    assert (done.freed, done.kept, done.damaged) == (1000, 3, [])
    assert served(client, "app", "latest")
    assert client.head(f"/v2/app/blobs/{garbage}").status == 404
    assert not blob(running.root, garbage).parent.exists()
    assert not Path(Layout(running.root).layer_link("app", garbage)).parent.exists()
    assert client.push_blob("app", b"x" * 1000) == garbage
    assert client.get(f"/v2/app/blobs/{garbage}").body == b"x" * 1000


def test_a_dry_run_lists_the_same_and_deletes_nothing(running: Running, client: Client) -> None:
    loose = push(client, "app", None)
    garbage = client.push_blob("app", b"garbage")
    age(running.root)
    for untagged in (False, True):
        planned = collect_in(running.root, untagged=untagged, dry_run=True)
        assert garbage in {entry.digest for entry in planned.blobs}
        assert planned.manifests == ([("app", loose)] if untagged else [])
    assert client.get(f"/v2/app/blobs/{garbage}").body == b"garbage"
    assert served(client, "app", loose)
    age(running.root)
    done = collect_in(running.root, untagged=True)
    assert {one.digest for one in done.blobs} == {one.digest for one in planned.blobs}


def test_what_is_young_stays_and_is_counted(running: Running, client: Client) -> None:
    garbage = client.push_blob("app", b"garbage")
    done = collect_in(running.root)
    assert (done.blobs, done.young, done.young_size, done.freed) == ([], 1, 7, 0)
    assert client.head(f"/v2/app/blobs/{garbage}").status == 200


def test_a_blob_is_young_again_once_a_client_was_told_of_it(running: Running, client: Client) -> None:
    told = client.push_blob("app", b"told")
    mounted = client.push_blob("app", b"mounted")
    again = client.push_blob("app", b"again")
    silent = client.push_blob("app", b"silent")
    age(running.root)
    assert client.head(f"/v2/app/blobs/{told}").status == 200
    assert client.ask("POST", f"/v2/other/blobs/uploads/?mount={mounted}&from=app").status == 201
    assert client.push_blob("app", b"again") == again
    assert [entry.digest for entry in collect_in(running.root).blobs] == [silent]


def test_an_upload_that_lasted_long_ends_in_a_young_blob(running: Running, client: Client) -> None:
    location = client.ask("POST", "/v2/app/blobs/uploads/")["Location"]
    assert client.ask("PATCH", location, b"slow").status == 202
    (data,) = running.root.glob("docker/registry/v2/repositories/app/_uploads/*/data")
    os.utime(data, (LONG_AGO, LONG_AGO))
    digest = Digest.of(b"slow")
    assert client.ask("PUT", f"{location}?digest={digest}").status == 201
    assert collect_in(running.root).blobs == []
    assert client.get(f"/v2/app/blobs/{digest}").body == b"slow"


def test_untagged_manifests_stay_unless_that_is_asked_for(running: Running, client: Client) -> None:
    loose, old = push(client, "app", None), push(client, "app", "moved")
    push(client, "app", "moved")
    age(running.root)
    assert collect_in(running.root).manifests == []
    assert served(client, "app", loose)
    assert served(client, "app", old)
    gone = [*needs(client, "app", loose), *needs(client, "app", old), loose, old]
    done = collect_in(running.root, untagged=True)
    assert set(done.manifests) == {("app", loose), ("app", old)}
    assert {entry.digest for entry in done.blobs} == set(gone)
    assert client.get(f"/v2/app/manifests/{loose}").status == 404
    assert served(client, "app", "moved")


def test_children_of_indexes_and_referrers_of_what_is_tagged_stay(running: Running, client: Client) -> None:
    children = [push(client, "app", None) for _ in range(2)]
    bodies = [client.get(f"/v2/app/manifests/{digest}").body for digest in children]
    inner = index(bodies[0])
    assert client.push_manifest("app", str(Digest.of(inner)), inner).status == 201
    assert client.push_manifest("app", "all", index(inner, bodies[1])).status == 201
    signature = push(client, "app", None, subject=descriptor(bodies[1], OCI_IMAGE))
    signed = client.get(f"/v2/app/manifests/{signature}").body
    timestamp = push(client, "app", None, subject=descriptor(signed, OCI_IMAGE))
    lonely = push(client, "app", None, subject=descriptor(b"nothing", OCI_IMAGE))
    age(running.root)
    done = collect_in(running.root, untagged=True)
    assert done.manifests == [("app", lonely)]
    assert served(client, "app", "all")
    assert served(client, "app", signature)
    assert served(client, "app", timestamp)
    listed = client.get(f"/v2/app/referrers/{children[1]}").json()["manifests"]
    assert [one["digest"] for one in listed] == [str(signature)]
    assert client.ask("DELETE", "/v2/app/manifests/all").status == 202
    age(running.root)
    done = collect_in(running.root, untagged=True)
    removed = [digest for _, digest in done.manifests]
    assert set(removed) == {
        Digest.of(index(inner, bodies[1])),
        Digest.of(inner),
        *children,
        signature,
        timestamp,
    }
    assert removed.index(Digest.of(inner)) < removed.index(children[0])
    assert removed.index(children[1]) < removed.index(signature) < removed.index(timestamp)


def test_what_a_young_untagged_index_needs_stays(running: Running, client: Client) -> None:
    child = push(client, "app", None)
    body = client.get(f"/v2/app/manifests/{child}").body
    signature = push(client, "app", None, subject=descriptor(body, OCI_IMAGE))
    age(running.root)
    parent = index(body)
    assert client.push_manifest("app", str(Digest.of(parent)), parent).status == 201
    for path in (blob(running.root, child), blob(running.root, signature)):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert collect_in(running.root, untagged=True, dry_run=True).manifests == []
    assert collect_in(running.root, untagged=True).manifests == []
    assert served(client, "app", Digest.of(parent))
    assert served(client, "app", signature)


def test_an_image_in_two_repositories_goes_only_where_it_is_untagged(
    running: Running, client: Client
) -> None:
    digest, manifest = client.push_image("one", None, (b"shared",))
    client.push_image("two", "latest", (b"shared",))
    age(running.root)
    done = collect_in(running.root, untagged=True)
    assert (done.manifests, done.blobs) == ([("one", digest)], [])
    assert client.get(f"/v2/one/manifests/{digest}").status == 404
    assert served(client, "two", "latest")
    assert client.push_manifest("one", "back", manifest).status == 201


def test_sha512_is_kept_by_either_name(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    content = uuid4().bytes
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        client.push_blob("alias", content, "sha512")
        client.push_blob("alias", b"{}", "sha512")
    with Running.start(root) as ours, ours.client() as client:
        made = image(b"{}", (content,), algorithm="sha512")
        assert client.push_manifest("alias", "latest", made).status == 201
        age(root)
        assert collect_in(root, untagged=True).blobs == []
        assert client.get(f"/v2/alias/blobs/{Digest.of(content, 'sha512')}").body == content


@pytest.mark.parametrize("damage", ["empty tag", "empty revision", "lost manifest", "other manifest"])
def test_damage_is_reported_and_its_repository_left_alone(
    running: Running, client: Client, damage: str
) -> None:
    root = running.root
    digest = push(client, "hurt")
    places = Layout(root)
    spared = client.push_blob("hurt", b"may belong to what is damaged")
    push(client, "whole")
    garbage = client.push_blob("whole", b"garbage")
    loose = push(client, "hurt", None)
    if damage == "empty tag":
        Path(places.tag_link("hurt", "latest")).write_bytes(b"")
    elif damage == "empty revision":
        Path(places.revision_link("hurt", digest)).write_bytes(b"")
    elif damage == "lost manifest":
        blob(root, digest).unlink()
    else:
        blob(root, digest).write_bytes(b'{"schemaVersion": 2}')
    age(root)
    done = collect_in(root, untagged=True)
    assert {one.repository for one in done.damaged} == {"hurt"}
    assert done.damaged
    assert [entry.digest for entry in done.blobs] == [garbage]
    assert client.head(f"/v2/hurt/blobs/{spared}").status == 200
    assert served(client, "hurt", loose)
    assert served(client, "whole", "latest")


def test_a_link_whose_blob_another_collector_took_goes(running: Running, client: Client) -> None:
    digest = client.push_blob("app", b"taken")
    shutil.rmtree(blob(running.root, digest).parent)
    collect_in(running.root)
    assert not Path(Layout(running.root).layer_link("app", digest)).exists()
    assert not blob(running.root, digest).parent.exists()


def test_uploads_of_a_week_ago_and_leftovers_go(running: Running, client: Client) -> None:
    root = running.root
    for _ in range(2):
        location = client.ask("POST", "/v2/app/blobs/uploads/")["Location"]
        assert client.ask("PATCH", location, b"part").status == 202
    digest = push(client, "app", "x.tmp")
    places = Layout(root)
    left = Path(f"{places.blob(digest)}.0123.tmp")
    waiting = Path(places.aside("app")) / "old"
    waiting.mkdir(parents=True)
    left.write_bytes(b"12345")
    age(root)
    young = Path(f"{places.tag_link('app', 'x.tmp')}.0123.tmp")
    young.write_bytes(b"sha256:")
    uploads = sorted(root.glob("docker/registry/v2/repositories/app/_uploads/*"))
    os.utime(uploads[0] / "data")
    assert collect_in(root, dry_run=True).uploads == 1
    assert uploads[1].exists()
    done = collect_in(root)
    assert (done.uploads, done.leftovers) == (1, 5)
    assert [path.exists() for path in (uploads[0], uploads[1], left, waiting, young)] == [
        True, False, False, False, True,
    ]  # fmt: skip
    assert served(client, "app", "x.tmp")


@pytest.mark.parametrize("by", ["request", "collector"])
def test_what_tags_remember_of_manifests_that_are_gone_goes(
    running: Running, client: Client, by: str
) -> None:
    """Distribution keeps a link for everything a tag ever pointed to: they would grow for ever."""
    gone, kept, now = (push(client, "app") for _ in range(3))
    assert client.push_manifest("app", "kept", client.get(f"/v2/app/manifests/{kept}").body).status == 201
    if by == "request":
        assert client.ask("DELETE", f"/v2/app/manifests/{gone}").status == 202
    places = Layout(running.root)
    remembered = [Path(places.tag_index_link("app", "latest", digest)) for digest in (gone, kept, now)]
    collect_in(running.root, untagged=True)
    assert all(link.exists() for link in remembered), "somebody was told of it a moment ago"
    age(running.root)
    collect_in(running.root, untagged=True, dry_run=True)
    assert all(link.exists() for link in remembered)
    collect_in(running.root, untagged=True)
    assert [link.exists() for link in remembered] == [False, True, True]
    assert not remembered[0].parent.exists()
    assert served(client, "app", "latest")
    assert served(client, "app", "kept")
    if shutil.which("docker-registry") is not None:
        running.stop()
        collect_garbage(running.root, "--delete-untagged")
        with DockerRegistry.start(running.root) as theirs, theirs.client() as there:
            for reference in ("latest", "kept"):
                assert there.get(f"/v2/app/manifests/{reference}", Accept=OCI_IMAGE).status == 200


def test_an_empty_directory_and_none_have_nothing_to_collect(tmp_path: Path) -> None:
    assert collect_in(tmp_path / "none").freed == 0
    assert collect_in(tmp_path).kept == 0


def test_two_collections_take_turns(tmp_path: Path) -> None:
    lock = alone(str(tmp_path))
    try:
        with pytest.raises(CollectorRuns):
            collect_in(tmp_path)
    finally:
        os.close(lock)
    collect_in(tmp_path)


def test_what_is_no_directory_can_not_be_collected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCollect, match="can't be collected"):
        collect_in(tmp_path / "file")


def test_a_disk_that_fails_ends_the_collection(running: Running, client: Client) -> None:
    push(client, "app")
    age(running.root)
    link = Path(Layout(running.root).tag_link("app", "latest"))
    link.unlink()
    link.mkdir()  # reading it fails with EISDIR, as a bad disk does with EIO
    with pytest.raises(CannotCollect, match="can't be collected"):
        collect_in(running.root)
    assert len(list(running.root.rglob("data"))) == 3


def test_who_is_told_waits_for_the_collector_and_hears_that_it_is_gone(
    running: Running, client: Client
) -> None:
    digest = client.push_blob("app", b"contested")
    age(running.root)
    answers: list[int] = []
    with running.client() as other:
        asking = threading.Thread(target=lambda: answers.append(other.head(f"/v2/app/blobs/{digest}").status))
        with held(str(blob(running.root, digest).parent)):
            asking.start()
            asking.join(0.3)
            assert asking.is_alive(), answers
            blob(running.root, digest).unlink()
        asking.join(10)
    assert answers == [404]


def test_a_push_waits_for_the_collector_and_is_stored(running: Running, client: Client) -> None:
    digest = client.push_blob("app", b"contested")
    directory = blob(running.root, digest).parent
    answers: list[Digest] = []
    with running.client() as other:
        pushing = threading.Thread(target=lambda: answers.append(other.push_blob("app", b"contested")))
        with held(str(directory)):
            pushing.start()
            pushing.join(0.3)
            assert pushing.is_alive(), answers
            blob(running.root, digest).unlink()
            directory.rmdir()
        pushing.join(10)
    assert answers == [digest]
    assert client.get(f"/v2/app/blobs/{digest}").body == b"contested"


@pytest.mark.slow
@pytest.mark.parametrize("untagged", [False, True])
def test_pushes_and_pulls_while_collections_run_lose_nothing(tmp_path: Path, untagged: bool) -> None:
    """Few layers, often orphaned and announced again; each collection has a grace of a push's length only."""
    pool = [os.urandom(20_000) for _ in range(60)]
    stop = time.monotonic() + 12
    broken: list[str] = []
    pushed = [0, 0, 0]

    def push_loop(worker: int, running: Running) -> None:
        chance = random.Random(worker)
        repository = f"app{worker % 2}"
        with running.client() as client:
            while time.monotonic() < stop:
                layers = tuple(chance.sample(pool, 2))
                for content in layers:
                    if client.head(f"/v2/{repository}/blobs/{Digest.of(content)}").status == 404:
                        client.push_blob(repository, content)
                client.push_blob(repository, b"{}")
                manifest = image(b"{}", layers)
                tag = f"t{worker}"
                answer = client.push_manifest(repository, tag, manifest)
                pushed[worker] += 1
                if answer.status != 201:
                    broken.append(f"push: {answer.status} {answer.body!r}")
                elif not served(client, repository, tag):
                    broken.append("a pull after a push that was acknowledged")
                digest = Digest.of(manifest)
                client.ask("DELETE", f"/v2/{repository}/manifests/{tag if untagged else digest}")

    collected = 0
    with Running.start(tmp_path / "data") as running:
        workers = [threading.Thread(target=push_loop, args=(number, running)) for number in range(3)]
        for worker in workers:
            worker.start()
        while time.monotonic() < stop:
            collected += len(collect_in(running.root, grace=1.5, untagged=untagged).blobs)
        for worker in workers:
            worker.join()
    assert broken == []
    assert collected > 20, "the collections had nothing to do: this proves nothing"
    assert min(pushed) > 20


_KILLED = """
import os, sys
from pathlib import Path
from regsetup.registry.collecting import collect_in
left = int(sys.argv[2])
def hook(event, arguments):
    global left
    if event in {"os.remove", "os.rmdir", "os.rename"}:
        left -= 1
        if left == 0:
            os._exit(137)
sys.addaudithook(hook)
collect_in(Path(sys.argv[1]), untagged=True)
"""


@pytest.mark.slow
def test_a_collection_that_is_killed_anywhere_leaves_a_good_tree(tmp_path: Path) -> None:
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    root = tmp_path / "data"
    with Running.start(root) as ours, ours.client() as client:
        push(client, "app")
        child = push(client, "app", None)
        body = client.get(f"/v2/app/manifests/{child}").body
        assert client.push_manifest("app", "all", index(body)).status == 201
        dead = index(client.get(f"/v2/app/manifests/{push(client, 'app', None)}").body)
        assert client.push_manifest("app", str(Digest.of(dead)), dead).status == 201
        client.push_blob("app", b"garbage")
    age(root)
    steps = 0
    code = 137
    while code == 137:
        steps += 1
        copy = tmp_path / f"copy{steps}"
        shutil.copytree(root, copy, copy_function=shutil.copy2)
        code = subprocess.run([sys.executable, "-c", _KILLED, str(copy), str(steps)], check=False).returncode
        if steps % 3 == 1:
            collect_garbage(copy)
        with Running.start(copy) as ours, ours.client() as client:
            assert served(client, "app", "latest")
            assert served(client, "app", "all")
            age(copy)
            assert collect_in(copy, untagged=True).damaged == []
            assert len(list(copy.rglob("data"))) == 7
        shutil.rmtree(copy)
    assert code == 0
    assert steps > 15
