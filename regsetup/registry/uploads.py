"""Upload endpoints: sessions, chunks, resuming, cancelling, mounting.

OCI distribution-spec 1.1 "Pushing blobs" (end-4 to end-6, end-11, end-13) and its development
version's cancel (end-14). The bytes on disk say where an upload goes on, whatever broke off before.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from regsetup.reference import Digest, is_repository
from regsetup.registry.context import Context, no_space, parse_digest
from regsetup.registry.errors import BlobUnknown, DigestInvalid, RangeInvalid, SizeInvalid
from regsetup.registry.ranges import upload_range
from regsetup.registry.reply import reply
from regsetup.registry.transfer import receive

if TYPE_CHECKING:
    from regsetup.registry.routing import Route
    from regsetup.registry.store import Upload
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


async def start(context: Context, request: Request, route: Route) -> Response:
    """Answer POST: 201 for a mount or a blob in one request, else 202 and a session."""
    mount, digest = request.query("mount"), request.query("digest")
    if mount is not None:
        mounted = parse_digest(mount)
        if await _mount(context, route.repository, mounted, request.query("from")):
            return _created(route.repository, mounted)
    context.check_space(request.length or 0)
    wanted = parse_digest(digest) if digest is not None and mount is None else None
    identifier = await context.run(context.store.uploads.start, route.repository)
    if wanted is not None:
        return await _finish(context, request, route.repository, identifier, wanted)
    return _accepted(route.repository, identifier, 0)


async def append(context: Context, request: Request, route: Route) -> Response:
    """Answer PATCH: 202 when the bytes are on disk, 416 when they are not the next ones."""
    with context.store.uploads.hold(route.repository, route.reference) as upload:
        context.check_space(request.length or 0)
        _check_range(request, route.repository, upload)
        await _receive(context, request, upload)
        size = context.store.uploads.size(route.repository, route.reference)  # cancelled meanwhile: 404
    return _accepted(route.repository, route.reference, size)


async def finish(context: Context, request: Request, route: Route) -> Response:
    """Answer PUT: 201 when the blob is stored for good, 400 when it has another digest."""
    digest = request.query("digest")
    if digest is None:
        raise DigestInvalid("digest parameter missing")
    return await _finish(context, request, route.repository, route.reference, parse_digest(digest))


def status(context: Context, _request: Request, route: Route) -> Response:
    """Answer GET: 204 and how far the upload is."""
    size = context.store.uploads.size(route.repository, route.reference)
    return reply(204, _progress(route.repository, route.reference, size))


async def cancel(context: Context, _request: Request, route: Route) -> Response:
    """Answer DELETE: 204, and the space is free."""
    await context.run(context.store.uploads.cancel, route.repository, route.reference)
    return reply(204)


async def _finish(
    context: Context, request: Request, repository: str, identifier: str, digest: Digest
) -> Response:
    with context.store.uploads.hold(repository, identifier, digest.algorithm) as upload:
        if request.length != 0:
            context.check_space(request.length or 0)
            _check_range(request, repository, upload)
            await _receive(context, request, upload)
        try:
            await context.run(upload.commit, digest)
        except OSError as error:
            _translate(error, upload)
            raise
    return _created(repository, digest)


async def _receive(context: Context, request: Request, upload: Upload) -> None:
    try:
        await receive(context, request, upload)
    except OSError as error:
        if not isinstance(error, ConnectionError):
            await context.run(_translate, error, upload)
        raise


def _translate(error: OSError, upload: Upload) -> None:
    """Free the space of an upload that filled the disk, and say so (503)."""
    if error.errno in FULL:
        upload.cancel()
        raise no_space() from error


async def _mount(context: Context, repository: str, digest: Digest, source: str | None) -> bool:
    """Link a blob of another repository, or with no source of any; False if it is not whole there."""
    blobs = context.store.blobs
    target = digest
    if source is not None:
        if not is_repository(source):
            return False
        try:
            target = blobs.target(source, digest)
        except BlobUnknown:
            return False
    if await context.verify(target) is None:
        return False
    await context.run(blobs.link, repository, digest, target)
    return True


def _check_range(request: Request, repository: str, upload: Upload) -> None:
    """Hold Content-Range, if it is there, against what is on disk.

    Not held against it: the Content-Range of an empty body, and an end that is off by one; a release of
    regclient sends both.
    """
    header = request.headers.get("content-range")
    length = request.length
    if header is None or length == 0:
        return
    first, last = upload_range(header)
    if first != upload.size:
        raise RangeInvalid(
            "the chunk does not begin where the upload ends",
            detail={"offset": upload.size},
            headers=_progress(repository, upload.identifier, upload.size),
        )
    if last < first - 1 or (length is not None and abs(last - first + 1 - length) > 1):
        raise SizeInvalid("Content-Range and Content-Length do not agree")


def _progress(repository: str, identifier: str, size: int) -> dict[str, str]:
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{identifier}",
        "Docker-Upload-UUID": identifier,
        "Range": f"0-{max(size - 1, 0)}",
    }


def _accepted(repository: str, identifier: str, size: int) -> Response:
    return reply(202, _progress(repository, identifier, size))


def _created(repository: str, digest: Digest) -> Response:
    location = f"/v2/{repository}/blobs/{digest}"
    return reply(201, {"Location": location, "Docker-Content-Digest": str(digest)})
