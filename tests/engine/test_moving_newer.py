"""Archives to and from a newer docker, with either of its image stores."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.bed.clients import run
from tests.bed.moving import Shelf
from tests.bed.newer import NEWER, start_newer_engine
from tests.bed.roots import ensure_root_image
from tests.bed.run import need
from tests.contract.both import Serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

    from tests.bed.cli import Regsetup
    from tests.bed.clients import Skopeo

pytestmark = pytest.mark.engine


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a registry."""
    serve = Serve("bundled", tmp_path, [])
    yield serve().url.removeprefix("http://")
    serve.started[0].stop()


@pytest.mark.hosts
@pytest.mark.slow
@pytest.mark.parametrize("containerd", [False, True], ids=["graph-driver", "containerd-image-store"])
def test_a_newer_docker_loads_what_is_pulled_and_what_it_saves_is_pushed(
    engine: docker.DockerClient,
    address: str,
    regsetup: Regsetup,
    skopeo: Skopeo,
    tmp_path: Path,
    unique_name: str,
    containerd: bool,
) -> None:
    """docker 25 and later save an OCI layout with a manifest.json; the new store keeps layers compressed."""
    for name in ("gzip", "zstd"):
        shelf = Shelf.single(tmp_path / name, name="1")
        packed = f"oci:{tmp_path}/{name}-packed:1"
        skopeo("copy", "--dest-compress-format", name, f"oci:{shelf.path}:1", packed).ok()
        regsetup("push", f"{tmp_path}/{name}-packed", f"{address}/{name}:1").ok()
        regsetup("pull", f"{address}/{name}:1", f"{tmp_path}/{name}.tar").ok()
    settings = {"features": {"containerd-snapshotter": containerd}}
    newer = start_newer_engine(engine, ensure_root_image(engine, NEWER), unique_name, settings)
    command = [need("docker"), "-H", newer.url]
    try:
        for name in ("gzip", "zstd"):
            loaded = run([*command, "load", "-i", f"{tmp_path}/{name}.tar"]).ok().out
            assert f"{address}/{name}:1" in loaded
        saved = str(tmp_path / "saved.tar")
        run([*command, "save", "-o", saved, f"{address}/gzip:1", f"{address}/zstd:1"]).ok()
    finally:
        newer.remove()
    with tarfile.open(saved) as archive:
        assert {"index.json", "manifest.json"} <= set(archive.getnames())
    for name in ("gzip", "zstd"):
        pushed = regsetup.json("push", saved, f"{address}/saved/{name}:1", "--image", f"{name}:1")
        assert pushed["ok"], pushed
        there, back = (layers(regsetup, f"{address}/{place}{name}:1") for place in ("", "saved/"))
        assert there["config"] == back["config"]
        assert name in there["layers"][0]["media_type"]
        if containerd:
            assert there == back, "it keeps what it loaded"
        else:
            assert all("gzip" in one["media_type"] for one in back["layers"])


def layers(regsetup: Regsetup, ref: str) -> dict[str, Any]:
    """Return what an image consists of."""
    data = regsetup.json("inspect", ref)["data"]
    return {key: data[key] for key in ("config", "layers")}
