"""One repository as the collector and the scrub see it: tags, manifests, what these need, what leads nowhere.

It is read once, while the registry may go on changing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.manifest import References, references
from regsetup.registry.errors import BlobUnknown, ManifestUnknown, NameUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regsetup.reference import Digest
    from regsetup.registry.store import Store


@dataclass(frozen=True, slots=True)
class Damage:
    """A link or manifest that leads nowhere."""

    repository: str
    what: str


class Survey:
    """The tags of one repository, and what each of its manifests needs, read once."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.damaged: list[Damage] = []
        self.manifests: dict[Digest, frozenset[Digest]] = {}
        self.references: dict[Digest, References] = {}
        self.attached: dict[Digest, set[Digest]] = {}
        # Tags first: what is tagged later is young.
        self.tagged = self._tags()
        for digest in list(store.manifests.each(name)):
            self._read(digest)
        for tag, digest in self.tagged.items():
            if digest not in self.manifests and self._leads(tag) == digest:
                self.damaged.append(
                    Damage(name, f"tag {tag} leads to {digest}, which is not there or damaged")
                )

    def live(self) -> set[Digest]:
        """Return the manifests that a tag leads to: from index to child, from subject to referrer."""
        return self.below(self.tagged.values())

    def below(self, roots: Iterable[Digest]) -> set[Digest]:
        """Return the manifests that ``roots`` lead to, themselves included."""
        found: set[Digest] = set()
        waiting = list(roots)
        while waiting:
            digest = waiting.pop()
            if digest in self.manifests and digest not in found:
                found.add(digest)
                waiting += self.after(digest)
        return found

    def after(self, digest: Digest) -> set[Digest]:
        """Return the manifests that stay as long as ``digest`` does."""
        children = self.manifests.keys() & self.manifests[digest]
        return (children | self.attached.get(digest, set())) - {digest}

    def needed(self, gone: set[Digest]) -> set[str]:
        """Return the digests, as hex, of all that the manifests need, but those that are ``gone``."""
        digests: set[Digest] = set()
        for digest, needs in self.manifests.items():
            if digest not in gone:
                digests |= {digest, *needs}
        if self.damaged:  # whatever is damaged may have needed it
            digests.update(self.tagged.values())
            digests.update(self.store.blobs.layers(self.name))
            digests.update(self.store.manifests.each(self.name))
        return {one.hex for digest in digests for one in (digest, self.target(digest))}

    def links(self) -> Iterator[tuple[Digest, Digest]]:
        """Yield each blob's digest here, and the digest under which it is stored."""
        for digest in self.store.blobs.layers(self.name):
            yield digest, self.target(digest)

    def links_to(self, digest: Digest) -> bool:
        """Tell whether a stored digest is a part of the repository, as a manifest or as a blob."""
        if digest in self.manifests:
            return True
        try:
            self.store.blobs.target(self.name, digest)
        except BlobUnknown:
            return False
        return True

    def target(self, digest: Digest) -> Digest:
        """Return what a blob is stored under: registry:2 keeps sha512 under sha256."""
        try:
            return self.store.blobs.target(self.name, digest)
        except BlobUnknown:
            return digest

    def _tags(self) -> dict[str, Digest]:
        tags = {}
        for tag in self._names():
            digest = self._leads(tag)
            if digest is not None:
                tags[tag] = digest
            elif tag in self._names():
                self.damaged.append(Damage(self.name, f"tag {tag} has no readable link"))
        return tags

    def _names(self) -> list[str]:
        try:
            return self.store.tags.names(self.name)
        except NameUnknown:
            return []

    def _leads(self, tag: str) -> Digest | None:
        try:
            return self.store.tags.get(self.name, tag)
        except ManifestUnknown:
            return None

    def _read(self, digest: Digest) -> None:
        try:
            stored = self.store.manifests.get(self.name, digest)
        except ManifestUnknown:
            if digest in self.store.manifests.each(self.name):
                self.damaged.append(
                    Damage(self.name, f"manifest {digest} is damaged, or its bytes are missing")
                )
            return
        found = self.references[digest] = references(stored.content)
        self.manifests[digest] = frozenset({stored.digest, *(need.digest for need in found.needs)})
        if found.subject is not None:
            self.attached.setdefault(found.subject, set()).add(digest)
