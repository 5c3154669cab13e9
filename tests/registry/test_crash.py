"""Killed at every write and rename, and truncated anywhere: what was acknowledged stays, the rest heals."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE, media_type_of
from regsetup.registry.disk.layout import Layout
from regsetup.registry.disk.store import open_store
from regsetup.registry.errors import ManifestUnknown
from regsetup.registry.store import Store, StoredManifest
from tests.registry.harness import Client, Running, collect_garbage, descriptor, image, index, local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOOKED = ("write", "writev", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
KILLED = 42
CONFIG, FIRST, SECOND = b'{"os": "linux"}', os.urandom(70_000), os.urandom(30_000)
ONE = image(CONFIG, (FIRST,))
TWO = image(CONFIG, (FIRST, SECOND))
BOTH = index(ONE, TWO)
SIGNED = image(CONFIG, (SECOND,), subject=descriptor(ONE, OCI_IMAGE), artifactType="a/b")


def upload(store: Store, content: bytes) -> None:
    """In two requests, as clients do."""
    identifier = store.uploads.start("app")
    half = len(content) // 2
    with store.uploads.hold("app", identifier) as session:
        session.append([content[:half], content[half:]], parallel=False)
    with store.uploads.hold("app", identifier) as session:
        session.commit(Digest.of(content))


def put(store: Store, content: bytes, tag: str = "", subject: bytes = b"") -> None:
    digest = Digest.of(content)
    manifest = StoredManifest(digest, media_type_of(content), content)
    store.referrers.put("app", manifest, Digest.of(subject) if subject else None)
    if tag:
        store.tags.set("app", tag, digest)


def story(store: Store) -> Iterator[str]:
    """Push, move a tag, attach, delete; yield what was acknowledged, step by step."""
    for content in (CONFIG, FIRST, SECOND):
        upload(store, content)
        yield f"blob {Digest.of(content)}"
    put(store, ONE, "latest")
    yield f"tag latest {Digest.of(ONE)}"
    put(store, TWO)
    yield f"manifest {Digest.of(TWO)}"
    put(store, BOTH, "both")
    yield f"tag both {Digest.of(BOTH)}"
    yield "moving latest"
    put(store, TWO, "latest")
    yield f"tag latest {Digest.of(TWO)}"
    put(store, SIGNED, "signature", ONE)
    yield f"tag signature {Digest.of(SIGNED)}"
    yield "deleting both"
    store.manifests.delete("app", Digest.of(BOTH), lambda _: True)
    yield "deleted both"
    store.tags.delete("app", "signature")
    yield "deleted signature"


def hook(limit: int) -> None:
    """End this process at the ``limit``-th call that changes a file."""
    left = limit

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if call.__name__ == "write":  # half of it, as a power cut would
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os._exit(KILLED)
            return call(*args, **kwargs)

        return wrapper

    for name in HOOKED:
        setattr(os, name, counted(getattr(os, name)))


def run_until_killed(root: Path, limit: int) -> tuple[list[str], bool]:
    """Run the story in a child that is killed; return what it acknowledged, and whether it got to the end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        acknowledge = os.write
        hook(limit)
        for step in story(open_store(root)):
            acknowledge(writing, f"{step}\n".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as steps:
        said = steps.read().splitlines()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}
    return said, code == 0


def holds(root: Path, said: list[str]) -> None:
    """Check everything that was acknowledged, with nothing remembered."""
    store = open_store(root)
    tags: dict[str, set[str]] = {}
    for step in said:
        what, _, rest = step.partition(" ")
        if what == "blob":
            digest = Digest.parse(rest)
            assert store.blobs.verify(store.blobs.target("app", digest)) is not None
        elif what == "tag":
            tag, _, text = rest.partition(" ")
            tags[tag] = {text}
        elif what == "moving":
            tags[rest].add(str(Digest.of(TWO)))
        elif what in {"deleting", "deleted"}:
            tags[rest] = {""} if what == "deleted" else {"", str(Digest.of(BOTH))}
        elif what == "manifest":
            assert store.manifests.get("app", Digest.parse(rest)).content
    for listed in Path(Layout(root).tags("app")).glob("*"):
        assert store.tags.get("app", listed.name), "a tag is listed that leads nowhere"
    for tag, wanted in tags.items():
        try:
            digest = store.tags.get("app", tag)
        except ManifestUnknown:
            assert "" in wanted or tag == "signature"
            continue
        assert str(digest) in wanted
        assert Digest.of(store.manifests.get("app", digest).content) == digest


