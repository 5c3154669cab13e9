"""Every error the API answers with: the code, its status, and the JSON body.

OCI distribution-spec 1.1 "Error Codes"; the statuses are distribution's (registry/api/errcode,
registry/api/v2/errors.go), because clients know them from there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from regsetup.reference import Digest


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        code: one of the specification's identifiers.
        status: HTTP status.
        detail: JSON value that goes with the message, or None.
        headers: what the answer carries besides.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: int = 500

    def __init__(
        self,
        message: str,
        *,
        detail: object = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.headers = headers or {}
        if status is not None:
            self.status = status

    def body(self) -> bytes:
        """Return the JSON document of the specification: one list of errors."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return json.dumps({"errors": [error]}).encode()


class BlobUnknown(ApiError):
    """The repository has no such blob, or it is damaged."""

    code = "BLOB_UNKNOWN"
    status = 404


class UploadUnknown(ApiError):
    """No upload session has this identifier in this repository."""

    code = "BLOB_UPLOAD_UNKNOWN"
    status = 404


class DigestInvalid(ApiError):
    """Not a digest, or not the digest of what was sent."""

    code = "DIGEST_INVALID"
    status = 400


class SizeInvalid(ApiError):
    """The length that was announced is not the length that came; or it is too much (413)."""

    code = "SIZE_INVALID"
    status = 400


class RangeInvalid(ApiError):
    """A Range or Content-Range that can't be served or appended."""

    code = "RANGE_INVALID"
    status = 416


class ManifestUnknown(ApiError):
    """The repository has no such manifest or tag."""

    code = "MANIFEST_UNKNOWN"
    status = 404


class ManifestInvalid(ApiError):
    """Not a manifest that this registry stores."""

    code = "MANIFEST_INVALID"
    status = 400


class ManifestBlobUnknown(ApiError):
    """A manifest refers to a blob or manifest that the repository does not have."""

    code = "MANIFEST_BLOB_UNKNOWN"
    status = 400


class NameInvalid(ApiError):
    """Not a repository name."""

    code = "NAME_INVALID"
    status = 400


class NameUnknown(ApiError):
    """No such repository."""

    code = "NAME_UNKNOWN"
    status = 404


class TagInvalid(ApiError):
    """Not a tag."""

    code = "TAG_INVALID"
    status = 400


class PaginationNumberInvalid(ApiError):
    """``n`` is not a number of results."""

    code = "PAGINATION_NUMBER_INVALID"
    status = 400


class Unauthorized(ApiError):
    """No credentials, or wrong ones."""

    code = "UNAUTHORIZED"
    status = 401


class Denied(ApiError):
    """Not allowed: an immutable tag (409), or 403."""

    code = "DENIED"
    status = 403


def held_fast(tag: str, digest: Digest | None) -> Denied:
    """Return what a move of an immutable tag is answered with, or a deletion of what it needs."""
    return Denied(f"tag {tag} is immutable", detail={"tag": tag, "digest": str(digest or "")}, status=409)


class Unsupported(ApiError):
    """This registry does not do that."""

    code = "UNSUPPORTED"
    status = 405


class TooManyRequests(ApiError):
    """Another request is at it."""

    code = "TOOMANYREQUESTS"
    status = 429


class Unavailable(ApiError):
    """Not now: the disk is full, or the server stops."""

    code = "UNAVAILABLE"
    status = 503


class Unknown(ApiError):
    """The server failed."""
