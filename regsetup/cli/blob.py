"""``regsetup blob``: the bytes of a layer or a configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regsetup.cli import remote, render
from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.reference import Digest

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write it to this file, whole or not at all."),
]


class BinaryToTerminal(UsageError):
    """Bytes that are no text would go to a terminal."""

    code = "binary-to-terminal"

    def __init__(self, repository: str, digest: Digest) -> None:
        super().__init__(
            f"{digest} is no text, and standard output is a terminal",
            fix=f"regsetup blob {repository} {digest} -o FILE, or redirect it",
        )


class NoDigest(UsageError):
    """It is not said which blob."""

    code = "no-digest"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} says no digest",
            cause="a blob has no other name",
            fix=f"regsetup inspect {text} lists them, to be written as NAME@DIGEST",
        )


class OutputWanted(UsageError):
    """``--json`` without ``-o``: the bytes have nowhere to go."""

    code = "output-wanted"

    def __init__(self) -> None:
        super().__init__("with --json the bytes have to go to a file", fix="add -o FILE")


def register(app: typer.Typer) -> None:
    """Add the command."""
    render.command(app, "blob")(blob)


@remote.reaching
def blob(
    way: remote.Way,
    repository: remote.Repository,
    digest: Annotated[
        str | None, typer.Argument(metavar="DIGEST", help="Which blob (or NAME@DIGEST in one word).")
    ] = None,
    output: Output = None,
) -> render.Outcome:
    """Fetch a blob, a layer or a configuration, and verify its digest.

    It goes to standard output, or with -o to a file, which is there only once the digest is verified.
    """
    from regsetup.contents import inspection
    from regsetup.host.files import write_atomic
    from regsetup.reference import Digest, Reference

    reference = Reference.parse(repository)
    wanted = Digest.parse(digest) if digest else reference.digest
    if wanted is None:
        raise NoDigest(repository)
    if render.style.json and output is None:
        raise OutputWanted
    with way.to(reference) as reached:
        name = reached.repository(reference)
        pieces = inspection.blob(reached.client, name, wanted)
        if output is None:
            _to_stdout(pieces, f"{reached.place.address}/{name}", wanted)
            return render.Outcome()
        write_atomic(output, pieces)
    size = output.stat().st_size
    from rich.filesize import decimal

    data = {"repository": name, "digest": str(wanted), "size": size, "file": str(output)}
    return render.Outcome(data, (f"{output}  {decimal(size)}  {wanted}",), changed=True)


def _to_stdout(pieces: Iterator[bytes], repository: str, digest: Digest) -> None:
    terminal = sys.stdout.isatty()
    for piece in pieces:
        if terminal and not _is_text(piece):
            raise BinaryToTerminal(repository, digest)
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    if terminal:
        sys.stdout.write("\n")


def _is_text(piece: bytes) -> bool:
    """Tell whether a terminal shows it as it is, and is not steered by it."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return False
    return all(one.isprintable() or one in "\r\n\t" for one in text)
