"""All that belongs to an image: its manifests and blobs, found from the top; and the part for one platform.

Pure but for the function that fetches a manifest.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.image.document import INDEXES, MAX_DOCUMENT, BadManifest, Part, json_object, parse
from regsetup.image.platform import Platform, choose, fitness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regsetup.image.document import Document
    from regsetup.reference import Digest

_DEPTH = 8  # indexes in indexes; nobody builds more than two
_DOCUMENTS = 10_000  # of one image


class NoSuchPlatform(RegsetupError):
    """The image is not there for the platform."""

    code = "no-such-platform"

    def __init__(self, what: str, wanted: Platform, there: list[str]) -> None:
        super().__init__(
            f"{what} is not there for {wanted}",
            cause=f"it is there for {', '.join(there)}" if there else "it says no platform",
            fix=f"--platform {shlex.quote(there[0])}" if there else "leave --platform out",
        )
        self.there = there


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest or index: its descriptor, exact bytes, and what they say."""

    part: Part
    content: bytes
    document: Document


@dataclass(frozen=True, slots=True)
class Tree:
    """An image.

    Attributes:
        documents: manifests and indexes, each after all that it needs: the root is the last.
        blobs: configurations and layers, each once.
    """

    documents: tuple[Stored, ...]
    blobs: tuple[Part, ...]

    @property
    def root(self) -> Stored:
        """The top: what a tag leads to."""
        return self.documents[-1]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that an index names, without attestations."""
        named = (child.platform for one in self.documents for child in one.document.children)
        return tuple(dict.fromkeys(one for one in named if one and one.known))


def grow(root: Part, fetch: Callable[[Part], bytes], what: str, wanted: Platform | None = None) -> Tree:
    """Find all that ``root`` needs, or what it needs for one platform.

    Args:
        root: the top; its media type may be empty.
        fetch: gives the verified bytes of a manifest.
        what: the image's name in messages.
        wanted: None takes all; else an index gives way to the manifest in it that fits.

    Raises:
        BadManifest: something in it is no manifest or index, or there are too many.
        OldSchema: something in it is of schema 1.
        NoSuchPlatform: it is not there for ``wanted``.
    """
    if wanted is not None:
        root = _chosen(root, fetch, what, wanted)
    documents: dict[Digest, Stored] = {}
    _walk(root, fetch, what, documents, 0)
    blobs = {blob.digest: blob for one in documents.values() for blob in one.document.blobs}
    return Tree(tuple(documents.values()), tuple(blobs.values()))


def _walk(
    at: Part, fetch: Callable[[Part], bytes], what: str, found: dict[Digest, Stored], depth: int
) -> None:
    """Put into ``found`` what is below, then ``at``; each once, however often it is named."""
    if at.digest in found:
        return
    if depth > _DEPTH or len(found) >= _DOCUMENTS:
        raise BadManifest(what, f"indexes lie more than {_DEPTH} deep, or there are {_DOCUMENTS} manifests")
    one = _stored(at, fetch, what)
    for child in one.document.children:
        _walk(child, fetch, what, found, depth + 1)
    found[at.digest] = one


def _stored(at: Part, fetch: Callable[[Part], bytes], what: str) -> Stored:
    if at.size > MAX_DOCUMENT:
        raise BadManifest(what, f"{at.digest} is said to be a manifest of {at.size} bytes")
    content = fetch(at)
    if at.size != len(content):
        raise BadManifest(what, f"{at.digest} has {len(content)} bytes, not {at.size}")
    return Stored(at, content, parse(content, at.media_type, what))


def _chosen(root: Part, fetch: Callable[[Part], bytes], what: str, wanted: Platform, above: int = 0) -> Part:
    """Return the manifest for the platform; ``root`` itself if it is one."""
    there: list[str] = []
    for depth in range(above, _DEPTH):
        one = _stored(root, fetch, what)
        if one.document.media_type not in INDEXES:
            return root
        children = one.document.children
        there = [str(child.platform) for child in children if child.platform and child.platform.known]
        number = choose(wanted, [child.platform for child in children])
        if number is None and len(children) == 1 and children[0].platform is None:
            number = 0  # a layout's or builder's index around one image, which says nothing
        if number is None:
            return _chosen_below(children, fetch, what, wanted, there, depth + 1)
        root = children[number]
    raise BadManifest(what, f"indexes lie in indexes, more than {_DEPTH} deep")


def _chosen_below(
    children: Sequence[Part],
    fetch: Callable[[Part], bytes],
    what: str,
    wanted: Platform,
    there: list[str],
    above: int,
) -> Part:
    """Look for the platform in indexes that an index holds without saying what they are for."""
    for child in children:
        if child.media_type in INDEXES and child.platform is None:
            try:
                return _chosen(child, fetch, what, wanted, above)
            except NoSuchPlatform as error:
                there += error.there
    raise NoSuchPlatform(what, wanted, there)


def check_platform(config: bytes, wanted: Platform, what: str) -> None:
    """Compare what a single image says of itself with what is wanted; an artifact says nothing.

    Raises:
        NoSuchPlatform: it is for another platform.
    """
    offered = Platform.read(json_object(config, f"the configuration of {what}"))
    if offered is not None and fitness(wanted, offered) is None:
        raise NoSuchPlatform(what, wanted, [str(offered)])