@pytest.mark.slow
def test_killed_at_every_write_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    limit = 0
    finished = False
    collector = shutil.which("docker-registry") is not None
    while not finished:
        root = tmp_path / str(limit)
        said, finished = run_until_killed(root, limit)
        holds(root, said)
        repositories = root / "docker" / "registry" / "v2" / "repositories"
        if collector and repositories.is_dir():
            collect_garbage(root)
            holds(root, [step for step in said if not step.startswith("blob")])
        for step in story(open_store(root)):
            assert step
        holds(root, [f"tag latest {Digest.of(TWO)}", "deleted both", "deleted signature"])
        shutil.rmtree(root)
        limit += 1
    assert limit > 50


def push(client: Client) -> None:
    """Push as a client does: what is there is not sent again."""
    for content in (CONFIG, FIRST):
        digest = Digest.of(content)
        if client.head(f"/v2/app/blobs/{digest}").status != 200:
            client.push_blob("app", content)
    assert client.push_manifest("app", "latest", ONE).status == 201


def pulls(client: Client) -> None:
    for reference in ("latest", str(Digest.of(ONE))):
        assert client.get(f"/v2/app/manifests/{reference}").body == ONE
    for content in (CONFIG, FIRST):
        assert client.get(f"/v2/app/blobs/{Digest.of(content)}").body == content
    assert client.get("/v2/app/tags/list").json()["tags"] == ["latest"]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "restart"), [(0.0, True), (0.5, False)], ids=["emptied", "halved"])
def test_any_truncated_file_is_healed_by_the_next_push(tmp_path: Path, part: float, restart: bool) -> None:
    root = tmp_path / "data"
    running = Running.start(root)
    try:
        with running.client() as client:
            push(client)
        files = [path for path in root.rglob("*") if path.is_file()]
        assert len(files) > 7
        for path in files:
            os.truncate(path, int(path.stat().st_size * part))
            if restart:
                running.stop()
                running = Running.start(root)
            with running.client() as client:
                push(client)
                pulls(client)
            running.stop()
            if shutil.which("docker-registry") is not None:
                collect_garbage(root)
            running = Running.start(root)
            with running.client() as client:
                pulls(client)
    finally:
        running.stop()


