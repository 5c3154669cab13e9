"""What skopeo, podman, buildah and docker save is pushed; what pull writes is read by each of them.

Over both registries; images have random layers, so that nothing is there before.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from regsetup.client import Endpoint, RegistryClient
from regsetup.image import layout
from regsetup.reference import Digest
from regsetup.transfer.watch import Fate
from tests.bed.clients import run
from tests.bed.images import image_archive, tar_of
from tests.bed.moving import Shelf, pushed
from tests.bed.run import need, unique

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from tests.bed.cli import Regsetup
    from tests.bed.clients import Podman, Skopeo
    from tests.contract.both import Serve


KEEPS_ITS_DIGEST = {
    "skopeo oci-archive": "oci-archive",
    "skopeo oci": "oci",
    "podman oci-archive": "oci-archive",
    "buildah oci": "oci",
    "skopeo dir": "dir",
}


@pytest.fixture
def address(serve: Serve) -> str:
    return serve().url.removeprefix("http://")


@contextmanager
def storage() -> Iterator[tuple[str, ...]]:
    """Flags for podman and buildah; a longer runroot is refused."""
    place = tempfile.mkdtemp(prefix="rtp", dir="/tmp")
    try:
        yield "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One image with two layers, saved by each tool in each of its formats."""
    place = tmp_path_factory.mktemp("saved")
    layers = [tar_of({f"file-{n}": secrets.token_hex(500).encode() * 5}) for n in range(2)]
    source = place / "source.tar"
    source.write_bytes(image_archive("saved.example/app:1", layers))
    found = {
        "hand-made docker-archive": source,
        "skopeo docker-archive": place / "skopeo.tar",
        "skopeo oci-archive": place / "skopeo-oci.tar",
        "skopeo oci": place / "skopeo-oci",
        "podman docker-archive": place / "podman.tar",
        "podman oci-archive": place / "podman-oci.tar",
        "podman docker-archive, gzip": place / "podman.tar.gz",
        "podman docker-archive, zstd": place / "podman.tar.zst",
        "skopeo dir": place / "skopeo-dir",
        "buildah docker-archive": place / "buildah.tar",
        "buildah oci": place / "buildah-oci",
    }
    skopeo = (need("skopeo"), "--insecure-policy", "copy", "-q", f"docker-archive:{source}")
    run([*skopeo, f"docker-archive:{found['skopeo docker-archive']}:saved.example/app:1"]).ok()
    run([*skopeo, f"oci-archive:{found['skopeo oci-archive']}:1"]).ok()
    run([*skopeo, f"oci:{found['skopeo oci']}:1"]).ok()
    run([*skopeo[:-1], f"oci:{found['skopeo oci']}:1", f"dir:{found['skopeo dir']}"]).ok()
    with storage() as flags:
        podman, buildah = (need("podman"), *flags), (need("buildah"), *flags)
        run([*podman, "load", "-q", "-i", str(source)]).ok()
        save = (*podman, "save", "-q", "--format")
        run([*save, "docker-archive", "-o", str(found["podman docker-archive"]), "saved.example/app:1"]).ok()
        run([*save, "oci-archive", "-o", str(found["podman oci-archive"]), "saved.example/app:1"]).ok()
        plain = found["podman docker-archive"].read_bytes()
        found["podman docker-archive, gzip"].write_bytes(gzip.compress(plain))
        found["podman docker-archive, zstd"].write_bytes(zstandard.compress(plain))
        push = (*buildah, "push", "-q", "saved.example/app:1")
        run([*push, f"docker-archive:{found['buildah docker-archive']}:saved.example/app:1"]).ok()
        run([*push, f"oci:{found['buildah oci']}:1"]).ok()
        run([*podman, "rmi", "-af"]).ok()
    return found


def diff_ids(address: str, repository: str, reference: str | Digest) -> list[str]:
    """Return what the layers are that a registry has, computed from them."""
    with RegistryClient(Endpoint(f"http://{address}")) as client:
        manifest = json.loads(client.get_manifest(repository, reference).content)
        found = []
        for layer in manifest["layers"]:
            content = b"".join(client.get_blob(repository, Digest.parse(layer["digest"])))
            assert ("gzip" in layer["mediaType"]) is (content[:2] == b"\x1f\x8b")
            found.append(str(Digest.of(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)))
        config = b"".join(client.get_blob(repository, Digest.parse(manifest["config"]["digest"])))
        assert json.loads(config)["rootfs"]["diff_ids"] == found
        return found


