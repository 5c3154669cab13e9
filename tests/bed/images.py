"""Images made in memory, and the registry image made of Debian's own binary; nothing is pulled."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import secrets
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors

from tests.bed.run import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from docker.models.images import Image

REGISTRY_IMAGE = "regsetup-test/registry:2"
SCRATCH_IMAGE = "regsetup-test/registry-scratch:2"
_SOURCE_LABEL = (
    "regsetup-test.source"  # digest of what the image was made of: made again only when that changes
)

# The official image's own: registry:2's /etc/docker/registry/config.yml and /entrypoint.sh.
_CONFIG = b"""\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
_ENTRYPOINT = b"""\
#!/bin/sh
set -e
case "$1" in
    *.yaml|*.yml) set -- registry serve "$@" ;;
    serve|garbage-collect|help|-*) set -- registry "$@" ;;
esac
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a root file system; ``link`` makes it a symbolic link instead."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None


def tar_of(files: Mapping[str, File | bytes]) -> bytes:
    """Return a tar of ``files``, the same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, value in files.items():
            file = value if isinstance(value, File) else File(value)
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.mode, entry.size = file.mode, len(file.content)
            if file.link is not None:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            tar.addfile(entry, io.BytesIO(file.content))
    return raw.getvalue()


def image_archive(reference: str, layers: Sequence[bytes], *, command: Sequence[str] = ()) -> bytes:
    """Return what ``docker save`` would: an archive that docker, podman and skopeo (docker-archive:) read.

    ``layers`` are uncompressed tars, lowest first.
    """
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "regsetup tests"} for _ in layers],
        }
    ).encode()
    names = [f"{digest.removeprefix('sha256:')}/layer.tar" for digest in diff_ids]
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": names}]).encode()
    return tar_of({config_name: config, **dict(zip(names, layers, strict=True)), "manifest.json": manifest})


def tiny_archive(reference: str) -> bytes:
    """Return an image of about a kilobyte that no other image equals."""
    return image_archive(reference, [tar_of({"hello.txt": secrets.token_hex(16).encode()})])


def busybox_archive(reference: str, *, noise: int = 3 << 20) -> bytes:
    """Return an image that runs: a static busybox, and a layer of ``noise`` bytes that don't compress."""
    busybox = Path(need("busybox")).read_bytes()
    base = tar_of(
        {"bin/": File(mode=0o755), "bin/busybox": File(busybox, 0o755), "bin/sh": File(link="busybox")}
    )
    return image_archive(
        reference,
        [base, tar_of({"noise.bin": secrets.token_bytes(noise)})],
        command=["/bin/busybox", "echo", "hello from busybox"],
    )


def load(client: docker.DockerClient, archive: bytes) -> Image:
    """Load an archive that has one image; the caller removes it."""
    (image,) = client.images.load(archive)
    return image


def _registry_root(*, shell: bool) -> dict[str, File | bytes]:
    binary = need("docker-registry")
    root: dict[str, File | bytes] = {
        "bin/": File(mode=0o755),
        "bin/registry": File(Path(binary).read_bytes(), 0o755),
        "etc/docker/registry/config.yml": _CONFIG,
        "tmp/": File(mode=0o1777),
        "var/lib/registry/": File(mode=0o755),
    }
    for word in subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout.split():
        if word.startswith("/"):
            root[word] = File(Path(word).read_bytes(), 0o755)
    if shell:
        busybox = need("busybox")
        applets = subprocess.run(
            [busybox, "--list"], check=True, capture_output=True, text=True
        ).stdout.split()
        root["bin/busybox"] = File(Path(busybox).read_bytes(), 0o755)
        root |= {f"bin/{applet}": File(link="busybox") for applet in applets if applet != "busybox"}
        root["entrypoint.sh"] = File(_ENTRYPOINT, 0o755)
    return root


def _registry_settings(*, shell: bool) -> list[str]:
    start = (
        ['ENTRYPOINT ["/entrypoint.sh"]', 'CMD ["/etc/docker/registry/config.yml"]']
        if shell
        else ['ENTRYPOINT ["/bin/registry"]', 'CMD ["serve", "/etc/docker/registry/config.yml"]']
    )
    return [*start, 'VOLUME ["/var/lib/registry"]', "EXPOSE 5000", "ENV PATH=/bin"]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with Path(tempfile.gettempdir(), "regsetup-test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_registry_image(client: docker.DockerClient, tag: str, *, shell: bool) -> str:
    """Make the registry image on this engine if it is not there; return ``tag``.

    With ``shell`` it is like the official registry:2 (entrypoint script, busybox tools), else it has
    nothing but the registry. It stays on the engine, as a cache for the next run.
    """
    root, settings = tar_of(_registry_root(shell=shell)), _registry_settings(shell=shell)
    source = hashlib.sha256(root + json.dumps(settings).encode()).hexdigest()
    with _one_at_a_time():
        try:
            if client.images.get(tag).labels.get(_SOURCE_LABEL) == source:
                return tag
        except docker.errors.ImageNotFound:
            pass
        repository, _, version = tag.rpartition(":")
        answer = client.api.import_image_from_data(
            root, repository=repository, tag=version, changes=[*settings, f"LABEL {_SOURCE_LABEL}={source}"]
        )
        if '"error"' in answer:
            raise RuntimeError(f"the engine did not import {tag}: {answer}")
    return tag
