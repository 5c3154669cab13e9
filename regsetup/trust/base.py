"""How a client of registries is made to trust one, and how that is taken back: the values and the contract.

Every file is planned as an ``Edit``, noted in the ledger as ``Touched`` before it is written, and taken back
from there: to the byte if nobody has changed it since, else only what is ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from regsetup.errors import RegsetupError
from regsetup.host.files import remove_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.]+")


class CannotTakeBack(RegsetupError):
    """A file that we wrote was rewritten by somebody, and what is ours can't be told from what is theirs."""

    code = "cannot-take-back"

    def __init__(self, path: Path, ours: str) -> None:
        super().__init__(
            f"{path} was changed since regsetup wrote it, and stays as it is",
            cause="what regsetup put there can't be found any more",
            fix=f"look at {path}, and take out by hand: {ours}",
        )


class CannotRead(RegsetupError):
    """A client's settings can't be read: no rights, or no file."""

    code = "cannot-read"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=error.strerror or str(error),
            fix="run it as root (sudo)" if isinstance(error, PermissionError) else f"ls -ld {path}",
        )


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry to trust.

    Attributes:
        address: ``host:port``.
        ca: the PEM of its CA, or None for plain HTTP.
        mirror: its URL if it is a cache of Docker Hub that engines are to ask first.
        known: clients work with it as it is: it is on loopback, or its CA is everybody's.
    """

    address: str
    ca: bytes | None
    mirror: str | None = None
    known: bool = False

    @property
    def slug(self) -> str:
        """The address as part of a file name: ``registry.lan-5000``."""
        return _NOT_IN_FILE_NAMES.sub("-", self.address).strip("-")

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.ca is not None

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'https' if self.tls else 'http'}://{self.address}"


@dataclass(frozen=True, slots=True)
class Edit:
    """One file as it is and as it must be; None for absent.

    Attributes:
        added: the pieces of ``after`` that are ours; empty if the whole file is.
        unread: the file is as it must be, but the client has not read it yet.
    """

    path: Path
    before: bytes | None
    after: bytes
    added: tuple[str, ...] = ()
    unread: bool = False

    @property
    def needed(self) -> bool:
        """Tell whether there is something to do."""
        return self.before != self.after or self.unread


@dataclass(frozen=True, slots=True)
class Plan:
    """Every file that a client's trust rests on.

    Attributes:
        edits: in the order in which they are to be made.
        reason: why there is nothing to do, if there are no edits at all.
        notes: what is left for a person to do, one command or sentence each.
    """

    edits: tuple[Edit, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[Edit, ...]:
        """The edits that change something."""
        return tuple(edit for edit in self.edits if edit.needed)


@dataclass(frozen=True, slots=True)
class Touched:
    """Ledger entry: a file outside our own directories that we have changed.

    Attributes:
        client: ``docker``, ``podman``, ...; ``address``: the registry that it was for.
        before: the bytes that were there; None if the file was absent.
        after: SHA-256 (hex) of the bytes that we wrote; ``earlier``: of those that we had written before, and
            that are there still if regsetup was killed between the ledger and the file.
        tls: how the registry was to be trusted: by its CA, or as plain HTTP.
        added: the pieces that are ours; empty if the whole file is.
        directories: those that we made for it, innermost first.
    """

    client: str
    address: str
    path: Path
    before: bytes | None
    after: str
    tls: bool
    added: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    earlier: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON has it; ``before`` in base64."""
        return {
            "client": self.client,
            "address": self.address,
            "path": str(self.path),
            "before": None if self.before is None else base64.b64encode(self.before).decode(),
            "after": self.after,
            "tls": self.tls,
            "added": list(self.added),
            "directories": [str(path) for path in self.directories],
            "earlier": self.earlier,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """Read what ``as_dict`` wrote."""
        before = data["before"]
        added, directories = data["added"], data["directories"]
        return cls(
            client=str(data["client"]),
            address=str(data["address"]),
            path=Path(str(data["path"])),
            before=base64.b64decode(before) if isinstance(before, str) else None,
            after=str(data["after"]),
            tls=bool(data["tls"]),
            added=tuple(map(str, added)) if isinstance(added, list) else (),
            directories=tuple(map(Path, directories)) if isinstance(directories, list) else (),
            earlier=str(data.get("earlier", "")),
        )


class Ledger(Protocol):
    """Keeps what we touched, durably: each call returns once it is on disk."""

    def entries(self) -> Sequence[Touched]:
        """Return every entry, the oldest first."""
        ...

    def note(self, entry: Touched) -> None:
        """Add an entry, or replace the one of the same client, address and path."""
        ...

    def forget(self, entry: Touched) -> None:
        """Drop an entry."""
        ...


class Client(ABC):
    """One program that pulls and pushes, with trust settings of its own."""

    name: ClassVar[str]
    needs_ca: ClassVar[bool] = True

    @abstractmethod
    def detect(self) -> bool:
        """Tell whether it is installed here."""

    @abstractmethod
    def plan(self, registry: Registry) -> Plan:
        """Return what is to change; reads, writes nothing.

        Raises:
            RegsetupError: a file can't be read as the client would, or something else stands in the way.
        """

    def concerned(self, registry: Registry) -> bool:
        """Tell whether it has anything to be told of ``registry``."""
        return not registry.known

    def outdated(self, touched: Touched, registry: Registry) -> bool:
        """Tell whether an earlier edit is in the way of ``registry`` as it is now."""
        return touched.tls != registry.tls

    def apply(self, edit: Edit) -> str | None:
        """Write one edit; returns what is left for a person to do."""
        write_atomic(edit.path, edit.after)
        return None

    def take_back(self, touched: Touched) -> str | None:
        """Undo one edit; returns what is left for a person to do.

        Raises:
            CannotTakeBack: others have changed the file, and ours is not to be found in it.
        """
        become(touched.path, self.without_us(read(touched.path), touched))
        return None

    def without_us(self, current: bytes | None, touched: Touched) -> bytes | None:
        """Return what a file must be without us; None for absent.

        Raises:
            CannotTakeBack: others have changed the file, and ours is not to be found in it.
        """
        return taken_back(current, touched)

    def inherited(self, heir: Touched, gone: Touched) -> tuple[str, ...]:  # noqa: ARG002
        """Return the pieces that are ours by ``heir``, of the same file, once ``gone`` is taken back."""
        return heir.added

    def settle(self) -> str | None:
        """Do what must follow the last edit, if anything; returns what is left for a person to do."""
        return None


def become(path: Path, content: bytes | None) -> None:
    """Give a file its content, or remove it for None."""
    if content is None:
        remove_file(path)
    else:
        write_atomic(path, content)


def taken_back(current: bytes | None, touched: Touched) -> bytes | None:
    """Return what the file must be without us; None for absent.

    Raises:
        CannotTakeBack: others have changed the file, and ours is not to be found in it.
    """
    if unchanged(current, touched):
        return touched.before
    if current is None:
        return None
    text = current.decode(errors="surrogateescape")
    for piece in touched.added:
        if piece not in text:
            raise CannotTakeBack(touched.path, piece.strip())
        text = text.replace(piece, "", 1)
    if not touched.added:
        raise CannotTakeBack(touched.path, "the whole file")
    return what_is_left(text, touched)


def what_is_left(text: str, touched: Touched) -> bytes | None:
    """Return what is left of a file once our pieces are cut out; None if nobody else put anything into it.

    The end that we gave to its last line goes, too.
    """
    left, before = text.encode(errors="surrogateescape"), touched.before
    if before is None:
        return left or None
    return before if not before.endswith(b"\n") and left == before + b"\n" else left


def unchanged(current: bytes | None, touched: Touched) -> bool:
    """Tell whether a file is as we left it, or as we found it: then it becomes what we found."""
    return current == touched.before or (
        current is not None and sha256(current) in {touched.after, touched.earlier}
    )


def sha256(content: bytes) -> str:
    """Return the hex digest that the ledger compares files by."""
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> bytes | None:
    """Return a file's bytes, None if there is none.

    Raises:
        CannotRead: it is another user's, or not a file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotRead(path, error) from error
