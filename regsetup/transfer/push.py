"""Into a registry, out of files or out of another registry.

OCI distribution-spec 1.1, "Pushing Manifests": blobs first, each asked for (HEAD), mounted from another
repository or uploaded; then manifests, those of an index before it; the tag last. The registry compares what
it got with the digest, so what is sent is not hashed here as well.
"""

from __future__ import annotations

import functools
import io
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from regsetup.client import RegistryError, UnexpectedAnswer
from regsetup.errors import RegsetupError
from regsetup.image.document import OCI_MANIFEST, Part, parse
from regsetup.image.layout import blob_name, open_part, verify
from regsetup.image.packing import packed
from regsetup.image.tree import Stored, Tree
from regsetup.reference import Digest
from regsetup.transfer.jobs import together
from regsetup.transfer.referrers import announce
from regsetup.transfer.remote_image import RemoteBlob
from regsetup.transfer.watch import Fate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regsetup.client import RegistryClient
    from regsetup.image.docker_archive import ArchiveImage, ArchiveLayer
    from regsetup.image.files import Files, Slice
    from regsetup.transfer.watch import Watch

    Content = Slice | IO[bytes] | RemoteBlob


class StrongerDigest(RegistryError):
    """The registry keeps manifests by sha256 alone, as registry:2 does, and this one goes by another."""

    code = "digest-not-supported"

    def __init__(self, address: str, digest: Digest, said: str | None) -> None:
        super().__init__(
            f"{address} does not keep a manifest under {digest}",
            cause=said,
            fix="push it to a registry that knows sha512, such as regsetup up --backend embedded",
        )


class Goal:
    """A repository that is pushed to, and repositories there that blobs may be mounted from."""

    def __init__(self, client: RegistryClient, repository: str, mount_from: Sequence[str] = ()) -> None:
        self.client = client
        self.repository = repository
        self.mount_from = tuple(one for one in mount_from if one != repository)

    def offer(self, blob: Part) -> Fate | None:
        """Return what became of the blob if the repository has it, or could take it over.

        What sha512 names is not asked for elsewhere: registry:2 says that it mounted it, and writes a
        link that leads nowhere.
        """
        if self.client.has_blob(self.repository, blob.digest):
            return Fate.THERE
        if blob.digest.algorithm == "sha256" and any(
            self.client.mount_blob(self.repository, blob.digest, one) for one in self.mount_from
        ):
            return Fate.MOUNTED
        return None

    def take(self, blob: Part, content: Content, watch: Watch) -> None:
        """Offer a blob, and send it if it is wanted."""
        fate = self.offer(blob)
        if fate is None:
            counted = Counted(content, functools.partial(watch.moved, blob.digest))
            try:
                self.client.put_blob(self.repository, cast("BinaryIO", counted), blob.digest)
            except SourceFailed as failed:
                raise failed.error from None
            watch.ended(blob.digest, Fate.MOVED, blob.size)
        else:
            watch.moved(blob.digest, blob.size)
            watch.ended(blob.digest, fate)

    def put(self, documents: Sequence[Stored], reference: str | Digest | None) -> bool:
        """Store manifests by digest, the last one also under ``reference``; tell whether that changed."""
        *below, root = documents
        if root.part.digest.algorithm != "sha256":  # under a tag alone a registry names it by sha256
            below.append(root)
        for one in below:
            self._put(one, one.part.digest)
        target = root.part.digest if reference is None else reference
        before = self.client.head_manifest(self.repository, target)
        self._put(root, target)
        return before is None or before.digest != root.part.digest

    def _put(self, one: Stored, reference: str | Digest) -> None:
        media_type = one.document.media_type
        try:
            self.client.put_manifest(self.repository, reference, one.content, media_type)
        except UnexpectedAnswer as error:
            if isinstance(reference, Digest) and reference.algorithm != "sha256":
                raise StrongerDigest(self.client.endpoint.address, reference, error.cause) from error
            raise
        if one.document.subject:
            announce(self.client, self.repository, one, one.document.subject)


class SourceFailed(Exception):
    """What is sent can't be read, which is not the registry's fault that takes it."""

    def __init__(self, error: RegsetupError) -> None:
        super().__init__(error)
        self.error = error


class Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, content: Content, told: Callable[[int], None]) -> None:
        self._content = content
        self._told = told
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read, and tell.

        Raises:
            SourceFailed: it can't be read.
        """
        try:
            piece = self._content.read(size)
        except RegsetupError as error:
            raise SourceFailed(error) from error
        self._at += len(piece)
        self._told(len(piece))
        return piece

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; what is sent again does not count twice. Who goes to the end asks for the length."""
        at = self._content.seek(offset, whence)
        if whence != io.SEEK_END:
            self._told(at - self._at)
            self._at = at
        return at

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._content.tell()


def push_layout(files: Files, tree: Tree, goal: Goal, reference: str | Digest | None, watch: Watch) -> bool:
    """Push an image of a layout; tell whether the tag leads elsewhere than before.

    Raises:
        DamagedImage: a blob is missing, or not what its digest says.
        RegistryError: the registry does not take it.
    """
    blobs = [
        blob for blob in tree.blobs if not blob.elsewhere or files.size(blob_name(blob.digest)) is not None
    ]
    watch.total(sum(blob.size for blob in blobs), len(blobs))
    blobs.sort(key=lambda blob: -blob.size)  # the largest should not be the last
    together([functools.partial(_push_blob, files, blob, goal, watch) for blob in blobs], watch.stop)
    return goal.put(tree.documents, reference)


def _push_blob(files: Files, blob: Part, goal: Goal, watch: Watch) -> None:
    """Send a blob; once more, if the file is right and the registry did not get it so."""
    watch.began(blob.digest, blob.size)
    with open_part(files, blob) as content:
        try:
            goal.take(blob, content, watch)
        except UnexpectedAnswer:
            verify(files, blob)  # whose fault was it?
            goal.take(blob, content, watch)


def push_archive(
    files: Files,
    image: ArchiveImage,
    goal: Goal,
    reference: str | Digest | None,
    watch: Watch,
    *,
    compress: bool,
) -> tuple[Digest, bool]:
    """Push an image of a docker-archive; return its digest, and whether the tag leads elsewhere than before.

    Raises:
        DamagedImage: a layer is not that of the configuration.
        RegistryError: the registry does not take it.
    """
    layers = {layer.diff_id: layer for layer in image.layers}
    watch.total(sum(layer.size for layer in layers.values()) + len(image.config), len(layers) + 1)
    send = functools.partial(_push_layer, files, goal=goal, watch=watch, compress=compress)
    jobs = [functools.partial(send, layer) for layer in layers.values()]
    parts = dict(zip(layers, together(jobs, watch.stop), strict=True))
    config = image.config_part
    watch.began(config.digest, config.size)
    goal.take(config, io.BytesIO(image.config), watch)
    content = image.manifest([parts[layer.diff_id] for layer in image.layers])
    part = Part(Digest.of(content), len(content), OCI_MANIFEST)
    made = Stored(part, content, parse(content, OCI_MANIFEST, files.label))
    return part.digest, goal.put((made,), reference)


def _push_layer(files: Files, layer: ArchiveLayer, goal: Goal, watch: Watch, *, compress: bool) -> Part:
    """Compress and send; what counts as moved is what was read of the archive."""
    watch.began(layer.diff_id, layer.size)
    with packed(files, layer, functools.partial(watch.moved, layer.diff_id), compress=compress) as made:
        fate = goal.offer(made.part)
        if fate is None:
            watch.check()
            goal.client.put_blob(goal.repository, cast("BinaryIO", made.content), made.part.digest)
        watch.ended(layer.diff_id, fate or Fate.MOVED, 0 if fate else made.part.size)
        return made.part


def copy_blobs(
    client: RegistryClient, repository: str, blobs: Sequence[Part], goal: Goal, watch: Watch
) -> None:
    """Stream blobs from one registry into another, which compares them with their digests.

    Raises:
        RegistryError: one does not give, or not what it should; or the other does not take.
    """
    watch.total(sum(blob.size for blob in blobs), len(blobs))

    def copy(blob: Part) -> None:
        watch.began(blob.digest, blob.size)
        with RemoteBlob(client, repository, blob) as content:
            try:
                goal.take(blob, content, watch)
            except UnexpectedAnswer:
                content.verify()  # whose fault was it?
                goal.take(blob, content, watch)

    ordered = sorted(blobs, key=lambda blob: -blob.size)
    together([functools.partial(copy, blob) for blob in ordered], watch.stop)