@pytest.mark.slow
def test_what_every_tool_saves_is_pushed(address: str, made: dict[str, Path], skopeo: Skopeo) -> None:
    wanted = None
    for number, (name, path) in enumerate(made.items()):
        repository = f"saved/app{number}"
        with RegistryClient(Endpoint(f"http://{address}")) as client:
            digest, watch = pushed(client, repository, path, tag="1")
        assert watch.fates[Fate.MOVED] == 3, name
        found = diff_ids(address, repository, "1")
        wanted = wanted or found
        assert found == wanted, name
        if (kind := KEEPS_ITS_DIGEST.get(name)) is not None:
            assert json.loads(skopeo("inspect", f"{kind}:{path}").ok().out)["Digest"] == str(digest), name
    skopeo("copy", "--src-tls-verify=false", f"docker://{address}/saved/app0:1", f"dir:{skopeo.home}/d").ok()


def test_an_archive_of_several_images_wants_a_name(
    regsetup: Regsetup, address: str, made: dict[str, Path], tmp_path: Path
) -> None:
    with storage() as flags:
        podman = (need("podman"), *flags)
        for tag in ("a", "b"):
            source = tmp_path / f"{tag}.tar"
            source.write_bytes(image_archive(f"saved.example/{tag}:1", [tar_of({tag: tag.encode()})]))
            run([*podman, "load", "-q", "-i", str(source)]).ok()
        saved = str(tmp_path / "both.tar")
        run([*podman, "save", "-q", "-m", "-o", saved, "saved.example/a:1", "saved.example/b:1"]).ok()
        run([*podman, "rmi", "-af"]).ok()
    refused = regsetup.json("push", saved, f"{address}/saved/several:1")
    assert refused["errors"][0]["code"] == "no-such-image"
    assert "saved.example/a:1, saved.example/b:1" in refused["errors"][0]["cause"]
    assert regsetup("push", saved, f"{address}/saved/several:1").code == 2
    for image in ("b:1", "saved.example/b:1", "saved.example/a"):
        assert regsetup.json("push", saved, f"{address}/saved/several:1", "--image", image)["ok"], image
    assert not regsetup.json("push", saved, f"{address}/saved/several:1", "--image", "c:1")["ok"]


def test_layers_stay_plain_where_that_is_asked_for(
    regsetup: Regsetup, address: str, made: dict[str, Path]
) -> None:
    path = str(made["skopeo docker-archive"])
    regsetup("push", path, f"{address}/saved/plain:1", "--no-compress").ok()
    with RegistryClient(Endpoint(f"http://{address}")) as client:
        layers = json.loads(client.get_manifest("saved/plain", "1").content)["layers"]
    assert [one["digest"] for one in layers] == diff_ids(address, "saved/plain", "1")


def test_an_archive_can_come_through_a_pipe(regsetup: Regsetup, address: str, made: dict[str, Path]) -> None:
    for name in ("hand-made docker-archive", "podman docker-archive, gzip"):
        with made[name].open("rb") as source:
            piped = subprocess.run(
                ["/bin/sh", "-c", f"cat | regsetup push - {address}/saved/piped:1"],
                stdin=source,
                capture_output=True,
                env=piped_environment(regsetup),
                timeout=60,
                check=False,
            )
        assert piped.returncode == 0, piped.stderr
        assert diff_ids(address, "saved/piped", "1")


def piped_environment(regsetup: Regsetup) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return dict(os.environ) | regsetup.environment() | {"PATH": path}


def test_an_image_in_docker_s_types_is_found_by_skopeo_in_a_layout_without_its_tag(
    regsetup: Regsetup, address: str, tmp_path: Path, skopeo: Skopeo
) -> None:
    """And as docker-archive: skopeo before 1.10 looks in layouts for tags of images in OCI's types alone."""
    shelf = Shelf.docker(tmp_path / "made")
    ref = f"{address}/docker:1"
    regsetup("push", str(shelf.path), ref).ok()
    regsetup("pull", ref, str(tmp_path / "layout")).ok()
    regsetup("pull", ref, str(tmp_path / "file.tar")).ok()
    found = json.loads(skopeo("inspect", f"oci:{tmp_path}/layout").ok().out)
    assert found["Digest"] == str(shelf.root)
    skopeo("copy", f"docker-archive:{tmp_path}/file.tar", f"dir:{tmp_path}/dir").ok()


