"""From a path to what it names. Pure.

OCI distribution-spec 1.1 "Endpoints". Repository names have slashes, so a path is read from its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from regsetup.reference import is_repository
from regsetup.registry.errors import NameInvalid


class Kind(Enum):
    """What a path leads to."""

    ROOT = "root"
    HEALTH = "health"
    METRICS = "metrics"
    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    REFERRERS = "referrers"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: ``reference`` is a tag, digest or session identifier, as it was sent."""

    kind: Kind
    repository: str = ""
    reference: str = ""


_FIXED = {
    "/": Route(Kind.ROOT),
    "/healthz": Route(Kind.HEALTH),
    "/metrics": Route(Kind.METRICS),
    "/v2": Route(Kind.BASE),
    "/v2/": Route(Kind.BASE),
    "/v2/_catalog": Route(Kind.CATALOG),
}
_NOTHING = Route(Kind.NOTHING)
_BY_FOLDER = {"manifests": Kind.MANIFEST, "blobs": Kind.BLOB, "referrers": Kind.REFERRERS}


def route(path: str) -> Route:
    """Return what a decoded path leads to.

    Raises:
        NameInvalid: the path is one of a repository, but no repository can have this name.
    """
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    if not path.startswith("/v2/"):
        return _NOTHING
    found = _of_repository(path[4:])
    if found.kind is not Kind.NOTHING and not is_repository(found.repository):
        raise NameInvalid("invalid repository name", detail={"name": found.repository})
    return found


def _of_repository(rest: str) -> Route:
    head, _, last = rest.rpartition("/")
    if rest.endswith(("/blobs/uploads/", "/blobs/uploads")):
        return Route(Kind.UPLOADS, rest.rstrip("/").removesuffix("/blobs/uploads"))
    if head.endswith("/blobs/uploads"):
        return Route(Kind.UPLOAD, head.removesuffix("/blobs/uploads"), last)
    if head.endswith("/tags") and last == "list":
        return Route(Kind.TAGS, head.removesuffix("/tags"))
    name, _, folder = head.rpartition("/")
    kind = _BY_FOLDER.get(folder)
    return Route(kind, name, last) if kind is not None and name else _NOTHING
