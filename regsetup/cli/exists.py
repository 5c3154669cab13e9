"""``regsetup exists``: is it there?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup.cli import remote, render
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    import typer


class NotThere(RegsetupError):
    """The registry answers, and has no such image."""

    code = "not-there"
    exit_code = 3

    def __init__(self, reference: str, address: str) -> None:
        super().__init__(f"{address} has no {reference}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "exists")(exists)


@remote.reaching
def exists(way: remote.Way, ref: remote.Ref) -> render.Outcome:
    """Tell whether an image is there, without fetching it. Exits with 3 if it is not."""
    from regsetup.reference import Reference

    reference = Reference.parse(ref)
    with way.to(reference) as reached:
        target = reference.digest or reference.tag or "latest"
        found = reached.client.head_manifest(reached.repository(reference), target)
        address = reached.place.address
    if found is None:
        return render.Outcome({"ref": ref, "exists": False}, code=3, errors=(NotThere(ref, address),))
    data = {
        "ref": ref,
        "exists": True,
        "digest": str(found.digest),
        "media_type": found.media_type,
        "size": found.size,
    }
    return render.Outcome(data, (str(found.digest),))
