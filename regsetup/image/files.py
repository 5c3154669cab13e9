"""Files by name, in a directory or in an archive: what images are read from.

Nothing is ever unpacked: a file in an archive is read where it lies. Names that lead outside are refused.
"""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class CannotRead(RegsetupError):
    """A file or directory can't be read: it is not there, no rights, a damaged disk."""

    code = "cannot-read"

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=error.strerror or str(error),
            fix=f"ls -l {path}",
        )


class NoImage(RegsetupError):
    """What was named is neither an OCI image layout nor an archive with images."""

    code = "no-image"

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"{label} holds no image that can be read",
            cause=reason,
            fix="name an OCI layout, or an archive of docker save, podman save, skopeo or regsetup pull",
        )


class DamagedImage(RegsetupError):
    """A layout or an archive whose contents are not what they are said to be."""

    code = "damaged-image"

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(
            f"{label} is damaged", cause=reason, fix="make it again: save, build or pull the image once more"
        )


class Slice(io.RawIOBase):
    """A part of an open file, read at its own position: several threads may read several slices."""

    def __init__(self, label: str, descriptor: int, start: int, size: int) -> None:
        """Take a duplicate of ``descriptor``; the slice closes its own. Errors call it ``label``."""
        self._label = label
        self._descriptor = os.dup(descriptor)
        self._start = start
        self._size = size
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes, all that is left without it.

        Raises:
            CannotRead: the disk gives an error.
            DamagedImage: the file became shorter meanwhile.
        """
        left = max(self._size - self._at, 0)
        wanted = left if size < 0 else min(size, left)
        try:
            piece = os.pread(self._descriptor, wanted, self._start + self._at)
        except OSError as error:
            raise CannotRead(self._label, error) from error
        if wanted and not piece:
            raise DamagedImage(self._label, f"it ends {left} bytes early")
        self._at += len(piece)
        return piece

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; the beginning and the end are the slice's."""
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._at

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class Files(Protocol):
    """Regular files by relative name."""

    @property
    def label(self) -> str:
        """How messages call the whole."""
        ...

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes, None where there is no such file.

        Raises:
            CannotRead: it can't be told.
        """
        ...

    def open(self, name: str) -> Slice:
        """Open a file that is there.

        Raises:
            CannotRead: it is not, or may not be read.
        """
        ...

    def close(self) -> None:
        """Give back what is held open."""
        ...


class Directory:
    """The files of a directory. Links are followed: some layouts are made of them, and digests check all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def label(self) -> str:
        """Its path."""
        return str(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes, None where there is no such file."""
        try:
            found = (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CannotRead(self.path / name, error) from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def open(self, name: str) -> Slice:
        """Open a file; a device or pipe of that name is refused, without waiting for it."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise CannotRead(self.path / name, error) from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise NoImage(self.label, f"{name} is no regular file")
            return Slice(str(self.path / name), descriptor, 0, found.st_size)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held open."""


def read_small(files: Files, name: str, limit: int) -> bytes:
    """Return a whole file.

    Raises:
        NoImage: it is longer than ``limit`` bytes, or not there.
    """
    size = files.size(name)
    if size is None:
        raise NoImage(files.label, f"it has no {name}")
    if size > limit:
        raise NoImage(files.label, f"{name} has {size} bytes, more than {limit}")
    with files.open(name) as file:
        return file.read()
