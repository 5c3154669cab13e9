"""Users of a registry: edits of its htpasswd file on disk, proven by the registry that runs.

Both registries look at the file's modification time at every request, so an edit is live with the next one.
That is not taken on trust: the new password has to enter, and one that was taken away has to stay outside.

The file is 0600. registry:2 and registry:3 read it as root of their container, a rootless engine maps that
root to the person who runs it, and the bundled registry runs as the file's owner. An existing file keeps its
mode and owner, so that an engine with userns-remap can be given one that its root can read.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup.auth.htpasswd import Cost, Htpasswd, Problem, check_name, generate_password, hash_password
from regsetup.client import Credentials, RegistryClient, RegistryError, Unreachable
from regsetup.errors import RegsetupError, UsageError
from regsetup.host.files import locked, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regsetup.client import Endpoint
    from regsetup.secret import Secret

    Carry = Callable[[], None]

MODE = 0o600
_LOCK_WAIT = 30.0  # seconds; another command may be proving its own edit
_TURN = 120.0  # seconds; another command may be proving the registry through a slow engine
_POLL = 0.05  # seconds between two questions; the registry answers from memory or in one bcrypt
WAIT = 10.0  # seconds until an edit has to be live; bcrypt of cost 12 takes 0.3 s a request


class UserExists(UsageError):
    """A user of this name is there already."""

    code = "user-exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"user {name!r} exists", fix=f"regsetup passwd {name} sets a new password")


class UserUnknown(UsageError):
    """No user of this name is there."""

    code = "user-unknown"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"there is no user {name!r}",
            cause=f"the users are {', '.join(known)}" if known else "there are no users",
            fix=f"regsetup users lists them; regsetup adduser {name} adds one",
        )


class UsersUnreadable(RegsetupError):
    """The htpasswd file is there and can't be read."""

    code = "users-unreadable"

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=error.strerror or str(error),
            fix="ask as the user who set the registry up, or with sudo"
            if isinstance(error, PermissionError)
            else None,
        )


class MalformedFile(RegsetupError):
    """A line keeps registry:2 from reading the file: it would go on with the users it read before."""

    code = "htpasswd-malformed"

    def __init__(self, path: Path, problem: Problem) -> None:
        super().__init__(
            f"{path} line {problem.line}: {problem.reason}; nothing was changed",
            cause="registry:2 reads no file with such a line and keeps serving the users it read before",
            fix=f"mend or delete the line: sed -n {problem.line}p {path}",
        )


class NotProven(RegsetupError):
    """The file is changed, and the running registry does not follow."""

    code = "user-not-proven"

    def __init__(self, name: str, wanted: str, cause: str) -> None:
        super().__init__(
            f"the file is changed, but it is not proven that {name!r} {wanted}",
            cause=cause,
            fix="look at the registry's log (regsetup logs); a restart makes it read the file",
        )


def stays() -> None:
    """Carry the file nowhere: the registry reads it where it is."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What was done for a user, and whether the running registry has shown that it follows."""

    user: str
    proven: bool
    detail: str


