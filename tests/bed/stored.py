"""Images written straight into a data directory, in the order in which a registry writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regsetup.reference import Digest
from regsetup.registry.disk.layout import Layout
from tests.registry.harness import image

if TYPE_CHECKING:
    from pathlib import Path


def write(path: str, content: bytes) -> None:
    """Write a file and the directories above it."""
    from pathlib import Path

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def store_blob(root: Path, repository: str, content: bytes, algorithm: str = "sha256") -> Digest:
    """Store a blob and its link."""
    digest, places = Digest.of(content, algorithm), Layout(root)
    write(places.blob(digest), content)
    write(places.layer_link(repository, digest), str(digest).encode())
    return digest


def store_image(root: Path, repository: str, tag: str, *layers: bytes) -> Digest:
    """Store an image; return its manifest's digest."""
    config = json.dumps({"os": "linux", "tag": tag}).encode()
    for content in (config, *layers):
        store_blob(root, repository, content)
    manifest = image(config, layers)
    digest, places = Digest.of(manifest), Layout(root)
    write(places.blob(digest), manifest)
    write(places.revision_link(repository, digest), str(digest).encode())
    write(places.tag_index_link(repository, tag, digest), str(digest).encode())
    write(places.tag_link(repository, tag), str(digest).encode())
    return digest


def tree(root: Path) -> dict[str, bytes]:
    """Return every file below ``docker``, by its path."""
    found = (path for path in root.glob("docker/**/*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}
