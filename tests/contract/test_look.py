"""catalog, tags, manifest, inspect, blob and exists, over both registries and over one that lies."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest

from regsetup.image.document import OCI_INDEX, OCI_MANIFEST
from regsetup.reference import Digest
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import free_port
from tests.contract.filled import CREATED, LAYER, Filled, descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.liar import Reply, Request
    from tests.contract.both import Serve
    from tests.contract.calling import Calling


def test_names_are_listed_page_by_page(filled: Filled, call: Calling) -> None:
    filled.image("team/app", "1", "2", "latest")
    filled.image("base", "3.0")
    assert call("catalog", "--registry", filled.host).ok().lines == ["base", "team/app"]
    listed = call("catalog", "--registry", f"http://{filled.host}", "--tags").ok().lines
    assert listed == ["base:3.0", "team/app:1", "team/app:2", "team/app:latest"]
    data = call.json("catalog", "--registry", filled.host, "--tags")["data"]
    assert data["tags"] == {"base": ["3.0"], "team/app": ["1", "2", "latest"]}
    assert call("tags", f"{filled.host}/team/app").ok().lines == ["1", "2", "latest"]
    data = call.json("tags", "team/app", "--registry", filled.host)["data"]
    assert data == {"registry": filled.host, "repository": "team/app", "tags": ["1", "2", "latest"]}


def test_an_empty_registry_lists_nothing(filled: Filled, call: Calling) -> None:
    assert call("catalog", "--registry", filled.host).ok().raw == b""
    assert call("catalog", "--tags", "--registry", filled.host).ok().raw == b""


def test_a_manifest_is_shown_and_given_byte_for_byte(filled: Filled, call: Calling) -> None:
    amd, arm = filled.image("app"), filled.image("app", platform="linux/arm64")
    index = filled.index("app", "1", children={"linux/amd64": amd, "linux/arm64": arm})
    ref = f"{filled.host}/app:1"
    assert call("manifest", ref, "--raw").ok().raw == index
    assert json.loads(call("manifest", ref).ok().out) == json.loads(index)
    assert call("manifest", ref, "--raw", "--platform", "linux/arm64").ok().raw == arm
    assert call("manifest", f"{filled.host}/app@{Digest.of(amd)}", "--raw").ok().raw == amd
    data = call.json("manifest", ref, "--platform", "linux/amd64")["data"]
    assert (data["digest"], data["manifest"]) == (str(Digest.of(amd)), json.loads(amd))
    single = f"{filled.host}/app@{Digest.of(arm)}"
    assert call("manifest", single, "--platform", "linux/arm64", "--raw").ok().raw == arm
    for wrong in (ref, single):
        assert call.codes("manifest", wrong, "--platform", "windows/amd64") == (1, ["no-such-platform"])
    assert call.codes("manifest", ref, "--platform", "windows") == (2, ["bad-platform"])
    assert call.codes("manifest", ref, "--raw") == (2, ["raw-is-no-json"])


def test_what_is_not_there_is_said_with_what_is(filled: Filled, call: Calling) -> None:
    filled.image("app", "1", "2")
    missing = call("manifest", f"{filled.host}/app:3")
    assert (missing.code, missing.raw) == (1, b"")
    assert f"{filled.host} has no app:3" in missing.err
    assert "its tags are 1, 2" in missing.err
    digest = Digest.of(b"nothing")
    assert call.codes("inspect", f"{filled.host}/app@{digest}") == (1, ["no-such-image"])
    assert call.codes("inspect", f"{filled.host}/none:1") == (1, ["no-such-repository"])
    assert call.codes("tags", f"{filled.host}/none") == (1, ["no-such-repository"])
    gone = call("blob", f"{filled.host}/app", str(digest))
    assert (gone.code, gone.raw) == (1, b"")
    assert f"{filled.host} has no blob {digest} in app" in gone.err


def test_existence_is_told_by_the_exit_code(filled: Filled, call: Calling) -> None:
    digest = Digest.of(filled.image("app", "1"))
    assert call("exists", f"{filled.host}/app:1").ok().lines == [str(digest)]
    assert call("exists", f"{filled.host}/app@{digest}").ok().lines == [str(digest)]
    for missing in ("app", "app:2", "none:1", f"app@{Digest.of(b'x')}"):
        assert call.codes("exists", f"{filled.host}/{missing}") == (3, ["not-there"])
    assert call("exists", f"{filled.host}/app:2").raw == b""


def test_existence_of_a_blob_is_told_without_fetching_it(filled: Filled, call: Calling) -> None:
    filled.image("app", "1")
    digest = Digest.of(LAYER)
    assert call("exists", "--blob", f"{filled.host}/app@{digest}").ok().lines == [str(digest)]
    data = call.json("exists", "--blob", f"{filled.host}/app@{digest}")["data"]
    assert (data["exists"], data["size"]) == (True, len(LAYER))
    for missing in (f"none@{digest}", f"app@{Digest.of(b'x')}"):
        assert call.codes("exists", "--blob", f"{filled.host}/{missing}") == (3, ["not-there"])
    assert call.codes("exists", "--blob", f"{filled.host}/app:1") == (2, ["no-digest"])


def test_an_image_is_inspected_down_to_its_layers(filled: Filled, call: Calling) -> None:
    image = filled.image("app", "1", layers=(LAYER, b"second"))
    shown = call("inspect", f"{filled.host}/app:1").ok().out
    for part in (
        f"{filled.host}/app:1",
        "linux/amd64",
        CREATED,
        "A=1",
        "serve -v",
        "200.",
        str(Digest.of(b"second")),
    ):
        assert part in shown
    assert "\x1b" not in shown
    data = call.json("inspect", f"{filled.host}/app:1")["data"]
    assert data["digest"] == str(Digest.of(image))
    assert [one["size"] for one in data["layers"]] == [len(LAYER), 6]
    assert data["total"] == len(LAYER) + 6 + json.loads(image)["config"]["size"]
    assert data["config"]["config"]["Cmd"] == ["serve", "-v"]
    assert data["config_digest"] == json.loads(image)["config"]["digest"]


def test_indexes_in_indexes_are_followed_with_what_refers_to_them(filled: Filled, call: Calling) -> None:
    amd, arm = filled.image("app"), filled.image("app", platform="linux/arm64", layers=(b"arm",))
    other = filled.image("app", platform="unknown/unknown", layers=(b"attestation",))
    inner = filled.index("app", children={"linux/arm64": arm, "unknown/unknown": other})
    entries = [
        descriptor(amd, OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(inner, OCI_INDEX),
    ]
    outer = filled.put("app", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, "all")
    filled.attached("app", outer, OCI_INDEX)
    data = call.json("inspect", f"{filled.host}/app:all")["data"]
    assert data["platforms"] == ["linux/amd64", "linux/arm64"]
    assert data["created"] == CREATED
    assert [one["digest"] for one in data["images"][1]["images"]] == [
        str(Digest.of(arm)),
        str(Digest.of(other)),
    ]
    assert [one["artifact_type"] for one in data["referrers"]] == ["application/x-signature"]
    shown = call("inspect", f"{filled.host}/app:all").ok().out
    assert "application/x-signature" in shown
    assert "linux/amd64, linux/arm64" in shown
    one = call.json("inspect", f"{filled.host}/app:all", "--platform", "linux/arm64")["data"]
    assert (one["digest"], one["images"]) == (str(Digest.of(arm)), [])


def test_an_artifact_is_shown_by_its_kind(filled: Filled, call: Calling) -> None:
    chart = b'{"name": "web"}'
    kind = "application/vnd.cncf.helm.config.v1+json"
    filled.client.put_blob("chart", chart)
    made = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(chart, kind), "layers": []}
    filled.put("chart", made, "1")
    assert f"type    {kind}" in call("inspect", f"{filled.host}/chart:1").ok().lines
    assert call.json("inspect", f"{filled.host}/chart:1")["data"]["artifact_type"] == kind
    filled.image("app", "1")
    assert call.json("inspect", f"{filled.host}/app:1")["data"]["artifact_type"] is None


def test_what_is_inspected_is_in_two_columns_without_trailing_blanks(filled: Filled, call: Calling) -> None:
    image = filled.image("app", "1", annotations={"note": "two\nlines", "a\x1b": "b"})
    lines = call("inspect", f"{filled.host}/app:1").ok().lines
    assert lines == [line.rstrip() for line in lines]
    assert f"digest      {Digest.of(image)}" in lines
    assert lines[lines.index("annotation  note=two") + 1] == "            lines"
    assert r"annotation  a\x1b=b" in lines


def test_a_damaged_image_is_shown_with_what_is_wrong(filled: Filled, call: Calling, serve: Serve) -> None:
    amd = filled.image("app")
    lost = filled.image("app", platform="linux/arm64", layers=(b"arm",))
    index = filled.index("app", "1", children={"linux/amd64": amd, "linux/arm64": lost})
    filled.client.delete_manifest("app", Digest.of(lost))
    config = Digest.parse(json.loads(amd)["config"]["digest"])
    blob = serve.started[0].data / "docker/registry/v2/blobs/sha256" / config.hex[:2] / config.hex / "data"
    blob.write_bytes(b"x" * blob.stat().st_size)
    data = call.json("inspect", f"{filled.host}/app:1")["data"]
    assert data["digest"] == str(Digest.of(index))
    assert "has the digest" in data["images"][0]["problem"]
    assert "has nothing for" in data["images"][1]["problem"]
    assert "problem" in call("inspect", f"{filled.host}/app:1").ok().out


@pytest.mark.parametrize("status", [403, 500])
def test_an_image_whose_referrers_are_not_told_is_shown_and_copied_alone(
    filled: Filled, call: Calling, status: int
) -> None:
    manifest = filled.image("app", "1")
    layer = json.loads(manifest)["layers"][0]["digest"]

    def silent(request: Request) -> Reply:
        if "/referrers/" in request.path:
            return reply(status)
        if request.path == "/v2/":
            return reply_json({})
        if "/manifests/" in request.path:
            return reply(200, manifest, Content_Type=OCI_MANIFEST)
        digest = Digest.parse(request.path.rpartition("/")[2])
        content = b"".join(filled.client.get_blob("app", digest))
        return reply(200, content)

    with Liar(silent) as liar:
        data = call.json("inspect", f"{liar.address}/app:1")["data"]
        assert data["layers"][0]["digest"] == layer
        assert data["problem"].startswith("what refers to it is not known: ")
        whole = ("copy", f"{liar.address}/app:1", f"{filled.host}/new:1")
        assert call.codes(*whole) == (1, ["referrers-unknown"])
        call(*whole, "--no-referrers").ok()


def test_a_blob_comes_out_whole_or_not_at_all(filled: Filled, call: Calling, tmp_path: Path) -> None:
    filled.image("app", "1")
    digest = Digest.of(LAYER)
    assert call("blob", f"{filled.host}/app", str(digest)).ok().raw == LAYER
    assert call("blob", f"{filled.host}/app@{digest}").ok().raw == LAYER
    target = tmp_path / "layer"
    data = call.json("blob", f"{filled.host}/app@{digest}", "-o", str(target))["data"]
    assert (data["size"], target.read_bytes()) == (len(LAYER), LAYER)
    assert str(target) in call("blob", f"{filled.host}/app", str(digest), "-o", str(target)).ok().out
    assert call.codes("blob", f"{filled.host}/app@{digest}") == (2, ["output-wanted"])
    assert call.codes("blob", f"{filled.host}/app") == (2, ["no-digest"])
    assert call.codes("blob", f"{filled.host}/app", "sha256:1") == (2, ["bad-reference"])
    nowhere = str(tmp_path / "none" / "layer")
    assert call.codes("blob", f"{filled.host}/app@{digest}", "-o", nowhere) == (1, ["cannot-write"])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (reply(200, b"y" * 10), "digest-mismatch"),
        ((reply(200, b"x" * 5, length=10),), "answer-cut"),
        (reply(403), "denied"),
        (reply(429, Retry_After="3600"), "too-many-requests"),
        ((b"nonsense\r\n\r\n",), "answer-cut"),
    ],
)
def test_a_lie_leaves_no_file(call: Calling, tmp_path: Path, wrong: Reply, code: str) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with Liar(lambda request: reply_json({}) if request.path == "/v2/" else wrong) as liar:
        for name in ("new", "old"):
            ref = f"{liar.address}/app@{Digest.of(b'x' * 10)}"
            assert call.codes("blob", ref, "-o", str(tmp_path / name)) == (1, [code])
    assert {one.name for one in tmp_path.iterdir() if one.is_file()} == {"old"}
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_blob_without_end_is_stopped_where_its_head_said_that_it_ends(
    call: Calling, tmp_path: Path
) -> None:
    """A whole disk would be full before its digest is found wrong."""

    def endless(request: Request) -> Reply:
        if request.path == "/v2/":
            return reply_json({})
        if request.method == "HEAD":
            return reply(200, length=10)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return itertools.chain([head], itertools.repeat(b"10000\r\n" + b"x" * 0x10000 + b"\r\n"))

    with Liar(endless) as liar:
        ref = f"{liar.address}/app@{Digest.of(b'x' * 10)}"
        assert call.codes("blob", ref, "-o", str(tmp_path / "new")) == (1, ["unexpected-answer"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_registry_without_a_catalog_says_so(call: Calling, status: int) -> None:
    with Liar(lambda request: reply_json({}) if request.path == "/v2/" else reply(status)) as liar:
        said = call("catalog", "--registry", liar.address)
    assert (said.code, said.raw) == (1, b"")
    assert f"{liar.address} does not list its repositories" in said.err
    assert f"regsetup tags {liar.address}/NAME" in said.err


def test_names_that_could_steer_a_terminal_are_escaped(call: Calling) -> None:
    def answer(request: Request) -> bytes:
        names = (
            {"repositories": ["ok", "evil\x1b[2J\x9b"]}
            if "_catalog" in request.path
            else {"tags": ["a\x1b[2J"]}
        )
        return reply_json(names)

    with Liar(answer) as liar:
        assert call("catalog", "--registry", liar.address).ok().lines == ["ok", r"evil\x1b[2J\x9b"]
        assert call("tags", f"{liar.address}/ok").ok().lines == [r"a\x1b[2J"]
        for command in (("catalog", "--tags"), ("verify",), ("rm", "--all", "--keep", "1", "-y")):
            assert call.codes(*command, "--registry", liar.address) == (1, ["unexpected-answer"])


def test_a_manifest_that_is_no_json_can_be_had_as_it_is(call: Calling) -> None:
    body = b"\xff\x1b no json"

    def answer(request: Request) -> bytes:
        return reply_json({}) if request.path == "/v2/" else reply(200, body, Content_Type="text/plain")

    with Liar(answer) as liar:
        assert call("manifest", f"{liar.address}/a", "--raw").ok().raw == body
        assert call("manifest", f"{liar.address}/a").ok().out == "\\xff\\x1b no json\n"
        assert call.codes("manifest", f"{liar.address}/a") == (1, ["bad-manifest"])


def test_a_registry_that_is_down_is_an_error(call: Calling) -> None:
    host = f"127.0.0.1:{free_port()}"
    for command in (["catalog", "--registry", host], ["tags", f"{host}/a"], ["exists", f"{host}/a"]):
        assert call.codes(*command) == (1, ["registry-unreachable"])


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["exists", "UPPER"], "bad-reference", "bad repository name 'UPPER'"),
        (["inspect", "a:-b"], "bad-reference", "bad tag '-b'"),
        (["manifest", "a@sha256:12"], "bad-reference", "'sha256:12'"),
        (["tags", "ho_st:5/a"], "bad-reference", "bad registry 'ho_st:5'"),
        (["tags", "a:1"], "repository-wanted", "'a:1' names an image"),
        (["catalog", "--registry", "ftp://a"], "bad-endpoint", "'ftp://a'"),
        (["catalog", "--registry", "a/b"], "bad-endpoint", "'a/b'"),
        (["tags", "a.b/c", "--registry", "d.e"], "two-registries", "a.b"),
        (["catalog", "--password-stdin"], "user-missing", "nobody's"),
        (["catalog", "--registry", "localhost:1", "-u", "a"], "password-missing", "for a"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_named(
    call: Calling, arguments: list[str], code: str, part: str
) -> None:
    said = call(*arguments)
    assert (said.code, said.raw) == (2, b"")
    assert part in said.err
    assert call.codes(*arguments) == (2, [code])


def test_without_any_registry_it_is_said_how_to_name_one(call: Calling) -> None:
    assert call.codes("catalog") == (1, ["no-registry-named"])