def read(path: Path) -> Htpasswd:
    """Return the users file as a value; a missing one is empty.

    Raises:
        UsersUnreadable: no rights, or it is no file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Htpasswd()
    except OSError as error:
        raise UsersUnreadable(path, error) from error
    return Htpasswd.parse(content.decode(errors="surrogateescape"))


def add(
    path: Path,
    name: str,
    password: Secret,
    cost: Cost,
    endpoint: Endpoint | None,
    *,
    wait: float = WAIT,
    carry: Carry = stays,
) -> Edited:
    """Add a user and see the new password enter.

    Args:
        path: the htpasswd file.
        name: the user.
        password: checked and hashed with ``cost``.
        cost: see ``Cost``.
        endpoint: where the registry runs; None where it does not, then nothing is proven.
        wait: seconds until the registry has to follow.
        carry: brings the changed file to a registry on another machine; if it fails, nothing is changed.

    Raises:
        UserExists, BadUserName, BadPassword, UsersUnreadable, MalformedFile, Locked, CannotWrite:
            nothing was changed.
        NotProven: the user is in the file, and the running registry does not let them in.
    """
    hashed = hash_password(password, cost)
    check_name(name)
    with _editing(path) as before:
        if name in before.users:
            raise UserExists(name)
        _write(path, before.with_user(name, hashed), carry)
        return _see(endpoint, Credentials(name, password), "enters with the new password", 200, wait)


def change(
    path: Path,
    name: str,
    password: Secret,
    cost: Cost,
    endpoint: Endpoint | None,
    *,
    old: Secret | None = None,
    wait: float = WAIT,
    carry: Carry = stays,
) -> Edited:
    """Give a user another password, see it enter and, where it is known, see the ``old`` one stay outside.

    Raises:
        UserUnknown, BadPassword, UsersUnreadable, MalformedFile, Locked, CannotWrite: nothing was changed.
        NotProven: the file has the new password, and the running registry does not follow.
    """
    hashed = hash_password(password, cost)
    with _editing(path) as before:
        _require(before, name)
        _write(path, before.with_user(name, hashed), carry)
        seen = _see(endpoint, Credentials(name, password), "enters with the new password", 200, wait)
        if old is None or old == password or not seen.proven:
            return seen
        outside = _see(endpoint, Credentials(name, old), "stays outside with the old password", 401, wait)
        return replace(outside, detail=f"{seen.detail}; {outside.detail}")


def remove(
    path: Path, name: str, endpoint: Endpoint | None, *, wait: float = WAIT, carry: Carry = stays
) -> Edited:
    """Remove a user and see them stay outside, though nobody knows their password.

    The user first gets a random password, which has to enter: the file is live and the old password dead.
    Then the line goes, and the same password has to stay outside.

    Raises:
        UserUnknown, UsersUnreadable, MalformedFile, Locked, CannotWrite: nothing was changed.
        NotProven: the user is out of the file, and the running registry does not follow.
    """
    with _editing(path) as before:
        _require(before, name)
        stand_in = Credentials(name, generate_password())
        try:
            _write(path, before.with_user(name, hash_password(stand_in.password, Cost.FAST)), carry)
            seen = _see(endpoint, stand_in, "is read from the changed file", 200, wait)
        finally:
            _write(path, before.without_user(name), carry)
        return _see(endpoint, stand_in, "stays outside", 401, wait) if seen.proven else seen


@contextmanager
def temporary(path: Path, name: str, *, turn: float = _TURN, carry: Carry = stays) -> Iterator[Credentials]:
    """Have a user with a random password for the block; a line that a killed process left is replaced.

    Two such blocks of one name at once wait for each other, ``turn`` seconds at most, or the first would end
    the second's user.

    Raises:
        UsersUnreadable, MalformedFile, Locked, CannotWrite: nothing was changed.
    """
    credentials = Credentials(name, generate_password())
    with locked(path.with_name(f".{path.name}.{name}.lock"), timeout=turn):
        with _editing(path) as before:
            _write(path, before.with_user(name, hash_password(credentials.password, Cost.FAST)), carry)
        try:
            yield credentials
        finally:
            with locked(_lock(path), timeout=_LOCK_WAIT):
                _write(path, read(path).without_user(name), carry)


@contextmanager
def _editing(path: Path) -> Iterator[Htpasswd]:
    """Hold the lock and give the file as it is, if the registry can read it."""
    with locked(_lock(path), timeout=_LOCK_WAIT):
        before = read(path)
        for problem in before.problems:
            if problem.stops_reload:
                raise MalformedFile(path, problem)
        yield before


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _require(users: Htpasswd, name: str) -> None:
    if name not in users.users:
        raise UserUnknown(name, users.users)


def _write(path: Path, users: Htpasswd, carry: Carry) -> None:
    """Replace the file and carry it to where the registry reads it; if that fails the old one is back."""
    before = path.read_bytes() if path.exists() else None
    _replace(path, str(users).encode(errors="surrogateescape"))
    try:
        carry()
    except RegsetupError:
        if before is None:
            path.unlink()
        else:
            _replace(path, before)
        raise


def _replace(path: Path, content: bytes) -> None:
    """Write the file, at a later modification time than before.

    File systems keep time in ticks of 4 ms (CONFIG_HZ=250): an edit in the tick of the one before would look
    to the registry as if nothing had changed. So would one at a time that a clock which was set back meets
    again.
    """
    before = None
    with suppress(FileNotFoundError):
        before = path.stat()
    write_atomic(path, content, mode=MODE)
    after = path.stat()
    if before and after.st_mtime_ns <= before.st_mtime_ns:
        os.utime(path, ns=(after.st_atime_ns, before.st_mtime_ns + 1_000_000))


def _see(endpoint: Endpoint | None, who: Credentials, what: str, wanted: int, wait: float) -> Edited:
    """Ask the registry as ``who`` until it answers ``wanted``."""
    if endpoint is None:
        return Edited(who.user, proven=False, detail="not proven: the registry does not run")
    started = time.monotonic()
    try:
        with RegistryClient(replace(endpoint, credentials=None)) as client:
            if client.ping().status != 401:
                raise NotProven(who.user, what, "the registry asks nobody for a password")
        with RegistryClient(replace(endpoint, credentials=who)) as client:
            while (status := client.ping().status) != wanted:
                if time.monotonic() - started > wait:
                    raise NotProven(who.user, what, f"after {wait:g} s it still answers {status}")
                time.sleep(_POLL)
    except Unreachable as error:
        return Edited(who.user, proven=False, detail=f"not proven: {error.message}")
    except RegistryError as error:
        raise NotProven(who.user, what, error.message) from error
    took = time.monotonic() - started
    return Edited(who.user, proven=True, detail=f"{who.user} {what}: {wanted} after {took:.2f} s")
