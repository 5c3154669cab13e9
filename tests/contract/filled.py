"""A registry with images of a test's making."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.client import NotFound
from regsetup.image.document import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from regsetup.reference import Digest

if TYPE_CHECKING:
    from regsetup.client import RegistryClient

LAYER = os.urandom(200_000)
SIGNATURE = "application/x-signature"
CREATED = "2026-01-02T03:04:05Z"


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **more}


@dataclass
class Filled:
    """A registry with images; ``host`` is its address."""

    client: RegistryClient
    host: str

    def image(
        self,
        repository: str,
        *tags: str,
        platform: str = "linux/amd64",
        layers: tuple[bytes, ...] = (LAYER,),
        created: str | None = CREATED,
        **more: Any,
    ) -> bytes:
        """Push an image under tags, or by its digest alone; return its manifest."""
        system, _, architecture = platform.partition("/")
        settings = {
            "Env": ["A=1", "B=2"],
            "Cmd": ["serve", "-v"],
            "Labels": {"team": "\x1b[31mred"},
            "User": "app",
        }
        config = json.dumps(
            {"os": system, "architecture": architecture, "created": created, "config": settings}
        ).encode()
        for blob in (config, *layers):
            self.client.put_blob(repository, blob)
        made = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(one, "application/vnd.oci.image.layer.v1.tar") for one in layers],
            **more,
        }
        return self.put(repository, made, *tags)

    def index(
        self, repository: str, *tags: str, children: dict[str, bytes], media_type: str = OCI_MANIFEST
    ) -> bytes:
        """Push an index of manifests by platform under tags."""
        entries = []
        for name, content in children.items():
            system, _, architecture = name.partition("/")
            entries.append(
                descriptor(content, media_type, platform={"os": system, "architecture": architecture})
            )
        return self.put(repository, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, *tags)

    def attached(self, repository: str, subject: bytes, media_type: str = OCI_MANIFEST) -> bytes:
        """Attach an artifact to a manifest; for registry:2 clients keep the list, under a tag."""
        empty = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": str(self.client.put_blob(repository, b"{}")),
            "size": 2,
        }
        digest = Digest.of(subject)
        made = self.put(
            repository,
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": SIGNATURE,
                "config": empty,
                "layers": [descriptor(b"{}", "application/vnd.oci.empty.v1+json")],
                "subject": descriptor(subject, media_type),
            },
        )
        if not self.client.referrers(repository, digest):
            entry = descriptor(made, OCI_MANIFEST, artifactType=SIGNATURE)
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
            self.put(repository, index, f"sha256-{digest.hex}")
        return made

    def tags(self, repository: str) -> list[str]:
        """Return the tags, none where the repository is gone."""
        try:
            return sorted(self.client.tags(repository))
        except NotFound:
            return []

    def has(self, repository: str, *manifests: bytes) -> list[bool]:
        """Tell which of these manifests are there."""
        return [self.client.head_manifest(repository, Digest.of(one)) is not None for one in manifests]

    def put(self, repository: str, manifest: dict[str, Any], *tags: str) -> bytes:
        content = json.dumps(manifest).encode()
        for tag in tags or (Digest.of(content),):
            self.client.put_manifest(repository, tag, content, manifest["mediaType"])
        return content
