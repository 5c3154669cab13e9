"""Names of things in a registry: repository, tag, digest, and the reference that joins them.

Grammar: OCI distribution-spec 1.1 "Pull" (``<name>``, ``<reference>``), OCI image-spec 1.1 "Digests", and
distribution's ``reference`` package for the domain in front. Nothing here touches a network or a disk.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from regsetup.errors import UsageError

MAX_REPOSITORY = 255  # characters; distribution's reference.RepositoryNameTotalLengthMax
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
)


class BadReference(UsageError):
    """A repository, tag, digest or reference that the grammar does not allow; the message names the part."""

    code = "bad-reference"


def is_repository(text: str) -> bool:
    """Tell whether ``text`` is a repository name, such as ``team/app``."""
    return len(text) <= MAX_REPOSITORY and _REPOSITORY.fullmatch(text) is not None


def is_registry(text: str) -> bool:
    """Tell whether ``text`` is ``host[:port]``, an IPv6 address in brackets."""
    return _DOMAIN.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is a tag, such as ``1.0``."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content address, ``sha256:<64 hex>`` or ``sha512:<128 hex>``."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:hex``.

        Raises:
            BadReference: unknown algorithm, or the wrong number or kind of characters.
        """
        algorithm, colon, encoded = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if not colon or length is None:
            raise BadReference(
                f"not a digest: {text!r}", fix="a digest is sha256:<64 hex digits> or sha512:<128>"
            )
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise BadReference(
                f"not a digest: {text!r} has no {length} lower-case hex digits after {algorithm}:",
                fix="copy it whole from what regsetup inspect shows",
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of ``content``."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Reference:
    """``[registry/]repository[:tag][@digest]``; ``registry`` is ``host[:port]`` or None."""

    registry: str | None
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; the first component is a registry if it has ``.`` or ``:`` or is ``localhost``.

        Raises:
            BadReference: names the part that is wrong.
        """
        scheme, colons, bare = text.partition("://")
        if colons:
            raise BadReference(
                f"bad registry '{scheme}:' in {text!r}",
                cause="a reference has no scheme",
                fix=f"write {bare}",
            )
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, tail = rest.partition("/")
        registry = None
        if slash and (head == "localhost" or any(mark in head for mark in ".:[")):
            registry, rest = head, tail
            if not is_registry(registry):
                raise BadReference(
                    f"bad registry {registry!r} in {text!r}",
                    cause="what stands before the first / and has a dot or a colon is taken for a registry",
                    fix="HOST:PORT/NAME, such as registry.lan:5000/team/app",
                )
        repository, colon, tag = rest.partition(":")
        lower = repository.lower()
        if not is_repository(repository):
            raise BadReference(
                f"bad repository name {repository!r} in {text!r}",
                cause="names are lower-case letters, digits and separators (. _ __ -), "
                f"joined by /, at most {MAX_REPOSITORY} characters",
                fix=f"write {lower}" if is_repository(lower) else "NAME:TAG, such as team/app:1.0",
            )
        if colon and not is_tag(tag):
            raise BadReference(
                f"bad tag {tag!r} in {text!r}",
                cause="a tag is at most 128 letters, digits, _ . or -, not starting with . or -",
                fix="NAME:TAG, such as team/app:1.0",
            )
        return cls(registry, repository, tag or None, digest)

    @property
    def target(self) -> str:
        """What a manifest URL ends with: the digest if there is one, else the tag, else ``latest``."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def __str__(self) -> str:
        registry = f"{self.registry}/" if self.registry else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{registry}{self.repository}{tag}{digest}"
