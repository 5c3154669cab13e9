"""``regsetup verify`` on disk and over the API: what is whole passes, and whatever is damaged is named."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup.client import Endpoint, RegistryClient
from regsetup.contents.verify import verify
from regsetup.reference import Digest, Reference
from regsetup.registry.content import OCI_IMAGE, OCI_INDEX
from regsetup.registry.disk.layout import Layout
from regsetup.registry.scrub import scrub
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import free_port
from tests.registry.harness import Client, DockerRegistry, Running, descriptor, image, index
from tests.registry.test_gc import push

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.cli import Regsetup
    from tests.bed.liar import Reply, Request

pytestmark = pytest.mark.slow


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with running.client() as connected:
        yield connected


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running.start(tmp_path / "data") as one:
        yield one


def on_disk(running: Running, only: str | None = None, *, sparse: bool = False) -> list[str]:
    told: list[tuple[int, int]] = []
    wanted = Reference.parse(only) if only else None
    done = scrub(running.root, lambda done, total: told.append((done, total)), wanted, sparse=sparse)
    assert not told or (told[-1][0] <= told[-1][1] and told == sorted(told))
    return [f"{one.repository}: {one.what}" for one in done.damaged]


def over_api(running: Running | DockerRegistry, only: str | None = None) -> list[str]:
    wanted = Reference.parse(only) if only else None
    with RegistryClient(Endpoint(f"http://127.0.0.1:{running.port}"), patience=0) as asking:
        found = verify(asking, lambda done, total: None, wanted)
    return [f"{one.repository}: {one.what}" for one in found.troubles]


def fill(client: Client) -> tuple[Digest, Digest]:
    """Push an image, one of two platforms with a referrer, and one with a layer that is elsewhere."""
    single = push(client, "one", "1.0")
    child = push(client, "many", None)
    body = client.get(f"/v2/many/manifests/{child}").body
    client.push_manifest("many", "all", index(body))
    push(client, "many", None, subject=descriptor(body, OCI_IMAGE))
    foreign = json.loads(client.get(f"/v2/one/manifests/{single}").body)
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    foreign["layers"].append(descriptor(b"not here", kind, urls=["https://layers.example/"]))
    assert client.push_manifest("one", "foreign", json.dumps(foreign).encode()).status == 201
    return single, child


def test_what_is_whole_passes(running: Running, client: Client) -> None:
    fill(client)
    for only in (None, "one", "one:1.0", "many:all"):
        assert on_disk(running, only) == []
        assert over_api(running, only) == []


def test_a_bit_that_fell_over_is_found(running: Running, client: Client) -> None:
    single, child = fill(client)
    layer = Digest.parse(client.get(f"/v2/one/manifests/{single}").json()["layers"][0]["digest"])
    path = Path(Layout(running.root).blob(layer))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert on_disk(running) == [f"one: {layer} has other bytes on disk"]
    assert over_api(running) == [f"one: {layer}"]
    assert on_disk(running, "one:1.0") == on_disk(running, f"one@{single}") == on_disk(running)
    assert over_api(running, "one:1.0") == over_api(running)
    assert on_disk(running, "many") == over_api(running, "many") == []
    path.unlink()
    assert {line.partition(";")[0] for line in on_disk(running)} == {f"one: {layer} is missing"}
    assert over_api(running, "one:1.0") == [f"one: {layer}"]
    assert on_disk(running, sparse=True) == []
    Path(Layout(running.root).blob(child)).write_bytes(b"{}")
    assert f"many: manifest {child} is damaged, or its bytes are missing" in on_disk(running, "many")
    running.stop()  # it keeps manifests in memory
    with Running.start(running.root) as again:
        assert over_api(again, "many") == [f"many: {child}"]


def test_damaged_links_are_found(running: Running, client: Client) -> None:
    fill(client)
    places = Layout(running.root)
    Path(places.tag_link("one", "1.0")).write_bytes(b"")
    assert on_disk(running) == on_disk(running, "one:1.0") == ["one: tag 1.0 has no readable link"]
    assert on_disk(running, "one:foreign") == []
    assert over_api(running, "one") == ["one: 1.0"]


@pytest.mark.parametrize("damage", ["empty", "gone", "other"])
def test_a_damaged_link_to_a_layer_or_a_platform_is_found(
    running: Running, client: Client, damage: str
) -> None:
    """The bytes are whole, and yet no client gets them."""
    _, child = fill(client)
    places = Layout(running.root)
    needed = client.get(f"/v2/many/manifests/{child}").json()
    layer, config = (Digest.parse(one["digest"]) for one in (needed["layers"][0], needed["config"]))
    for link in (places.layer_link("many", layer), places.revision_link("many", child)):
        assert on_disk(running) == []
        whole = Path(link).read_bytes()
        if damage == "gone":
            Path(link).unlink()
        else:
            Path(link).write_text(str(config) if damage == "other" else "")
        named = layer if link == places.layer_link("many", layer) else child
        assert any(str(named) in line for line in on_disk(running))
        assert any(str(named) in line for line in on_disk(running, "many:all"))
        assert over_api(running, "many:all") == [f"many: {named}"]
        Path(link).write_bytes(whole)


def test_a_sha512_that_leads_to_another_layer_is_found(tmp_path: Path) -> None:
    """registry:2 keeps sha512 as a link to the sha256: both digests are to hold."""
    one, two = (Digest.of(layer, "sha512") for layer in (b"one", b"two"))
    with Running.start(tmp_path / "data") as running, running.client() as client:
        client.push_image("app", "1.0", (b"one", b"two"), algorithm="sha512")
        places = Layout(running.root)
        for content in (b"one", b"two"):
            client.push_blob("app", content)
            link = Path(places.layer_link("app", Digest.of(content, "sha512")))
            link.write_text(str(Digest.of(content)))
        assert on_disk(running) == on_disk(running, "app:1.0") == []
        Path(places.layer_link("app", one)).write_text(str(Digest.of(b"two")))
        assert on_disk(running) == on_disk(running, "app:1.0") == [f"app: {one} has other bytes on disk"]
        Path(places.blob(Digest.of(b"two"))).write_bytes(b"tw0")
        assert f"app: {two} has other bytes on disk" in on_disk(running)


def test_what_is_asked_for_and_not_there_is_found(running: Running, client: Client) -> None:
    fill(client)
    assert on_disk(running, "one:2.0") == ["one: 2.0 is not there"]
    assert on_disk(running, "none") == ["none: no such repository, or nothing in it"]
    assert over_api(running, "one:2.0") == ["one: 2.0"]
    assert over_api(running, "none") == ["none: no such repository, or nothing in it"]


def test_a_scrub_makes_nothing_young(running: Running, client: Client) -> None:
    digest = client.push_blob("one", b"old")
    path = Path(Layout(running.root).blob(digest))
    os.utime(path, (1, 1))
    assert on_disk(running) == []
    assert path.stat().st_mtime == 1


def test_a_blob_of_two_repositories_is_looked_for_in_both(running: Running, client: Client) -> None:
    for repository in ("one", "two"):
        client.push_image(repository, "latest", (b"shared",))
    Path(Layout(running.root).layer_link("two", Digest.of(b"shared"))).unlink()
    client.push_image("two", "other", (b"other",))
    with RegistryClient(Endpoint(f"http://127.0.0.1:{running.port}")) as asking:
        found = verify(asking, lambda done, total: None)
    assert found.tags.keys() == {("one", "latest"), ("two", "latest"), ("two", "other")}
    assert [(one.repository, one.what) for one in found.troubles] in (
        [],
        [("two", str(Digest.of(b"shared")))],
    )


def test_verify_on_the_command_line(regsetup: Regsetup) -> None:
    port = free_port()
    regsetup(
        "up", "--backend", "embedded", "--port", str(port), "--user", "alice", "--password-stdin",
        stdin="correct horse\n",
    ).ok()  # fmt: skip
    with Running.start(regsetup.home / "registry" / "data") as beside, beside.client() as client:
        single, _ = fill(client)
    whole = regsetup("verify").ok()
    assert "verified on disk: nothing damaged" in whole.out
    assert "verified over the API: nothing damaged" in regsetup("verify", "--api", "many:all").ok().out
    layout = Layout(regsetup.home / "registry" / "data")
    Path(layout.blob(single)).write_bytes(b"{}")
    for more in ((), ("--api",)):
        done = regsetup("verify", "one", *more)
        assert done.code == 3
        assert f"{single}" in done.err or "1.0" in done.err
        envelope = regsetup.json("verify", "one:1.0", *more)
        assert (envelope["ok"], {one["code"] for one in envelope["errors"]}) == (False, {"corrupt"})
    with regsetup.on_terminal("verify", "many") as terminal:
        ended = terminal.wait()
        assert (ended.code, "nothing damaged" in ended.out) == (0, True)
    assert regsetup("verify", "Not/A:Name:").code == 2
    assert regsetup("verify", "--name", "other").code == 1
    link = Path(layout.tag_link("many", "all"))
    link.unlink()
    link.mkdir()
    assert regsetup.json("verify")["errors"][0]["code"] == "data-directory-unreadable"


def test_any_registry_is_verified(regsetup: Regsetup, running: Running, client: Client) -> None:
    """A registry in front of the name is the one that is read, whatever runs here."""
    single, _ = fill(client)
    address = f"127.0.0.1:{running.port}"
    whole = regsetup.json("verify", "--registry", address)
    assert (whole["ok"], whole["data"]["registry"], whole["data"]["how"]) == (True, address, "api")
    assert whole["data"]["blobs"] > 0
    config = Digest.parse(json.loads(client.get(f"/v2/one/manifests/{single}").body)["config"]["digest"])
    Path(Layout(running.root).blob(config)).write_bytes(b"x")
    for asked in ((f"{address}/one:1.0",), ("one:1.0", "--registry", address)):
        damaged = regsetup("verify", *asked)
        assert damaged.code == 3
        assert str(config) in damaged.err
    assert "no such repository" in regsetup("verify", f"{address}/none").err
    nobody = regsetup.json("verify", f"127.0.0.1:{free_port()}/one:1.0")
    assert nobody["errors"][0]["code"] == "registry-unreachable"
    here = regsetup.json("verify")
    assert here["errors"][0]["code"] == "no-registry-named"


def test_a_registry_that_does_not_list_is_verified_by_name(regsetup: Regsetup) -> None:
    with Liar(lambda request: reply_json({}) if request.path == "/v2/" else reply(404)) as liar:
        (error,) = regsetup.json("verify", "--registry", liar.address)["errors"]
    assert error["code"] == "no-catalog"


def test_a_blob_without_end_is_damaged_and_ends(tmp_path: Path) -> None:
    content = image(b"{}", (b"l",))

    def endless(request: Request) -> Reply:
        if "/referrers/" in request.path:
            return reply(404)
        if "/manifests/" in request.path:
            found = not request.path.endswith(":1.0") and "sha256-" not in request.path
            return reply(200, content, Content_Type=OCI_IMAGE) if found else reply(404)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return itertools.chain([head], itertools.repeat(b"400\r\n" + b"x" * 1024 + b"\r\n"))

    with Liar(endless) as liar, RegistryClient(Endpoint(liar.url), patience=0) as asking:
        found = verify(asking, lambda done, total: None, Reference.parse("one:1.0"))
    assert [one.what for one in found.troubles] == [str(Digest.of(one)) for one in (b"{}", b"l")]
    assert all("more than" in one.reason for one in found.troubles)


def test_a_damaged_list_of_referrers_hides_nothing_else(tmp_path: Path) -> None:
    """registry:2 keeps it as a tag, and answers 500 for it then."""
    root = tmp_path / "theirs"
    root.mkdir()
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        subject = push(client, "one", "1.0")
        listed = f"sha256-{subject.hex}"
        body = index(client.get("/v2/one/manifests/1.0", Accept=OCI_IMAGE).body)
        assert client.push_manifest("one", listed, body).status == 201
        Path(Layout(root).blob(Digest.of(body))).write_bytes(b"x")
        layer = json.loads(client.get("/v2/one/manifests/1.0", Accept=OCI_IMAGE).body)["layers"][0]["digest"]
        Path(Layout(root).blob(Digest.parse(layer))).write_bytes(b"m")
        assert over_api(theirs, "one:1.0") == [f"one: what refers to {subject}", f"one: {layer}"]


def test_registry_2_is_verified_over_the_api(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    root.mkdir()
    with DockerRegistry.start(root) as theirs, theirs.client() as client:
        push(client, "one", "1.0")
        assert over_api(theirs) == []
        made = image(b"{}", (b"l",))
        client.push_blob("one", b"{}")
        client.push_blob("one", b"l")
        assert client.push_manifest("one", "x", made).status == 201
        client.push_manifest("one", "y", index(made))
        assert json.loads(client.get("/v2/one/manifests/y", Accept=OCI_INDEX).body)["manifests"]
        assert over_api(theirs, "one:y") == []
        path = Path(Layout(root).blob(Digest.of(b"l")))
        path.write_bytes(b"m")
        assert over_api(theirs, "one:y") == [f"one: {Digest.of(b'l')}"]