@pytest.mark.slow
def test_what_is_pulled_is_read_by_skopeo_podman_and_buildah(
    regsetup: Regsetup, address: str, tmp_path: Path, skopeo: Skopeo, podman: Podman
) -> None:
    shelf = Shelf.multi(tmp_path / "made")
    ref = f"{address}/team/app:1"
    regsetup("push", str(shelf.path), ref).ok()
    pull = ("pull", ref, "--platform", "linux/amd64")
    manifest = regsetup.json(*pull, str(tmp_path / "layout"))["data"]["digest"]
    assert (
        regsetup.json(*pull, str(tmp_path / "oci.tar"), "--format", "oci-archive")["data"]["digest"]
        == manifest
    )
    assert regsetup.json(*pull, str(tmp_path / "docker.tar"))["data"]["format"] == "docker-archive"
    regsetup("pull", ref, str(tmp_path / "all")).ok()

    for source in (
        f"oci:{tmp_path}/layout:1",
        f"oci-archive:{tmp_path}/oci.tar:1",
        f"oci-archive:{tmp_path}/docker.tar",
    ):
        assert json.loads(skopeo("inspect", source).ok().out)["Digest"] == manifest, source
        skopeo("copy", source, f"dir:{tmp_path}/dir").ok()
    skopeo("copy", f"docker-archive:{tmp_path}/docker.tar:{ref}", f"dir:{tmp_path}/dir").ok()
    copied = skopeo("copy", "--all", f"oci:{tmp_path}/all:1", f"oci:{tmp_path}/again:1").ok()
    assert json.loads((tmp_path / "again/index.json").read_text())["manifests"][0]["digest"] == str(
        shelf.root
    ), copied

    assert ref in podman("load", "-i", str(tmp_path / "docker.tar")).ok().out
    assert json.loads(podman("inspect", ref).ok().out)[0]["Config"]["Cmd"] == ["/x"]
    podman("rmi", "-af").ok()
    podman("load", "-q", "-i", str(tmp_path / "oci.tar")).ok()
    podman("rmi", "-af").ok()
    with storage() as flags:
        for source in (f"docker-archive:{tmp_path}/docker.tar", f"oci:{tmp_path}/layout:1"):
            run([need("buildah"), *flags, "pull", "-q", source]).ok()
        run([need("buildah"), *flags, "rmi", "-af"]).ok()


@pytest.mark.engine
def test_docker_loads_what_is_pulled_and_what_it_saves_is_pushed(
    regsetup: Regsetup, address: str, engine: docker.DockerClient, tmp_path: Path
) -> None:
    name = f"{address}/{unique()}:1"
    plain = tar_of({"hello.txt": secrets.token_hex(2000).encode()})
    shelf = Shelf.single(tmp_path / "made", [gzip.compress(plain), plain])
    regsetup("push", str(shelf.path), name).ok()
    regsetup("pull", name, str(tmp_path / "app.tar")).ok()
    docker_command = need("docker")
    try:
        assert name in run([docker_command, "load", "-i", str(tmp_path / "app.tar")]).ok().out
        image = engine.images.get(name)
        assert image.attrs["RootFS"]["Layers"] == [str(Digest.of(plain))] * 2
        run([docker_command, "save", "-o", str(tmp_path / "saved.tar"), name]).ok()
    finally:
        engine.images.remove(name, force=True)
    with tarfile.open(tmp_path / "saved.tar") as saved:
        assert any(one.issym() for one in saved), "docker 20.10 saves a layer that it has twice as a link"
    done: dict[str, Any] = regsetup.json("push", str(tmp_path / "saved.tar"), f"{address}/saved/docker:1")
    assert done["ok"], done
    assert diff_ids(address, "saved/docker", "1") == [str(Digest.of(plain))] * 2


def test_what_docker_25_saves_is_compressed_and_may_keep_its_digest(
    regsetup: Regsetup, address: str, tmp_path: Path
) -> None:
    """An OCI layout of plain layers with a manifest.json beside it, in one archive."""
    plain = [tar_of({f"f{n}": secrets.token_hex(2000).encode()}) for n in range(2)]
    shelf = Shelf(tmp_path / "made")
    entries = [shelf.blob(one, "application/vnd.oci.image.layer.v1.tar") for one in plain]
    shelf.finish(shelf.image(entries, "linux/amd64"))
    regsetup("push", str(shelf.path), f"{address}/source:1").ok()
    regsetup("pull", f"{address}/source:1", str(tmp_path / "pulled.tar")).ok()
    back = regsetup.json("push", str(tmp_path / "pulled.tar"), f"{address}/back:1")["data"]
    assert back["digest"] == str(shelf.root), "what was pulled goes back as it was"
    as_docker_saves_it(tmp_path / "pulled.tar", tmp_path / "saved.tar")
    packed = regsetup.json("push", str(tmp_path / "saved.tar"), f"{address}/like/docker:1")["data"]
    assert packed["digest"] != str(shelf.root)
    assert diff_ids(address, "like/docker", "1") == [str(Digest.of(one)) for one in plain]
    kept = regsetup.json("push", str(tmp_path / "saved.tar"), f"{address}/kept:1", "--no-compress")["data"]
    assert kept["digest"] == str(shelf.root)


