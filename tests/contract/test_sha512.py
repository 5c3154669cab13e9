"""Images whose digests are sha512 (image-spec 1.1, "Registered Algorithms"), in and out and looked at."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.image import layout
from regsetup.image.document import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from regsetup.reference import Digest
from tests.bed.images import tar_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.both import Serve
    from tests.contract.calling import Calling


@dataclass(frozen=True, slots=True)
class Strong:
    """An OCI layout that names layers and configurations by sha512, and manifests by ``manifests``."""

    path: Path
    manifests: str

    def add(self, content: bytes, media_type: str, algorithm: str = "sha512") -> dict[str, Any]:
        digest = Digest.of(content, algorithm)
        file = self.path / layout.blob_name(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}

    def image(self, architecture: str) -> dict[str, Any]:
        plain = tar_of({"a.bin": os.urandom(200_000)})
        rootfs = {"type": "layers", "diff_ids": [str(Digest.of(plain, "sha512"))]}
        config = {"os": "linux", "architecture": architecture, "rootfs": rootfs}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self.add(gzip.compress(plain, mtime=0), OCI_LAYER_GZIP)],
        }
        entry = self.add(json.dumps(document).encode(), OCI_MANIFEST, self.manifests)
        return entry | {"platform": {"os": "linux", "architecture": architecture}}

    def finish(self, *architectures: str) -> Digest:
        entries = [self.image(one) for one in architectures]
        root = entries[0]
        if len(entries) > 1:
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            root = self.add(json.dumps(index).encode(), OCI_INDEX, self.manifests)
        named = {**root, "annotations": {layout.REF_NAME: "1"}}
        (self.path / layout.INDEX).write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        (self.path / layout.MARK).write_text('{"imageLayoutVersion": "1.0.0"}')
        return Digest.parse(root["digest"])


def blobs(place: Path, algorithm: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.glob(f"blobs/{algorithm}/[0-9a-f]*")}


def test_layers_in_sha512_go_in_and_out_and_to_another_registry(
    serve: Serve, call: Calling, tmp_path: Path
) -> None:
    root = Strong(tmp_path / "made", "sha256").finish("amd64")
    one, other = (serve().url.removeprefix("http://") for _ in range(2))
    call("push", str(tmp_path / "made"), f"{one}/app:1").ok()
    again = call.json("push", str(tmp_path / "made"), f"{one}/app:1")
    assert (again["changed"], again["data"]["blobs"]["there"]) == (False, 2)
    for target in ("out", "out.tar"):
        call("pull", f"{one}/app:1", str(tmp_path / target)).ok()
    (tmp_path / "untarred").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "out.tar", "-C", tmp_path / "untarred"], check=True)
    for target in ("out", "untarred"):
        assert blobs(tmp_path / target, "sha512") == blobs(tmp_path / "made", "sha512")
    assert call.json("copy", f"{one}/app:1", f"{other}/app:1")["data"]["digest"] == str(root)
    for host in (one, other):
        inspected = call.json("inspect", f"{host}/app:1")["data"]
        assert inspected["digest"] == str(root)
        layer = next(iter(json.loads(blobs(tmp_path / "made", "sha256")[root.hex])["layers"]))
        assert layer["digest"] in call("inspect", f"{host}/app:1").ok().out
        assert (
            Digest.of(call("blob", f"{host}/app", layer["digest"]).ok().raw, "sha512").hex in layer["digest"]
        )
        call("exists", "--blob", f"{host}/app@{layer['digest']}").ok()
        call("verify", "--registry", host).ok()


def test_within_a_registry_what_sha512_names_is_there_under_that_name(
    serve: Serve, call: Calling, tmp_path: Path
) -> None:
    """registry:2 mounts nothing of it, though it says so, and refuses the manifest then."""
    address = serve().url.removeprefix("http://")
    Strong(tmp_path / "made", "sha256").finish("amd64")
    call("push", str(tmp_path / "made"), f"{address}/app:1").ok()
    call("copy", f"{address}/app:1", f"{address}/other:1").ok()
    call("pull", f"{address}/other:1", str(tmp_path / "back")).ok()
    assert blobs(tmp_path / "back", "sha512") == blobs(tmp_path / "made", "sha512")


def test_a_layer_that_is_not_what_its_sha512_says_is_not_pushed(
    serve: Serve, call: Calling, tmp_path: Path
) -> None:
    root = Strong(tmp_path / "made", "sha256").finish("amd64")
    document = json.loads(blobs(tmp_path / "made", "sha256")[root.hex])
    path = tmp_path / "made" / layout.blob_name(Digest.parse(document["layers"][0]["digest"]))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    host = serve().url.removeprefix("http://")
    assert call.codes("push", str(tmp_path / "made"), f"{host}/app:1") == (1, ["damaged-image"])
    assert call.codes("exists", f"{host}/app:1") == (3, ["not-there"])


def test_manifests_in_sha512_are_kept_under_their_names_or_refused(
    serve: Serve, call: Calling, tmp_path: Path
) -> None:
    root = Strong(tmp_path / "made", "sha512").finish("amd64", "arm64")
    one, other = (serve().url.removeprefix("http://") for _ in range(2))
    if serve.kind == "registry2":
        said = call.codes("push", str(tmp_path / "made"), f"{one}/app:1")
        assert said == (1, ["digest-not-supported"])
        assert call.codes("exists", f"{one}/app:1") == (3, ["not-there"])
        return
    call("push", str(tmp_path / "made"), f"{one}/app:1").ok()
    assert (
        call("manifest", "--raw", f"{one}/app@{root}").ok().raw
        == blobs(tmp_path / "made", "sha512")[root.hex]
    )
    call("pull", f"{one}/app@{root}", str(tmp_path / "out")).ok()
    assert blobs(tmp_path / "out", "sha512") == blobs(tmp_path / "made", "sha512")
    call("copy", f"{one}/app@{root}", f"{other}/app:1").ok()
    for host in (one, other):
        platforms = call.json("inspect", f"{host}/app:1")["data"]
        assert "arm64" in json.dumps(platforms)
        call("verify", "--registry", host).ok()
