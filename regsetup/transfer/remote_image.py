"""An image in a registry: all that belongs to it, and its blobs as streams."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from regsetup.client import AnswerCut, Begun, Passing, UnexpectedAnswer, Unreachable
from regsetup.contents import inspection
from regsetup.image.document import MAX_DOCUMENT, Part
from regsetup.image.tree import Tree, check_platform, grow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.client import RegistryClient
    from regsetup.image.platform import Platform
    from regsetup.reference import Digest

_CUTS = 20  # that one blob may suffer
_VAIN = 4  # of them one after another without a byte between
_PAUSE = 0.1  # seconds, doubled after each vain one


def survey(client: RegistryClient, repository: str, reference: str | Digest, wanted: Platform | None) -> Tree:
    """Fetch the manifests of an image, digests verified; of one platform only, where one is ``wanted``.

    Raises:
        NoSuchRepository, NoSuchImage: it is not there.
        RegistryError: it is not to be had.
        NoSuchPlatform, BadManifest, OldSchema: it can't be moved.
    """
    top = inspection.fetch(client, repository, reference)
    mark = "@" if str(reference) == str(top.digest) else ":"
    what = f"{client.endpoint.address}/{repository}{mark}{reference}"
    known = {top.digest: top.content}

    def fetch(part: Part) -> bytes:
        if part.digest not in known:
            known[part.digest] = client.get_manifest(repository, part.digest).content
        return known[part.digest]

    media_type = top.media_type.partition(";")[0].strip()
    tree = grow(Part(top.digest, len(top.content), media_type), fetch, what, wanted)
    return _without_absent(client, repository, tree)


def insist(client: RegistryClient, repository: str, tree: Tree, wanted: Platform) -> None:
    """Hold a single image to the platform: only its configuration says what it runs on.

    Raises:
        NoSuchPlatform: it is for another one.
    """
    if tree.root.document.blobs:
        config = tree.root.document.blobs[0]
        content = b"".join(client.get_blob(repository, config.digest, limit=min(config.size, MAX_DOCUMENT)))
        check_platform(content, wanted, f"{client.endpoint.address}/{repository}")


def _without_absent(client: RegistryClient, repository: str, tree: Tree) -> Tree:
    """Leave out layers that lie elsewhere by their own word, if the registry has not got them."""
    absent = {
        blob.digest for blob in tree.blobs if blob.elsewhere and not client.has_blob(repository, blob.digest)
    }
    return replace(tree, blobs=tuple(blob for blob in tree.blobs if blob.digest not in absent))


def pieces(client: RegistryClient, repository: str, part: Part, begun: Begun) -> Iterator[bytes]:
    """Yield what is missing of a blob; after a cut it goes on.

    Raises:
        DigestMismatch: after the last piece.
        RegistryError: it is not to be had.
    """
    vain = 0
    for _ in range(_CUTS):
        before = begun.length
        try:
            yield from client.get_blob(repository, part.digest, limit=part.size, begun=begun)
        except (AnswerCut, Unreachable):
            vain = vain + 1 if begun.length == before else 0
            if vain >= _VAIN or begun.length == 0:
                raise
            time.sleep(_PAUSE * 2**vain)
        else:
            if begun.length < part.size:
                what = f"GET a blob of {repository}"
                reason = f"{begun.length} bytes long, not {part.size}"
                raise UnexpectedAnswer(client.endpoint.address, what, reason)
            return
    raise AnswerCut(client.endpoint.address, f"{part.digest} was cut {_CUTS} times")


class RemoteBlob(io.RawIOBase):
    """A blob of a registry as a file. Its digest is for who reads it, or for ``verify``."""

    def __init__(self, client: RegistryClient, repository: str, part: Part) -> None:
        """Ask for nothing yet."""
        self._client = client
        self._repository = repository
        self._part = part
        self._at = 0
        self._rest = b""
        self._pieces: Iterator[bytes] | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to an offset from the beginning, or to the end."""
        self._end()
        self._at = self._part.size if whence == io.SEEK_END else offset
        return self._at

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read the next piece, no longer than ``size``; empty at the end.

        Raises:
            RegistryError: it is not to be had, or has another length.
        """
        if self._pieces is None:
            passing = Passing(self._part.digest, self._at)
            self._pieces = pieces(self._client, self._repository, self._part, passing)
        piece = self._rest or next(self._pieces, b"")
        piece, self._rest = (piece[:size], piece[size:]) if 0 <= size < len(piece) else (piece, b"")
        self._at += len(piece)
        return piece

    def verify(self) -> None:
        """Read it all and compare it with its digest.

        Raises:
            DigestMismatch: they differ.
        """
        self._end()
        for _ in pieces(self._client, self._repository, self._part, Begun(self._part.digest)):
            pass

    def close(self) -> None:
        """Give the connection back."""
        self._end()
        super().close()

    def _end(self) -> None:
        if self._pieces is not None:
            self._pieces.close()  # type: ignore[attr-defined]  # a generator
        self._pieces, self._rest = None, b""
