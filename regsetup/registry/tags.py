"""Tag list endpoint: OCI distribution-spec 1.1 "Listing Tags" (end-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.registry.paging import link, page
from regsetup.registry.reply import reply_json

if TYPE_CHECKING:
    from regsetup.registry.context import Context
    from regsetup.registry.routing import Route
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response


async def get(context: Context, request: Request, route: Route) -> Response:
    """Answer GET: 200 with the tags in lexical order, or the page of them that is asked for."""
    names = await context.run(context.store.tags.names, route.repository)
    return listing(request, route.repository, names)


def listing(request: Request, repository: str, names: list[str]) -> Response:
    """Return the page of a tag list that is asked for."""
    names.sort(key=lexical)
    n = request.query("n")
    found, more = page(names, n, request.query("last"), lexical)
    headers = {"Link": link(f"/v2/{repository}/tags/list", found, n)} if more and n else None
    return reply_json({"name": repository, "tags": found}, headers)


def lexical(tag: str) -> tuple[str, ...]:
    """Order without regard to case, as the specification says; where only case differs, by byte."""
    return tag.lower(), tag
