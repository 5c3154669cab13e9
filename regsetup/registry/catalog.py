"""Catalog endpoint: Docker Registry HTTP API V2, "Listing Repositories"; the OCI specification has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.registry.paging import link, page
from regsetup.registry.reply import reply_json

if TYPE_CHECKING:
    from regsetup.registry.context import Context
    from regsetup.registry.routing import Route
    from regsetup.registry.wire.request import Request
    from regsetup.registry.wire.response import Response

DEFAULT_PAGE = "100"  # distribution's maximumReturnedEntries where n is not given


async def get(context: Context, request: Request, _route: Route) -> Response:
    """Answer GET: 200 with the repositories that have a manifest, page by page."""
    names = await context.run(context.store.repositories.listed)
    n = request.query("n") or DEFAULT_PAGE
    found, more = page(names, n, request.query("last"))
    headers = {"Link": link("/v2/_catalog", found, n)} if more else None
    return reply_json({"repositories": found}, headers)