def as_docker_saves_it(pulled: Path, saved: Path) -> None:
    """Take away what says that the manifest came from a registry: docker makes its own."""
    with tarfile.open(pulled) as source, tarfile.open(saved, "w") as target:
        for one in source:
            file = source.extractfile(one)
            assert file
            content = file.read()
            if one.name == layout.INDEX:
                index = json.loads(content)
                del index["manifests"][0]["annotations"][layout.ORIGINAL]
                content = json.dumps(index).encode()
            one.size = len(content)
            target.addfile(one, io.BytesIO(content))


def test_layers_in_zstd_go_out_and_back(
    regsetup: Regsetup, address: str, made: dict[str, Path], tmp_path: Path, skopeo: Skopeo
) -> None:
    """In the archive that docker load reads, too, with or without the layout beside it."""
    source = f"docker-archive:{made['hand-made docker-archive']}"
    skopeo("copy", "--dest-compress-format", "zstd", source, f"oci:{tmp_path}/zstd:1").ok()
    digest = regsetup.json("push", str(tmp_path / "zstd"), f"{address}/zstd:1")["data"]["digest"]
    warned = regsetup.json("pull", f"{address}/zstd:1", str(tmp_path / "app.tar"))["data"]["warnings"]
    assert [one["code"] for one in warned] == ["new-engines-only"]
    assert not regsetup.json("pull", f"{address}/zstd:1", str(tmp_path / "app"))["data"]["warnings"]
    back = regsetup.json("push", str(tmp_path / "app.tar"), f"{address}/back:1")
    assert back["data"]["digest"] == digest
    with tarfile.open(tmp_path / "app.tar") as whole, tarfile.open(tmp_path / "bare.tar", "w") as bare:
        for one in whole:
            if one.name not in {layout.INDEX, layout.MARK}:
                bare.addfile(one, whole.extractfile(one))
    regsetup("push", str(tmp_path / "bare.tar"), f"{address}/bare:1").ok()
    with RegistryClient(Endpoint(f"http://{address}")) as client:
        kinds = [one["mediaType"] for one in json.loads(client.get_manifest("bare", "1").content)["layers"]]
    assert kinds == ["application/vnd.oci.image.layer.v1.tar+zstd"] * 2


def test_a_directory_by_podman_is_pushed_byte_for_byte(
    regsetup: Regsetup, address: str, made: dict[str, Path], tmp_path: Path, skopeo: Skopeo
) -> None:
    """podman 4.3 says of its plain layers there that they are in gzip: they are kept as they are."""
    with storage() as flags:
        podman = (need("podman"), *flags)
        run([*podman, "load", "-q", "-i", str(made["hand-made docker-archive"])]).ok()
        target = ("-o", str(tmp_path / "dir"), "saved.example/app:1")
        run([*podman, "save", "-q", "--format", "docker-dir", *target]).ok()
        run([*podman, "rmi", "-af"]).ok()
    done = regsetup.json("push", str(tmp_path / "dir"), f"{address}/dir:1")
    assert done["data"]["digest"] == str(Digest.of((tmp_path / "dir/manifest.json").read_bytes()))
    skopeo("copy", "--src-tls-verify=false", f"docker://{address}/dir:1", f"dir:{tmp_path}/back").ok()


def test_all_platforms_of_a_directory_by_skopeo_are_pushed(
    regsetup: Regsetup, address: str, tmp_path: Path, skopeo: Skopeo
) -> None:
    shelf = Shelf.multi(tmp_path / "made")
    skopeo("copy", "--all", f"oci:{shelf.path}:1", f"dir:{tmp_path}/dir").ok()
    whole = regsetup.json("push", str(tmp_path / "dir"), f"{address}/all:1")
    assert whole["data"]["digest"] == str(shelf.root)
    one = regsetup.json("push", str(tmp_path / "dir"), f"{address}/arm:1", "--platform", "linux/arm64")
    with RegistryClient(Endpoint(f"http://{address}")) as client:
        children = json.loads(client.get_manifest("all", "1").content)["manifests"]
    assert one["data"]["digest"] == children[1]["digest"]
    named = regsetup.json("push", str(tmp_path / "dir"), f"{address}/all:1", "--image", "app")
    assert named["errors"][0]["code"] == "no-such-image"