def test_a_damaged_blob_does_not_exist(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        digest, _ = client.push_image("app")
        config = Digest.of(b'{"architecture": "amd64", "os": "linux"}')
        layer = Digest.of(b"layer")
        path = root / "docker/registry/v2/blobs/sha256" / layer.hex[:2] / layer.hex / "data"
        path.write_bytes(b"LAYER")
        assert client.head(f"/v2/app/blobs/{layer}").status == 404
        assert client.head(f"/v2/app/blobs/{config}").status == 200
        answer = client.ask("POST", f"/v2/other/blobs/uploads/?mount={layer}&from=app")
        assert answer.status == 202
        assert client.push_manifest("app", "again", image(layers=(b"layer",))).status == 400
        assert client.push_blob("app", b"layer") == layer
        assert client.get(f"/v2/app/blobs/{layer}").body == b"layer"
        assert client.get(f"/v2/app/manifests/{digest}").status == 200


def test_a_manifest_that_is_damaged_while_it_is_in_memory_does_not_exist(tmp_path: Path) -> None:
    """containerd and BuildKit ask with HEAD, and push nothing that they hear is there."""
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        push(client)
        path = f"/v2/app/manifests/{Digest.of(ONE)}"
        assert client.head(path).status == client.head("/v2/app/manifests/latest").status == 200
        os.truncate(Layout(root).blob(Digest.of(ONE)), 10)
        assert client.head(path).status == client.head("/v2/app/manifests/latest").status == 404
        push(client)
        assert client.head(path).status == 200
    with Running.start(root) as running, running.client() as client:
        pulls(client)


def test_a_link_to_other_content_is_healed_by_the_next_push(tmp_path: Path) -> None:
    root = tmp_path / "data"
    places = Layout(root)
    with Running.start(root) as running, running.client() as client:
        push(client)
        for link, digest in (
            (places.layer_link("app", Digest.of(FIRST)), Digest.of(CONFIG)),
            (places.revision_link("app", Digest.of(ONE)), Digest.of(CONFIG)),
        ):
            Path(link).write_text(str(digest))
        assert client.get(f"/v2/app/blobs/{Digest.of(FIRST)}").status == 404
        assert client.get(f"/v2/app/manifests/{Digest.of(ONE)}").status == 404
        push(client)
        pulls(client)


def test_a_tag_with_a_damaged_link_can_be_deleted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Running.start(root) as running, running.client() as client:
        push(client)
        os.truncate(Layout(root).tag_link("app", "latest"), 0)
        assert client.get("/v2/app/manifests/latest").status == 404
        assert client.ask("DELETE", "/v2/app/manifests/latest").status == 202
        assert client.get("/v2/app/tags/list").json()["tags"] == []
        assert client.ask("DELETE", "/v2/app/manifests/latest").status == 404


@pytest.mark.slow
def test_killed_while_many_push_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "data"
    kept: dict[tuple[str, Digest], bytes] = {}

    def pusher(running: Running, name: str) -> None:
        try:
            with running.client() as client:
                while True:
                    content = os.urandom(200_000)
                    digest = client.push_blob(name, content)
                    kept[name, digest] = content
                    made = image(content, (content,))
                    assert client.push_manifest(name, "latest", made).status == 201
        except (OSError, AssertionError):
            return

    for _ in range(4):
        running = Running.start(root)
        threads = [threading.Thread(target=pusher, args=(running, f"app{number}")) for number in range(3)]
        before = len(kept)
        for thread in threads:
            thread.start()
        while len(kept) < before + 20:
            threads[0].join(0.01)
        running.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with Running.start(root) as running, running.client() as client:
        for (name, digest), content in kept.items():
            assert client.get(f"/v2/{name}/blobs/{digest}").body == content
        for number in range(3):
            assert client.get(f"/v2/app{number}/manifests/latest").status == 200


def test_a_push_that_was_cut_goes_on_where_it_ended(tmp_path: Path) -> None:
    """The connection breaks in the middle of a PATCH; then the server is killed, and it goes on still."""
    root = tmp_path / "data"
    content = os.urandom(3_000_000)
    digest = Digest.of(content)
    running = Running.start(root)
    try:
        with running.client() as client:
            location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
            connection = client._connect()
            connection.putrequest("PATCH", location)
            connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content[:1_500_000])
        with running.client() as client:
            reached = wait_for(client, location, 1_500_000)
            answer = client.ask("PATCH", location, content[reached : reached + 500_000])
            assert (answer.status, answer["Range"]) == (202, f"0-{reached + 500_000 - 1}")
        running.stop(signal.SIGKILL)
        running = Running.start(root)
        with running.client() as client:
            headers = {"Content-Range": f"{reached + 500_000}-{len(content) - 1}"}
            answer = client.ask("PATCH", location, content[reached + 500_000 :], headers)
            assert answer.status == 202
            assert client.ask("PUT", f"{location}?digest={digest}").status == 201
            assert client.get(f"/v2/app/blobs/{digest}").body == content
    finally:
        running.stop()


def wait_for(client: Client, location: str, size: int) -> int:
    """Return how far an upload is once the broken request let go of it."""
    for _ in range(1000):
        answer = client.get(location)
        reached = int(answer["Range"].partition("-")[2]) + 1
        if reached >= size and client.ask("PATCH", location, b"").status == 202:
            return reached
    raise AssertionError(f"the upload stays at {reached}")


def test_the_last_put_after_a_restart_reads_nothing_again(tmp_path: Path) -> None:
    """Size and digest were noted: the data may even be gone from what the hash could read."""
    root = tmp_path / "data"
    content = os.urandom(100_000)
    running = Running.start(root)
    try:
        with running.client() as client:
            location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
            assert client.ask("PATCH", location, content).status == 202
        running.stop(signal.SIGKILL)
        (note,) = root.rglob("hashed")
        assert str(Digest.of(content)) in note.read_text()
        running = Running.start(root)
        with running.client() as client:
            answer = client.ask("PUT", f"{location}?digest={Digest.of(content)}")
            assert answer.status == 201
        assert not list(root.rglob("_uploads/*"))
    finally:
        running.stop()


@pytest.mark.parametrize("note", ['{"size": 7}', "not JSON", "[]", '{"size": 7, "digest": 1, "boot": ""}'])
def test_a_note_that_can_not_be_trusted_is_not_read(tmp_path: Path, note: str) -> None:
    store = open_store(tmp_path)
    identifier = store.uploads.start("app")
    with store.uploads.hold("app", identifier) as session:
        session.append([b"content"], parallel=True)
    (path,) = tmp_path.rglob("hashed")
    path.write_text(note)
    fresh = open_store(tmp_path)
    with fresh.uploads.hold("app", identifier) as session:
        session.commit(Digest.of(b"content"))
    assert fresh.blobs.verify(Digest.of(b"content")) == 7
