"""Manifest endpoints.

OCI distribution-spec 1.1 "Pulling manifests" (end-3), "Pushing Manifests" (end-7), "Deleting
Manifests" (end-9), and the tag parameters of its development version. Bytes are kept and served as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.reference import Digest, is_tag
from regsetup.registry import content
from regsetup.registry.context import Context, parse_digest
from regsetup.registry.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    SizeInvalid,
    TagInvalid,
)
from regsetup.registry.immutable import refuse_loss, refuse_move
from regsetup.registry.ranges import matches
from regsetup.registry.reply import reply
from regsetup.registry.store import StoredManifest
from regsetup.registry.transfer import read

if TYPE_CHECKING:
    from regsetup.registry.routing import Route
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

MAX_MANIFEST = 4 << 20  # bytes; OCI distribution-spec 1.1 "Pushing Manifests"
MAX_TAGS = 50  # a request; the specification asks for 10 at least, and clients bear 100 headers at most
MAX_WARNINGS = 8  # headers an answer; a manifest can be unusual in thousands of places


def get(context: Context, request: Request, route: Route) -> Response:
    """Answer GET: 200, 304, 404. Waits for nothing: the link is small, the manifest in memory."""
    digest = _resolve(context, route)
    return answer(request, digest, context.store.manifests.get(route.repository, digest))


def head(context: Context, request: Request, route: Route) -> Response:
    """Answer HEAD: 200 only if size and digest hold on disk, too: a client that hears it pushes nothing."""
    digest = _resolve(context, route)
    return answer(request, digest, context.store.manifests.relied_on(route.repository, digest))


def answer(request: Request, digest: Digest, manifest: StoredManifest) -> Response:
    """Return a manifest that was asked for by ``digest``, or 304 where the client has it."""
    text = str(digest)
    headers = {"Docker-Content-Digest": text, "Etag": f'"{text}"'}
    if matches(request.headers.get("if-none-match"), text):
        return reply(304, headers)
    return reply(200, headers, manifest.content, manifest.media_type)


async def put(context: Context, request: Request, route: Route) -> Response:
    """Answer PUT: 201 when manifest and tags are stored for good."""
    context.check_space(request.length or 0)
    digest = parse_digest(route.reference) if ":" in route.reference else None
    tags = _tags(request, digest, route.reference)
    body = await _read(context, request)
    found = Digest.of(body, digest.algorithm if digest else "sha256")
    if digest is not None and found != digest:
        raise DigestInvalid(
            "provided digest did not match uploaded content",
            detail={"digest": str(digest), "received": str(found)},
        )
    content_type = request.headers.get("content-type", "")
    manifest, warnings = await context.run(_store, context, route.repository, found, body, content_type, tags)
    response = reply(
        201,
        {"Location": f"/v2/{route.repository}/manifests/{found}", "Docker-Content-Digest": str(found)},
    )
    if manifest.subject is not None:
        response.add("OCI-Subject", str(manifest.subject.digest))
    for tag in tags if digest is not None else ():
        response.add("OCI-Tag", tag)
    for warning in warnings[:MAX_WARNINGS]:
        response.add("Warning", f'299 - "{warning}"')
    return response


async def delete(context: Context, _request: Request, route: Route) -> Response:
    """Answer DELETE of a tag or a manifest: 202."""
    if ":" in route.reference:
        digest = parse_digest(route.reference)
        await context.run(_delete, context, route.repository, digest)
    else:
        tag = _tag(route.reference)
        await context.run(
            context.store.tags.delete, route.repository, tag, immutable=context.settings.is_immutable(tag)
        )
    return reply(202)


def _delete(context: Context, repository: str, digest: Digest) -> None:
    refuse_loss(context, repository, digest)
    context.store.manifests.delete(repository, digest, lambda tag: not context.settings.is_immutable(tag))


def _resolve(context: Context, route: Route) -> Digest:
    """Return the digest that a reference means."""
    if ":" in route.reference:
        return parse_digest(route.reference)
    if not is_tag(route.reference):
        raise unknown(route)
    return context.store.tags.get(route.repository, route.reference)


def unknown(route: Route) -> ManifestUnknown:
    """Return the 404 for a pull of what can be no tag: conformance suite 1.1, "GET nonexistent manifest"."""
    return ManifestUnknown(
        "manifest unknown: not a tag", detail={"name": route.repository, "tag": route.reference}
    )


def _store(
    context: Context, repository: str, digest: Digest, body: bytes, content_type: str, tags: tuple[str, ...]
) -> tuple[content.Content, list[str]]:
    """Check what the manifest refers to, and store it; return it with what is unusual about it."""
    manifest = content.parse(body, content_type)
    warnings = _check_references(context, repository, manifest)
    refuse_move(context, repository, tags, digest)
    subject = manifest.subject.digest if manifest.subject else None
    context.store.referrers.put(repository, StoredManifest(digest, manifest.media_type, body), subject)
    for tag in tags:
        context.store.tags.set(repository, tag, digest, replace=not context.settings.is_immutable(tag))
    return manifest, warnings


def _check_references(context: Context, repository: str, manifest: content.Content) -> list[str]:
    """Return warnings about what a manifest refers to.

    Raises:
        ManifestBlobUnknown: the repository does not have it whole, and sparse manifests are off.
    """
    warnings = []
    missing = []
    sizes = _blob_sizes(context, repository, manifest)
    for descriptor in manifest.blobs:
        size = sizes[descriptor.digest]
        if size is None and descriptor.elsewhere:
            warnings.append(f"layer {descriptor.digest} is not stored here: it is non-distributable")
        elif size is None:
            missing.append(descriptor.digest)
        elif size != descriptor.size:
            warnings.append(
                f"{descriptor.digest} has {size} bytes, not the {descriptor.size} of its descriptor"
            )
    missing += [
        descriptor.digest
        for descriptor in manifest.children
        if not context.store.manifests.has(repository, descriptor.digest)
    ]
    if missing and not context.settings.allow_sparse:
        raise ManifestBlobUnknown(
            "blob unknown to registry", detail=[{"digest": str(digest)} for digest in missing[:100]]
        )
    return warnings + [f"{digest} is not in the repository" for digest in missing]


def _blob_sizes(context: Context, repository: str, manifest: content.Content) -> dict[Digest, int | None]:
    """Return the size of each blob of a manifest, None where the repository does not have it whole."""
    sizes = {one.digest: _blob_size(context, repository, one.digest) for one in manifest.blobs}
    for digest, size in sizes.items():
        if size is not None:  # to hash the others may have taken longer than a collector's grace
            sizes[digest] = _blob_size(context, repository, digest)
    return sizes


def _blob_size(context: Context, repository: str, digest: Digest) -> int | None:
    blobs = context.store.blobs
    try:
        size = blobs.verify(blobs.target(repository, digest))
        # Again, now that the collector knows that somebody relies on it: it may have been quicker.
        blobs.target(repository, digest)
    except BlobUnknown:
        return None
    return size


async def _read(context: Context, request: Request) -> bytes:
    """Return the body.

    Raises:
        SizeInvalid: more than 4 MiB (413).
    """
    body = await read(context, request, MAX_MANIFEST)
    if body is None:
        raise SizeInvalid(f"manifests have at most {MAX_MANIFEST} bytes", status=413)
    return body


def _tags(request: Request, digest: Digest | None, reference: str) -> tuple[str, ...]:
    """Return the tags to set: the reference, or the ``tag`` parameters of a push by digest."""
    if digest is None:
        return (_tag(reference),)
    tags = request.queries.get("tag", [])
    if len(tags) > MAX_TAGS:
        raise TagInvalid(f"more than {MAX_TAGS} tags", status=414)
    return tuple(dict.fromkeys(_tag(tag) for tag in tags))


def _tag(text: str) -> str:
    if not is_tag(text):
        raise TagInvalid("not a tag", detail={"tag": text})
    return text
