"""rm over both registries: what was named goes with its parts, and never what another tag needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from regsetup.client import RegistryClient, UnexpectedAnswer
from regsetup.client.endpoint import Endpoint
from regsetup.contents.deletion import DeletesOff, apply, plan
from regsetup.contents.reclaim import estimate
from regsetup.contents.repository import gather
from regsetup.image.document import OCI_INDEX
from regsetup.reference import Digest
from tests.bed.liar import Liar, reply, reply_json
from tests.contract.filled import LAYER, Filled
from tests.registry.harness import Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.liar import Request
    from tests.bed.registry import RegistryProcess
    from tests.contract.both import Serve
    from tests.contract.calling import Calling


def test_a_tag_goes_and_the_same_image_under_another_stays(filled: Filled, call: Calling) -> None:
    image = filled.image("app", "1", "1.0", "latest")
    said = call("rm", f"{filled.host}/app:1.0", "-y").ok()
    assert said.lines[0] == f"tag      app:1.0  ({Digest.of(image)} stays: it is needed)"
    assert filled.tags("app") == ["1", "latest"]
    assert filled.has("app", image) == [True]
    assert filled.client.get_manifest("app", "1").content == image
    data = call.json("rm", f"{filled.host}/app:1", f"{filled.host}/app:latest", "-y")["data"]
    (one,) = data["repositories"]
    assert one["deleted"] == [{"digest": str(Digest.of(image)), "tags": ["1", "latest"], "named": True}]
    assert data["size"] == len(image) + len(LAYER) + json.loads(image)["config"]["size"]
    assert (filled.tags("app"), filled.has("app", image)) == ([], [False])


def test_a_digest_takes_its_tags_with_it_and_says_so(filled: Filled, call: Calling) -> None:
    image = filled.image("app", "1", "2")
    ref = f"{filled.host}/app@{Digest.of(image)}"
    shown = call("rm", ref, "--dry-run").ok()
    assert "app:1, app:2" in shown.lines[0]
    assert filled.tags("app") == ["1", "2"]
    call("rm", ref, "-y").ok()
    assert filled.tags("app") == []


def test_an_index_goes_with_its_images_and_what_refers_to_them(filled: Filled, call: Calling) -> None:
    amd = filled.image("app", layers=(b"amd",))
    arm = filled.image("app", platform="linux/arm64", layers=(b"arm",))
    shared = filled.image("app", "shared", platform="linux/s390x", layers=(b"s390x",))
    index = filled.index("app", "1", children={"linux/amd64": amd, "linux/arm64": arm, "linux/s390x": shared})
    signature, other = filled.attached("app", index, OCI_INDEX), filled.attached("app", amd)
    dry = call.json("rm", f"{filled.host}/app:1", "--dry-run")["data"]["repositories"][0]["deleted"]
    assert {one["digest"] for one in dry} >= {
        str(Digest.of(one)) for one in (index, amd, arm, signature, other)
    }
    assert [one["named"] for one in dry if one["digest"] == str(Digest.of(index))] == [True]
    assert [one["named"] for one in dry if one["digest"] == str(Digest.of(arm))] == [False]
    call("rm", f"{filled.host}/app:1", "-y").ok()
    assert filled.tags("app") == ["shared"]
    assert filled.has("app", index, amd, arm, signature, other, shared) == [False] * 5 + [True]


def test_a_part_of_an_image_that_stays_is_not_deleted(filled: Filled, call: Calling) -> None:
    amd = filled.image("app", "amd")
    index = filled.index("app", "1", children={"linux/amd64": amd})
    assert call.codes("rm", f"{filled.host}/app@{Digest.of(amd)}", "-y") == (1, ["still-needed"])
    assert filled.tags("app") == ["1", "amd"]
    call("rm", f"{filled.host}/app:amd", "-y").ok()
    assert filled.tags("app") == ["1"]
    assert filled.has("app", index, amd) == [True, True]


def test_an_image_without_a_tag_goes_by_its_digest(filled: Filled, call: Calling) -> None:
    child = filled.image("app")
    index = filled.index("app", children={"linux/amd64": child})
    filled.image("app", "other", layers=(b"x",))
    call("rm", f"{filled.host}/app@{Digest.of(index)}", "-y").ok()
    assert filled.has("app", index, child) == [False, False]
    assert filled.tags("app") == ["other"]
    assert call.codes("rm", f"{filled.host}/app@{Digest.of(index)}", "-y") == (1, ["no-such-image"])


def test_blobs_that_another_repository_needs_do_not_count(filled: Filled, call: Calling) -> None:
    image = filled.image("one", "1", layers=(LAYER, b"own"))
    filled.image("two", "1", layers=(LAYER,))
    data = call.json("rm", f"{filled.host}/one:1", "--dry-run")["data"]
    assert (data["size"], data["size_is_exact"]) == (len(image) + 3, True)
    contents = gather(filled.client, "one")
    in_haste = estimate(filled.client, [(contents, plan(contents, ["1"], []))], patience=-1)
    assert (in_haste.exact, in_haste.size > data["size"]) == (False, True)


def test_nothing_goes_without_leave(filled: Filled, call: Calling) -> None:
    filled.image("app", "1")
    assert call.codes("rm", f"{filled.host}/app:1") == (2, ["deletion-needs-yes"])
    assert "1 tag and 1 manifest" in call("rm", f"{filled.host}/app:1").err
    assert call("rm", f"{filled.host}/app:1", "--dry-run").ok().lines[-1].endswith("collection: regsetup gc")
    assert filled.tags("app") == ["1"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["rm"], "nothing-named"),
        (["rm", "app"], "nothing-named"),
        (["rm", "app:1", "--keep", "1"], "nothing-named"),
        (["rm", "--all"], "nothing-named"),
        (["rm", "app", "--all", "--keep", "1"], "nothing-named"),
        (["rm", "a.b/app:1", "c.d/app:1"], "several-registries"),
        (["rm", "app", "--older-than", "30"], "bad-age"),
        (["rm", "app", "--keep", "-1"], "bad-command-line"),
    ],
)
def test_what_can_not_be_meant_is_refused(call: Calling, arguments: list[str], code: str) -> None:
    assert call.codes(*arguments) == (2, [code])


def test_what_is_not_there_can_not_go(filled: Filled, call: Calling) -> None:
    filled.image("app", "1")
    assert call.codes("rm", f"{filled.host}/app:2", "-y") == (1, ["no-such-image"])
    assert call.codes("rm", f"{filled.host}/none:2", "-y") == (1, ["no-such-repository"])
    assert call.codes("rm", f"{filled.host}/none", "--keep", "1") == (1, ["no-such-repository"])
    assert call.codes("rm", f"{filled.host}/app:1", "--gc", "-y") == (2, ["not-collectable"])
    assert filled.tags("app") == ["1"]


def test_rules_take_old_images_and_keep_what_has_no_date(filled: Filled, call: Calling) -> None:
    for year in range(2019, 2024):
        filled.image("app", f"v{year}", layers=(str(year).encode(),), created=f"{year}-06-01T00:00:00Z")
    filled.client.put_manifest(
        "app",
        "stable",
        filled.client.get_manifest("app", "v2023").content,
        "application/vnd.oci.image.manifest.v1+json",
    )
    filled.image("app", "latest", layers=(b"l",), created="2018-01-01T00:00:00Z")
    filled.image("app", "undated", layers=(b"u",), created="1970-01-01T00:00:00Z")
    annotated = filled.image(
        "app",
        layers=(b"a",),
        created=None,
        annotations={"org.opencontainers.image.created": "2018-01-01T00:00:00Z"},
    )
    filled.index("app", "multi", children={"linux/amd64": annotated})
    filled.image("other", "v2000", layers=(b"o",), created="2000-01-01T00:00:00Z")
    dry = call.json("rm", f"{filled.host}/app", "--keep", "2", "--match", "v*", "--dry-run")["data"][
        "repositories"
    ][0]
    assert {tag for one in dry["deleted"] for tag in one["tags"]} == {"v2019", "v2020", "v2021"}
    said = call("rm", f"{filled.host}/app", "--keep", "2", "-y").ok()
    assert filled.tags("app") == ["latest", "stable", "undated", "v2022", "v2023"]
    assert "stays    app:undated  (it says no date)" in said.lines
    assert any(line.startswith("stays    app:latest  (it is protected") for line in said.lines)
    assert filled.tags("other") == ["v2000"]
    call("rm", "--all", "--older-than", "520w", "--registry", filled.host, "-y").ok()
    assert filled.tags("other") == []
    assert filled.tags("app") == ["latest", "stable", "undated", "v2022", "v2023"]
    call("rm", f"{filled.host}/app", "--match", "latest", "-y").ok()
    call("rm", f"{filled.host}/app", "--match", "v*", "-y").ok()
    assert filled.tags("app") == ["stable", "undated"]
    again = call("rm", f"{filled.host}/app", "--match", "v*", "-y").ok()
    assert again.lines[-1] == "nothing to do: nothing is to be deleted"


def test_what_changes_meanwhile_is_left_alone(filled: Filled) -> None:
    client = filled.client
    one, two, three = (filled.image("app", tag, layers=(tag.encode(),)) for tag in ("1", "2", "3"))
    index = filled.index("app", "all", children={"linux/amd64": filled.image("app", layers=(b"child",))})
    contents = gather(client, "app")
    removal = plan(contents, ["1", "2", "3", "all"], [])
    client.put_manifest("app", "1", two, "application/vnd.oci.image.manifest.v1+json")  # moved
    client.put_manifest("app", "new", three, "application/vnd.oci.image.manifest.v1+json")  # came
    filled.index("app", "all", children={"linux/arm64": filled.image("app", layers=(b"arm",))})  # moved
    done = apply(client, contents, removal)
    assert done.tags == ["2"]
    assert len(done.left) == 4
    assert filled.tags("app") in (["1", "3", "all", "new"], ["3", "all", "new"])  # 1 is 2's image now
    assert filled.has("app", one, three, index) == [True, True, True]


def test_what_can_not_be_read_keeps_the_parts_of_others(filled: Filled, call: Calling, serve: Serve) -> None:
    child = filled.image("app")
    index = filled.index("app", "1", children={"linux/amd64": child})
    broken = Digest.of(filled.image("app", "broken", layers=(b"b",)))
    blob = serve.started[0].data / "docker/registry/v2/blobs/sha256" / broken.hex[:2] / broken.hex / "data"
    blob.write_bytes(b"[" + blob.read_bytes()[1:])
    running, host = None, filled.host
    if serve.kind == "bundled":  # it has manifests in memory
        serve.started[0].stop()
        running = Running.start(serve.started[0].data)
        host = f"127.0.0.1:{running.port}"
    try:
        assert call.codes("rm", f"{host}/app:broken", "-y") == (1, ["tag-unreadable"])
        said = call("rm", f"{host}/app:1", "-y").ok()
        assert [line for line in said.lines if line.startswith("with it")] == []
        assert "note     parts of images stay, since broken can't be read" in said.lines
        assert call("tags", f"{host}/app").lines == ["broken"]
        for part, there in ((child, 0), (index, 3)):
            assert call("exists", f"{host}/app@{Digest.of(part)}").code == there
        if serve.kind == "registry2":
            call("rm", f"{host}/app@{broken}", "-y").ok()
            assert filled.tags("app") == []
    finally:
        if running:
            running.stop()


def test_deletes_that_are_off_are_explained(
    registry_process: Callable[..., RegistryProcess], tmp_path: Path, call: Calling
) -> None:
    settings = {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "off")}}}
    running = registry_process(settings=settings)
    with RegistryClient(Endpoint(running.url)) as client:
        filled = Filled(client, running.address)
        filled.image("app", "1", "2")
        for ref in ("app:1", f"app@{client.get_manifest('app', '1').digest}"):
            said = call("rm", f"{running.address}/{ref}", "-y")
            assert (said.code, "does not delete" in said.err) == (1, True)
            assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in said.err
        assert filled.tags("app") == ["1", "2"]
        contents = gather(client, "app")
        with pytest.raises(DeletesOff):
            apply(client, contents, plan(contents, ["1"], []))


class Grasping:
    """Stands between a client and a registry that deletes a whole image where a tag is to go."""

    def __init__(self, *, takes_back: bool) -> None:
        self.tags = {"1": b"{}", "2": b"{}"}
        self.takes_back = takes_back

    def __call__(self, request: Request) -> bytes:
        target = request.path.rpartition("/")[2]
        content = self.tags.get(target) or (b"{}" if self.tags and target == str(Digest.of(b"{}")) else None)
        kind = {"Content_Type": OCI_INDEX, "Docker_Content_Digest": str(Digest.of(b"{}"))}
        if request.path.endswith("/tags/list"):
            return reply_json({"tags": list(self.tags)})
        if request.method == "DELETE" and content:
            self.tags.clear()
            return reply(202)
        if request.method == "PUT":
            if not self.takes_back:
                return reply(403)
            self.tags[target] = request.body
            return reply(201)
        if content is None:
            return reply(404)
        return reply(200, content if request.method == "GET" else b"", length=2, **kind)


def test_a_registry_that_takes_more_than_a_tag_gets_the_rest_put_back() -> None:
    with Liar(Grasping(takes_back=True)) as liar, RegistryClient(Endpoint(liar.url)) as client:
        contents = gather(client, "app")
        apply(client, contents, plan(contents, ["1"], []))
        assert "2" in list(client.tags("app"))
    with Liar(Grasping(takes_back=False)) as liar, RegistryClient(Endpoint(liar.url)) as client:
        contents = gather(client, "app")
        with pytest.raises(Exception, match="app:2"):
            apply(client, contents, plan(contents, ["1"], []))


def test_a_tag_that_could_not_be_taken_away_is_put_back() -> None:
    """The throwaway was pushed, and the registry fails to delete it."""
    tags = {"1": b"{}", "2": b"{}"}

    def answer(request: Request) -> bytes:
        target = request.path.rpartition("/")[2]
        if request.path.endswith("/tags/list"):
            return reply_json({"tags": list(tags)})
        if request.method == "DELETE":
            known = target in tags or target in {str(Digest.of(one)) for one in tags.values()}
            return reply(400) if known else reply(404)
        if request.method == "POST":
            return reply(202, Location=f"{request.path}1")
        if request.method == "PUT":
            if "/manifests/" in request.path:
                tags[target] = request.body
            return reply(201)
        content = tags.get(target) or (b"{}" if target == str(Digest.of(b"{}")) else None)
        if content is None:
            return reply(404)
        digest = str(Digest.of(content))
        body = content if request.method == "GET" else b""
        return reply(200, body, length=len(content), Content_Type=OCI_INDEX, Docker_Content_Digest=digest)

    with Liar(answer) as liar, RegistryClient(Endpoint(liar.url)) as client:
        contents = gather(client, "app")
        with pytest.raises(UnexpectedAnswer):
            apply(client, contents, plan(contents, ["1"], []))
    assert tags == {"1": b"{}", "2": b"{}"}
