"""Directories of ``skopeo copy ... dir:`` and ``podman save --format docker-dir``, read as if OCI layouts.

containers/image, "dir:": ``version``, ``manifest.json``, further manifests as ``HEX.manifest.json``, and
blobs as ``HEX``, without their algorithm.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from regsetup.image.document import MAX_DOCUMENT, Part
from regsetup.image.files import read_small
from regsetup.reference import Digest

if TYPE_CHECKING:
    from regsetup.image.files import Files, Slice

_MARK = "version"
_MANIFEST = "manifest.json"
_VERSION = re.compile(rb"Directory Transport Version: 1\.")
_MARK_LENGTH = 1000  # bytes; it is one line


class SkopeoDirectory:
    """Files of such a directory under the names that an OCI layout has for them."""

    def __init__(self, files: Files) -> None:
        """Read the top manifest.

        Raises:
            NoImage: there is none.
        """
        self._files = files
        content = read_small(files, _MANIFEST, MAX_DOCUMENT)
        self.root = Part(Digest.of(content), len(content), _media_type(content))

    @property
    def label(self) -> str:
        """See ``Files``."""
        return self._files.label

    def size(self, name: str) -> int | None:
        """See ``Files``."""
        return self._files.size(self._place(name))

    def open(self, name: str) -> Slice:
        """See ``Files``."""
        return self._files.open(self._place(name))

    def close(self) -> None:
        """See ``Files``."""
        self._files.close()

    def _place(self, name: str) -> str:
        """Return where ``blobs/ALGORITHM/HEX`` stands."""
        encoded = name.rpartition("/")[2]
        if encoded == self.root.digest.hex:
            return _MANIFEST
        manifest = f"{encoded}.manifest.json"
        return encoded if self._files.size(manifest) is None else manifest


def is_directory(files: Files) -> bool:
    """Tell whether skopeo made it."""
    size = files.size(_MARK)
    if size is None or size > _MARK_LENGTH or files.size(_MANIFEST) is None:
        return False
    return _VERSION.match(read_small(files, _MARK, _MARK_LENGTH)) is not None


def _media_type(content: bytes) -> str:
    """Return what the manifest says that it is, which may be nothing."""
    try:
        said = json.loads(content).get("mediaType")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""
