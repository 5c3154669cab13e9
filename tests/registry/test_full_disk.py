"""A disk that is full to its last byte, or takes no writes at all: nothing half is left, and pulls go on."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE
from regsetup.registry.disk.layout import Layout
from regsetup.registry.disk.store import open_store
from regsetup.registry.gc import collect
from tests.registry.harness import Client, Running, descriptor, image, local

if TYPE_CHECKING:
    from pathlib import Path

CONFIG, LAYER = b'{"architecture": "amd64", "os": "linux"}', b"layer"  # of Client.push_image
SUBJECT = image(CONFIG, (LAYER,))
ATTACHED = image(CONFIG, (LAYER,), subject=descriptor(SUBJECT, OCI_IMAGE), artifactType="a/b")


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    path = disk / "other"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            return path
    raise AssertionError("the disk is not full")


def attached(client: Client) -> list[str]:
    answer = client.get(f"/v2/app/referrers/{Digest.of(SUBJECT)}")
    assert answer.status == 200, answer.body
    return [one["digest"] for one in answer.json()["manifests"]]


def pulls(client: Client) -> None:
    assert client.get("/v2/app/manifests/latest").body == SUBJECT
    assert client.get(f"/v2/app/blobs/{Digest.of(LAYER)}").body == LAYER
    assert client.get("/v2/app/tags/list").json()["tags"] == ["latest"]


def test_a_manifest_whose_subject_can_not_be_indexed_is_refused(small_disk: Path) -> None:
    with Running.start(small_disk / "data", min_free=0) as running, running.client() as client:
        client.push_image("app")
        assert attached(client) == []
        other = fill(small_disk)
        answer = client.push_manifest("app", "signature", ATTACHED)
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert attached(client) == []
        pulls(client)
        assert client.get(f"/v2/app/manifests/{Digest.of(ATTACHED)}").status == 404
        assert not [path for path in small_disk.rglob("*.tmp") if path.is_file()]
        other.unlink()
        assert client.push_manifest("app", str(Digest.of(ATTACHED)), ATTACHED).status == 201
        assert attached(client) == [str(Digest.of(ATTACHED))]


def test_an_upload_whose_last_step_does_not_fit_is_refused_and_can_be_pushed_again(small_disk: Path) -> None:
    content = os.urandom(1 << 20)
    digest = Digest.of(content)
    with Running.start(small_disk / "data", min_free=0) as running, running.client() as client:
        client.push_image("app")
        location = local(client.ask("POST", "/v2/app/blobs/uploads/")["Location"])
        assert client.ask("PATCH", location, content).status == 202
        other = fill(small_disk)
        answer = client.ask("PUT", f"{location}?digest={digest}")
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert client.head(f"/v2/app/blobs/{digest}").status == 404
        assert client.get(location).status == 404
        pulls(client)
        assert not [path for path in small_disk.rglob("*.tmp") if path.is_file()]
        other.unlink()
        collect(open_store(running.root), grace=0)
        assert not os.path.exists(Layout(running.root).blob(digest))  # noqa: PTH110
        client.push_blob("app", content)
        assert client.get(f"/v2/app/blobs/{digest}").body == content


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
def test_referrers_are_found_where_their_index_can_not_be_written(
    small_disk: Path, tmp_path: Path, full: bool
) -> None:
    """The index is not there, as after a push to registry:2: it is made at the first question."""
    (small_disk / "data").mkdir()
    root = tmp_path / "data"  # its log stands beside it
    root.symlink_to(small_disk / "data")
    with Running.start(root, min_free=0) as running, running.client() as client:
        client.push_image("app")
        assert client.push_manifest("app", str(Digest.of(ATTACHED)), ATTACHED).status == 201
    shutil.rmtree(root / "docker/registry/v2/repositories/app/_referrers")
    if full:
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Running.start(root, min_free=0, read_only=not full) as running, running.client() as client:
        for _ in range(2):
            assert attached(client) == [str(Digest.of(ATTACHED))]
        pulls(client)
        assert client.get(f"/v2/app/referrers/{Digest.of(LAYER)}").json()["manifests"] == []
