"""Images to move, as OCI layouts, and pull, push and copy as the commands do them."""

from __future__ import annotations

import gzip
import json
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regsetup.image import layout
from regsetup.image.archive_writer import ArchiveWriter
from regsetup.image.document import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
)
from regsetup.image.layout_writer import Label, LayoutWriter
from regsetup.reference import Digest, Reference
from regsetup.transfer import copy as copying
from regsetup.transfer.pull import pull
from regsetup.transfer.push import Goal
from regsetup.transfer.remote_image import survey
from regsetup.transfer.source import choose, opened
from regsetup.transfer.watch import Silence, Watch
from tests.bed.images import tar_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from regsetup.client import RegistryClient
    from regsetup.image.platform import Platform
    from regsetup.image.tree import Tree

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass
class Shelf:
    """An OCI layout in the making; ``root`` is the digest of the image named ``1``."""

    path: Path
    blobs: set[Digest] = field(default_factory=set)
    root: Digest = field(default_factory=lambda: Digest.of(b""))

    @classmethod
    def multi(cls, path: Path) -> Shelf:
        """An index of two platforms that share a layer, and an attestation."""
        shelf = cls(path)
        shared = shelf.layer({"shared.txt": secrets.token_bytes(100)})
        entries = [
            shelf.image([shared, shelf.layer({"own.txt": secrets.token_bytes(100)})], platform)
            for platform in ("linux/amd64", "linux/arm64")
        ]
        entries.append(shelf.image([shelf.layer({"att": secrets.token_bytes(10)})], "unknown/unknown"))
        return shelf.finish(shelf.document({"schemaVersion": 2, "manifests": entries}, OCI_INDEX))

    @classmethod
    def single(cls, path: Path, layers: Sequence[bytes] = (), name: str = "1") -> Shelf:
        """One image for linux/amd64 of these layers, compressed or not."""
        shelf = cls(path)
        entries = [shelf.blob(one, LAYER) for one in layers] or [shelf.layer({"a": secrets.token_bytes(99)})]
        return shelf.finish(shelf.image(entries, "linux/amd64"), name)

    @classmethod
    def foreign(cls, path: Path) -> Shelf:
        """An image with a layer that lies elsewhere, and is nowhere here."""
        shelf = cls(path)
        away = {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": str(Digest.of(b"elsewhere")),
            "size": 9,
            "urls": ["https://example.invalid/layer"],
        }
        return shelf.finish(shelf.image([shelf.layer({"a": secrets.token_bytes(9)}), away], "linux/amd64"))

    @classmethod
    def docker(cls, path: Path) -> Shelf:
        """One image in Docker's own types, which registry:2 makes a schema 1 manifest of."""
        shelf = cls(path)
        layer = gzip.compress(tar_of({"a": b"a"}), mtime=0)
        entry = shelf.blob(layer, DOCKER_LAYER_GZIP)
        config = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [shelf._diff_id(entry)]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}],
        }
        described = shelf.blob(json.dumps(config).encode(), DOCKER_CONFIG)
        document = {"schemaVersion": 2, "config": described, "layers": [entry]}
        return shelf.finish(shelf.document(document, DOCKER_MANIFEST))

    def layer(self, files: dict[str, bytes]) -> dict[str, Any]:
        """Add a compressed layer."""
        return self.blob(gzip.compress(tar_of(files), mtime=0), LAYER)

    def blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob and return its descriptor."""
        digest = Digest.of(content)
        self.blobs.add(digest)
        return self._add(content, media_type)

    def image(self, layers: list[dict[str, Any]], platform: str) -> dict[str, Any]:
        """Add a manifest and return its descriptor."""
        os, architecture = platform.split("/")
        config = json.dumps(
            {
                "os": os,
                "architecture": architecture,
                "config": {"Cmd": ["/x"]},
                "rootfs": {"type": "layers", "diff_ids": [self._diff_id(one) for one in layers]},
            }
        ).encode()
        document = {"schemaVersion": 2, "config": self.blob(config, OCI_CONFIG), "layers": layers}
        entry = self.document(document, OCI_MANIFEST)
        return entry | {"platform": {"os": os, "architecture": architecture}}

    def document(self, value: dict[str, Any], media_type: str) -> dict[str, Any]:
        """Add a manifest or index and return its descriptor."""
        return self._add(json.dumps(value | {"mediaType": media_type}).encode(), media_type)

    def finish(self, root: dict[str, Any], name: str = "1") -> Shelf:
        """Name the image."""
        self.root = Digest.parse(root["digest"])
        named = {**root, "annotations": {layout.REF_NAME: name}}
        named.pop("platform", None)
        index = self.path / layout.INDEX
        others = json.loads(index.read_text())["manifests"] if index.exists() else []
        index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*others, named]}))
        (self.path / layout.MARK).write_text('{"imageLayoutVersion": "1.0.0"}')
        return self

    def file(self, digest: Digest) -> Path:
        """Return where a blob lies."""
        return self.path / layout.blob_name(digest)

    def sign(self, client: RegistryClient, repository: str, subject: Digest) -> Digest:
        """Attach something to a manifest in a registry, as ``oras attach`` does; return its digest."""
        found = client.head_manifest(repository, subject)
        assert found is not None
        empty = client.put_blob(repository, b"{}")
        described = {"mediaType": EMPTY, "digest": str(empty), "size": 2}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/x-signature",
            "config": described,
            "layers": [described],
            "subject": {"mediaType": found.media_type, "digest": str(subject), "size": found.size},
        }
        content = json.dumps(document).encode()
        digest = client.put_manifest(repository, Digest.of(content), content, OCI_MANIFEST)
        self._list(client, repository, subject, document, content)
        return digest

    def _list(
        self,
        client: RegistryClient,
        repository: str,
        subject: Digest,
        document: dict[str, Any],
        content: bytes,
    ) -> None:
        """Name it in the referrers tag, as clients do where the registry has no referrers API."""
        if Digest.of(content) in {one.digest for one in client.referrers(repository, subject)}:
            return
        entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(content)), "size": len(content)}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        client.put_manifest(repository, f"sha256-{subject.hex}", json.dumps(index).encode(), OCI_INDEX)

    def _add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = Digest.of(content)
        self.file(digest).parent.mkdir(parents=True, exist_ok=True)
        self.file(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}

    def _diff_id(self, entry: dict[str, Any]) -> str:
        if "urls" in entry:
            return str(entry["digest"])
        content = self.file(Digest.parse(entry["digest"])).read_bytes()
        return str(Digest.of(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content))


def pushed(
    client: RegistryClient,
    repository: str,
    source: Path,
    *,
    tag: str | None = None,
    image: str | None = None,
    platform: Platform | None = None,
    compress: bool = True,
    mount_from: Sequence[str] = (),
) -> tuple[Digest, Watch]:
    """Push from a layout or archive; return the digest and what moved."""
    watch = Watch(Silence())
    with opened(source) as files:
        found = choose(files, image, platform, compress=compress)
        reference = Reference(None, repository, tag)
        goal = Goal(client, repository, mount_from)
        digest, _ = found.push(goal, reference, watch, compress=compress)
    return digest, watch


def fetched(
    client: RegistryClient,
    repository: str,
    what: str,
    target: Path,
    *,
    platform: Platform | None = None,
    docker: bool = True,
    watch: Watch | None = None,
) -> tuple[Tree, Watch]:
    """Pull a tag or digest into a layout, or into an archive for ``*.tar``."""
    watch = watch or Watch(Silence())
    digest = Digest.parse(what) if ":" in what else None
    label = None if digest else Label(f"reg.example/{repository}:{what}", what)
    tree = survey(client, repository, digest or what, platform)
    with ExitStack() as stack:
        writer: ArchiveWriter | LayoutWriter
        if target.suffix == ".tar":
            writer = stack.enter_context(ArchiveWriter.opened(target, label, tree, docker=docker))
        else:
            writer = stack.enter_context(LayoutWriter.opened(target, label))
        pull(client, repository, tree, writer, watch)
    return tree, watch


def copied(
    source: RegistryClient,
    repository: str,
    what: str,
    target: RegistryClient,
    to: str,
    *,
    tag: str | None,
    platform: Platform | None = None,
    referrers: bool = True,
) -> Watch:
    """Copy between registries; return what moved."""
    watch = Watch(Silence())
    cargo = copying.gather(source, repository, what, platform, referrers=referrers)
    goal = Goal(target, to, (repository,) if source is target else ())
    copying.copy(source, repository, cargo, goal, None, tag, watch)
    return watch
