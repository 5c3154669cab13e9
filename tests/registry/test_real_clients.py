"""The first promise: docker, podman and skopeo push and pull. Real programs against a real socket."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from regsetup.reference import Digest
from tests.registry.harness import descriptor, image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registry.harness import Running


def run(*command: str, good: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) is good, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout if good else done.stderr


def tar_of(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI image layout with one small image, tagged ``image``."""
    layer = tar_of("hello.txt", uuid4().hex.encode())
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        }
    ).encode()
    manifest = image(config, (layer,))
    directory = tmp_path / "layout"
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in (layer, config, manifest):
        (blobs / Digest.of(content).hex).write_bytes(content)
    media_type = json.loads(manifest)["mediaType"]
    entry = descriptor(manifest, media_type, annotations={"org.opencontainers.image.ref.name": "image"})
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@needs("skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_copies_in_and_out(registry: Running, layout: Path, tmp_path: Path, form: str) -> None:
    target = f"docker://127.0.0.1:{registry.port}/skopeo/{form}:1"
    flags = ("--dest-tls-verify=false", "--format", form)
    run("skopeo", "copy", *flags, f"oci:{layout}:image", target)
    shown = json.loads(run("skopeo", "inspect", "--tls-verify=false", target))
    run(
        "skopeo",
        "copy",
        "--src-tls-verify=false",
        f"{target.removesuffix(':1')}@{shown['Digest']}",
        f"dir:{tmp_path}/out",
    )
    assert Digest.of((tmp_path / "out" / "manifest.json").read_bytes()) == Digest.parse(shown["Digest"])


@needs("skopeo")
def test_skopeo_tries_tls_first_and_is_answered_at_once(registry: Running, layout: Path) -> None:
    """Without an answer to its ClientHello it would wait ten seconds."""
    target = f"docker://127.0.0.1:{registry.port}/skopeo/quick:1"
    done = subprocess.run(
        ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:image", target],
        capture_output=True,
        timeout=8,
        check=True,
    )
    assert b"Writing manifest" in done.stdout


@pytest.fixture
def store_flags() -> Iterator[tuple[str, ...]]:
    """Storage of its own for podman and buildah; podman takes a runroot of at most 50 characters."""
    with tempfile.TemporaryDirectory(prefix="regsetup-") as directory:
        yield "--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--storage-driver", "vfs"


@needs("podman")
def test_podman_pushes_and_pulls(registry: Running, layout: Path, store_flags: tuple[str, ...]) -> None:
    podman = ("podman", *store_flags)
    name = f"127.0.0.1:{registry.port}/podman/app:1"
    try:
        pulled = run(*podman, "pull", "-q", f"oci:{layout}:image").split()[-1]
        run(*podman, "push", "--tls-verify=false", pulled, name)
        run(*podman, "rmi", "-f", pulled)
        run(*podman, "pull", "--tls-verify=false", name)
        assert "/hello" in run(*podman, "image", "inspect", name)
        run(*podman, "pull", "--tls-verify=false", f"127.0.0.1:{registry.port}/podman/app:2", good=False)
    finally:
        run(*podman, "rmi", "-af")


@needs("buildah")
def test_buildah_pushes_what_it_built(registry: Running, layout: Path, store_flags: tuple[str, ...]) -> None:
    buildah = ("buildah", *store_flags)
    name = f"127.0.0.1:{registry.port}/buildah/app:1"
    try:
        container = run(*buildah, "from", f"oci:{layout}:image").split()[-1]
        run(*buildah, "config", "--label", "built=yes", container)
        built = run(*buildah, "commit", "-q", container).split()[-1]
        run(*buildah, "push", "--tls-verify=false", built, name)
        run(*buildah, "rm", "-a")
    finally:
        run(*buildah, "rmi", "-af")
    labels = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))["Labels"]
    assert labels["built"] == "yes"


@pytest.mark.engine
@pytest.mark.usefixtures("engine")
class TestDocker:
    @pytest.fixture
    def name(self, registry: Running) -> Iterator[str]:
        name = f"127.0.0.1:{registry.port}/regsetup-bundled/{uuid4().hex}:1"
        yield name
        run("docker", "rmi", "-f", name)

    def test_docker_pushes_and_pulls(self, name: str, tmp_path: Path) -> None:
        archive = tmp_path / "image.tar"
        archive.write_bytes(tar_of("hello.txt", uuid4().hex.encode()))
        made = run("docker", "import", str(archive), name).split()[-1]
        run("docker", "push", name)
        run("docker", "rmi", name)
        run("docker", "pull", name)
        assert made in run("docker", "image", "inspect", name)

    def test_docker_says_that_a_tag_is_unknown(self, registry: Running) -> None:
        missing = f"127.0.0.1:{registry.port}/regsetup-bundled/nothing:1"
        assert "manifest unknown" in run("docker", "pull", missing, good=False)


_ORAS = """
import sys
import oras.client
name, source, target = sys.argv[1:]
client = oras.client.OrasClient(insecure=True, tls_verify=False)
client.push(target=name, files=[source], disable_path_validation=True)
print(*client.pull(target=name, outdir=target))
"""


def test_python_s_oras_pushes_and_pulls_a_file(registry: Running, tmp_path: Path) -> None:
    pytest.importorskip("oras", reason="oras is not installed")
    (tmp_path / "report.txt").write_text("found nothing")
    name = f"127.0.0.1:{registry.port}/oras/report:1"
    out = run(sys.executable, "-c", _ORAS, name, str(tmp_path / "report.txt"), str(tmp_path / "out")).split()
    assert Path(out[-1]).read_text() == "found nothing"


CONTAINERD = Path("/var/run/docker/containerd/containerd.sock")


@pytest.mark.engine
@pytest.mark.skipif(not CONTAINERD.is_socket(), reason="no containerd of a Docker engine")
def test_containerd_pushes_and_pulls(registry: Running, layout: Path, tmp_path: Path) -> None:
    """By its own client, in a namespace of its own: containerd wants the digest header on every 201."""
    space = f"regsetup-{uuid4().hex}"
    ctr = ("ctr", "-a", str(CONTAINERD), "-n", space)
    name = f"127.0.0.1:{registry.port}/containerd/app:1"
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as target:
        for path in sorted(layout.rglob("*")):
            target.add(path, str(path.relative_to(layout)), recursive=False)
    try:
        run(*ctr, "namespaces", "create", space)
        run(*ctr, "images", "import", "--no-unpack", "--base-name", "imported", str(archive))
        imported = run(*ctr, "images", "ls", "-q").split()[0]
        run(*ctr, "images", "push", "--plain-http", name, imported)
        run(*ctr, "images", "rm", imported)
        run(*ctr, "content", "fetch", "--plain-http", name)
        assert name in run(*ctr, "images", "ls", "-q")
    finally:
        for image_name in run(*ctr, "images", "ls", "-q").split():
            run(*ctr, "images", "rm", "--sync", image_name)
        for digest in run(*ctr, "content", "ls", "-q").split():
            run(*ctr, "content", "rm", digest)
        run(*ctr, "namespaces", "rm", space)
