"""``regsetup gc`` on both back ends, with the real registry:2 in a container."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.backends.choice import reopen
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.contents.collect import Harmed, WouldHarm, _refuse_harm, _Stopped, _There, _there
from regsetup.deployment import Paths
from regsetup.host import snapshot
from regsetup.prove import entered
from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE, OCI_INDEX
from regsetup.secret import Secret
from regsetup.state import read
from regsetup.status import remembered
from tests.bed.run import free_port
from tests.registry.harness import image, index
from tests.registry.test_gc import age

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import docker

    from regsetup.registry.survey import Damage
    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow
PASSWORD = "correct horse battery staple"


def push(client: RegistryClient, repository: str, reference: str | None, size: int = 1000) -> Digest:
    layer, config = os.urandom(size), os.urandom(32)
    client.put_blob(repository, layer)
    client.put_blob(repository, config)
    manifest = image(config, (layer,))
    return client.put_manifest(repository, reference or Digest.of(manifest), manifest, OCI_IMAGE)


def whole(client: RegistryClient, repository: str, reference: str | Digest) -> bool:
    document = json.loads(client.get_manifest(repository, reference).content)
    if "manifests" in document:
        return all(whole(client, repository, Digest.parse(one["digest"])) for one in document["manifests"])
    digests = [Digest.parse(one["digest"]) for one in (document["config"], *document["layers"])]
    return all(sum(map(len, client.get_blob(repository, digest))) >= 0 for digest in digests)


# The bundled registry.


@pytest.fixture
def bundled(regsetup: Regsetup) -> RegistryClient:
    port = free_port()
    regsetup("up", "--backend", "embedded", "--port", str(port)).ok()
    return RegistryClient(Endpoint(f"http://127.0.0.1:{port}"))


def test_gc_frees_what_no_image_needs_without_downtime(regsetup: Regsetup, bundled: RegistryClient) -> None:
    with bundled as client:
        data = regsetup.home / "registry" / "data"
        push(client, "app", "kept")
        client.put_blob("app", b"x" * 5_000_000)
        young = regsetup("gc").ok()
        assert "5.0 MB unused but asked for within 1 h: 1 blob stay" in young.out
        assert "0 bytes freed: 0 blobs" in young.out
        age(data)
        planned = regsetup("gc", "--dry-run").ok()
        assert "would be deleted" in planned.out
        assert str(Digest.of(b"x" * 5_000_000)) in planned.out
        answer = regsetup.json("gc", "--grace", "60s")
        assert (answer["ok"], answer["changed"], answer["data"]["freed"]) == (True, True, 5_000_000)
        assert answer["data"]["kept"]["blobs"] == 3
        assert whole(client, "app", "kept")
        again = regsetup.json("gc")
        assert (again["changed"], again["data"]["freed"]) == (False, 0)


def test_gc_untagged_removes_manifests_too(regsetup: Regsetup, bundled: RegistryClient) -> None:
    with bundled as client:
        loose = push(client, "app", None)
        push(client, "app", "kept")
        age(regsetup.home / "registry" / "data")
        assert regsetup.json("gc")["data"]["manifests"] == []
        planned = regsetup("gc", "--untagged", "--dry-run").ok()
        assert f"manifest app@{loose}" in planned.out
        done = regsetup("gc", "--untagged").ok()
        assert "3 blobs, 1 manifest" in done.out
        assert client.head_manifest("app", loose) is None
        assert whole(client, "app", "kept")


def test_gc_reports_damage_and_exits_with_3(regsetup: Regsetup, bundled: RegistryClient) -> None:
    with bundled as client:
        digest = push(client, "app", "broken")
        data = regsetup.home / "registry" / "data"
        (data / f"docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data").unlink()
        stale = data / "docker/registry/v2/repositories/app/_uploads/0"
        stale.mkdir()
        (stale / "startedat").write_text("2020-01-01T00:00:00Z")
        age(data)
        done = regsetup("gc")
        assert done.code == 3
        assert f"error: app: manifest {digest} is damaged" in done.err
        assert "1 upload of more than a week ago" in done.out
        envelope = regsetup.json("gc")
        assert (envelope["ok"], envelope["errors"][0]["code"]) == (False, "damaged")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--grace", "soon"), 2, "--grace 'soon' is no duration"),
        (("--grace", "5s"), 2, "is shorter than 60 seconds"),
        (("--name", "other"), 1, "there is no registry named other"),
        (("--name", "Not A Name"), 2, "--name"),
    ],
)
def test_gc_refuses_what_makes_no_sense(
    regsetup: Regsetup, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = regsetup("gc", *arguments)
    assert done.code == code
    assert said in done.err


# registry:2 in a container.


@pytest.fixture
def contained(
    engine: docker.DockerClient, registry_image: str, regsetup: Regsetup, unique_name: str
) -> Callable[..., RegistryClient]:
    """Bring it up, with a user; return a client."""

    def up(*more: str) -> RegistryClient:
        port = free_port()
        regsetup(
            "up", "--backend", "docker", "--image", registry_image, "--name", unique_name,
            "--port", str(port), "--user", "alice", "--password-stdin", *more, stdin=f"{PASSWORD}\n",
        ).ok()  # fmt: skip
        return RegistryClient(
            Endpoint(f"http://127.0.0.1:{port}", credentials=Credentials("alice", Secret(PASSWORD)))
        )

    return up


def _gc(regsetup: Regsetup, name: str, *more: str) -> dict[str, Any]:
    return regsetup.json("gc", "--name", name, *more)


@pytest.mark.engine
@pytest.mark.parametrize("storage", ["directory", "volume"])
def test_gc_of_a_container_keeps_what_is_tagged_and_frees_the_rest(
    regsetup: Regsetup,
    contained: Callable[..., RegistryClient],
    unique_name: str,
    engine: docker.DockerClient,
    storage: str,
) -> None:
    more = ("--data", f"volume:{unique_name}") if storage == "volume" else ()
    with contained(*more) as client:
        children = [push(client, "team/app", None) for _ in range(2)]
        parent = index(*(client.get_manifest("team/app", one).content for one in children))
        client.put_manifest("team/app", "multi", parent, OCI_INDEX)
        push(client, "single", "1.0")
        nothing = regsetup("gc", "--name", unique_name).ok()
        assert "nothing to do" in nothing.out
        garbage = client.put_blob("single", os.urandom(3_000_000))
        planned = _gc(regsetup, unique_name, "--dry-run")
        assert (planned["changed"], planned["data"]["eligible"]) == (False, [str(garbage)])
        assert client.head_blob("single", garbage) == 3_000_000
        said = regsetup("gc", "--name", unique_name, "--dry-run").ok()
        assert "the registry would be stopped" in said.out
        started = engine.containers.get(unique_name).attrs["State"]["StartedAt"]
        done = regsetup("gc", "--name", unique_name).ok()
        assert "3.0 MB freed: 1 object; down for" in done.out
        assert "2 tags checked before and after: all of them resolve" in done.out
        assert "serves again after" in done.err
        assert client.head_blob("single", garbage) is None
        assert whole(client, "team/app", "multi")
        assert whole(client, "single", "1.0")
        assert engine.containers.get(unique_name).attrs["State"]["StartedAt"] != started
        assert not [
            one for one in engine.containers.list(all=True) if one.name == f"{unique_name}.regsetup-gc"
        ]
        assert client.put_blob("single", b"after") == Digest.of(b"after")
        taken = regsetup.json("rm", "team/app:multi", "--gc", "-y", "--name", unique_name)
        assert (taken["ok"], taken["data"]["gc"]["tags"]) == (True, 1)
        assert taken["data"]["gc"]["freed"] >= taken["data"]["size"] > 2000
        assert list(client.catalog()) == ["single", "team/app"]
        if storage == "directory":
            assert sorted(path.name for path in (regsetup.home / unique_name / "data").iterdir()) == [
                "docker"
            ]


@pytest.mark.engine
def test_gc_of_a_container_steps_over_what_is_damaged(
    regsetup: Regsetup, contained: Callable[..., RegistryClient], unique_name: str
) -> None:
    with contained() as client:
        digest = push(client, "app", "1.0")
        assert _gc(regsetup, unique_name, "--grace", "1h")["errors"][0]["code"] == "usage"
        push(client, "other", "1.0")
        data = regsetup.home / unique_name / "data" / "docker/registry/v2"
        garbage = client.put_blob("other", b"garbage")
        shutil.rmtree(data / "repositories/other/_layers")  # registry:2's collector would delete its images
        link = data / f"repositories/app/_manifests/revisions/sha256/{digest.hex}/link"
        link.write_bytes(b"")
        done = _gc(regsetup, unique_name)
        assert [one["code"] for one in done["errors"]] == ["damaged", "damaged"]
        assert "app: manifest" in done["errors"][0]["message"] + done["errors"][1]["message"]
        assert done["data"]["eligible"] == [str(garbage)]
        assert client.head_manifest("other", "1.0") is not None
        assert client.ping().status == 200


@pytest.mark.engine
def test_gc_untagged_of_a_container_keeps_platforms_of_tagged_images(
    regsetup: Regsetup, contained: Callable[..., RegistryClient], unique_name: str
) -> None:
    with contained() as client:
        loose = push(client, "app", None)
        child = push(client, "app", None)
        client.put_manifest("app", "multi", index(client.get_manifest("app", child).content), OCI_INDEX)
        assert "nothing to do" in regsetup("gc", "--name", unique_name).ok().out
        done = _gc(regsetup, unique_name, "--untagged")
        assert (done["ok"], len(done["data"]["eligible"])) == (True, 3)
        assert client.head_manifest("app", loose) is None
        assert whole(client, "app", "multi")


def push_strong(client: RegistryClient) -> tuple[bytes, Digest]:
    """Push an image that names its configuration by sha512; registry:2 stores that under sha256."""
    content = os.urandom(2000)
    digest = Digest.of(content, "sha512")
    client.put_blob("strong", content, digest)
    client.put_manifest("strong", "1.0", image(content, (), algorithm="sha512"), OCI_IMAGE)
    return content, digest


@pytest.mark.engine
def test_gc_of_a_container_keeps_what_is_stored_under_another_digest(
    regsetup: Regsetup, contained: Callable[..., RegistryClient], unique_name: str
) -> None:
    with contained() as client:
        content, digest = push_strong(client)
        garbage = client.put_blob("strong", b"garbage")
        assert _gc(regsetup, unique_name)["data"]["eligible"] == [str(garbage)]
        assert b"".join(client.get_blob("strong", digest)) == content


@dataclass
class Harmful:
    """A collector that lists one thing and deletes another."""

    listed: Digest
    victim: Path
    damaged: tuple[Damage, ...] = ()

    def eligible(self) -> frozenset[Digest]:
        return frozenset({self.listed})

    def collect(self) -> None:
        self.victim.unlink()

    def clear(self) -> None:
        pass


@pytest.mark.engine
def test_gc_of_a_container_puts_back_what_a_collector_took_wrongly(
    regsetup: Regsetup, contained: Callable[..., RegistryClient], unique_name: str
) -> None:
    with contained() as client:
        digest = push(client, "app", "1.0")
        garbage = client.put_blob("app", b"garbage")
        paths = Paths(regsetup.home, unique_name)
        state = read(paths.state)
        assert state is not None
        wanted, data = remembered(paths), regsetup.home / unique_name / "data"
        victim = data / f"docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"
        said: list[str] = []
        with entered(wanted, paths) as where:
            collection = _Stopped(
                wanted, reopen(paths, state), Harmful(garbage, victim), where, _there(where)
            )
            with pytest.raises(Harmed) as caught:
                collection.run(data, said.append)
        assert f"app@{digest}" in str(caught.value.cause)
        assert "what was deleted is back (files: 1)" in str(caught.value.fix)
        assert whole(client, "app", "1.0")
        assert [path.name for path in data.iterdir()] == ["docker"]
        assert sum("serves again after" in line for line in said) == 2


def test_what_a_dry_run_must_not_list() -> None:
    digest, other = Digest.of(b"1"), Digest.of(b"2")
    for needed in (
        _There((), {("app", digest)}, {}),
        _There((), (), {("app", Digest.of(b"1", "sha512")): digest}),
    ):
        with pytest.raises(WouldHarm, match="would delete 1 objects"):
            _refuse_harm(frozenset({digest, other}), needed)
        _refuse_harm(frozenset({other}), needed)


@pytest.mark.engine
def test_gc_needs_a_container_that_runs(
    regsetup: Regsetup,
    contained: Callable[..., RegistryClient],
    unique_name: str,
    engine: docker.DockerClient,
) -> None:
    with contained():
        engine.containers.get(unique_name).stop(timeout=5)
        assert _gc(regsetup, unique_name)["errors"][0]["code"] == "not-running"


# The snapshot that a collection can be taken back with.


def _tree(place: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(place)): (path.stat().st_mode, path.stat().st_ino if path.is_file() else 0)
        for path in place.rglob("*")
    }


def test_a_snapshot_puts_back_what_was_deleted_and_nothing_else(tmp_path: Path) -> None:
    tree, kept = tmp_path / "tree", tmp_path / "kept"
    for name in ("a/b/one", "a/two", "three"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "a/b").chmod(0o700)
    before = _tree(tree)
    snapshot.take(tree, kept)
    shutil.rmtree(tree / "a")
    (tree / "three").unlink()
    (tree / "three").write_text("new")
    assert snapshot.put_back(tree, kept) == 2
    after = _tree(tree)
    assert {key: value for key, value in after.items() if key != "three"} == {
        key: value for key, value in before.items() if key != "three"
    }
    assert (tree / "three").read_text() == "new"
    snapshot.discard(kept)
    snapshot.discard(kept)
    assert not kept.exists()


def test_a_snapshot_that_can_not_be_taken_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        snapshot.take(tmp_path / "none", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_harm_says_whether_it_was_put_back() -> None:
    assert "push these images again" in str(Harmed(("app:1",), None).fix)
    assert "what was deleted is back (files: 3)" in str(Harmed(("app:1",), 3).fix)
