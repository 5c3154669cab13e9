"""Files that are handed over: written all or none, and nobody's work is overwritten unasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PRIVATE = 0o600


class FileDiffers(RegsetupError):
    """A file that would be written is there, with other content."""

    code = "file-differs"

    def __init__(self, paths: Sequence[Path]) -> None:
        names = ", ".join(map(str, paths))
        super().__init__(
            f"{names} {'is' if len(paths) == 1 else 'are'} there with other content; nothing was written",
            fix="look at the difference, then --force to overwrite, or -o with another place",
        )


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written.

    Attributes:
        grows: its new content has all of the old, such as users with one more: no reason to refuse.
    """

    path: Path
    text: str
    mode: int = PRIVATE
    grows: bool = False


def write(files: Sequence[File], *, force: bool) -> dict[Path, str]:
    """Write them; returns what became of each: ``written``, ``replaced`` or ``unchanged``.

    Raises:
        FileDiffers: one is there with other content, and ``force`` is not set; none was written.
        CannotWrite: no rights, no space.
    """
    there = {file.path: _content(file.path) for file in files}
    differ = [one.path for one in files if not one.grows and there[one.path] not in (None, one.text.encode())]
    if differ and not force:
        raise FileDiffers(differ)
    done = {}
    for file in files:
        before = there[file.path]
        if before != file.text.encode():
            make_directory(file.path.parent)
            write_atomic(file.path, file.text, mode=file.mode)
        done[file.path] = (
            "written" if before is None else "unchanged" if before == file.text.encode() else "replaced"
        )
    return done


def make_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, unless it is there.

    Raises:
        CannotWrite: no rights, or something else is there.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(path, error) from error


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotWrite(path, error) from error
