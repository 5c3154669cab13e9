"""Who may enter: Basic authentication (RFC 7617) against an htpasswd file that is read again when it changes.

bcrypt runs in threads of its own. A credential that was verified is remembered under a keyed hash, never
as text, for some minutes at most and not beyond a change of the file. Whoever is refused waits as long as the
slowest hash of the file takes, whether the user is unknown, the line broken, or the password wrong: hashes of
several costs stand in one file, since generated passwords need less.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regsetup.auth.htpasswd import Cost, Htpasswd, cost_of, verify_password
from regsetup.registry.context import CORES, in_thread
from regsetup.registry.errors import Unauthorized

if TYPE_CHECKING:
    from pathlib import Path

REMEMBERED = 300.0  # seconds
MAX_REMEMBERED = 1024  # credentials
SETTLED = 2_000_000_000  # nanoseconds; more than the clock of any file system takes from one tick to the next

log = logging.getLogger("regsetup.registry")


class Authenticator:
    """Checks credentials against one htpasswd file. For one event loop."""

    def __init__(self, path: Path, realm: str, remembered: float = REMEMBERED) -> None:
        self._path = path
        self._remembered = remembered
        self._challenge = {"WWW-Authenticate": f'Basic realm="{_quoted(realm)}"'}
        self._key = secrets.token_bytes(32)
        self._users: dict[str, str] = {}
        self._cost = Cost.STANDARD.value  # the highest of the file
        self._text: str | None = ""
        self._seen: tuple[int, int, int] | None = None  # what the file looked like; None: read it again
        self._verified: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._threads = ThreadPoolExecutor(max_workers=CORES, thread_name_prefix="bcrypt")
        self._refresh()

    def known(self, header: str | None) -> str | None:
        """Return the user whom an Authorization header proves, if it was checked before; None: ``check`` it.

        Raises:
            Unauthorized: there is no header.
        """
        self._refresh()
        if header is None:
            raise Unauthorized("authentication required", headers=self._challenge)
        known = self._verified.get(self._key_of(header))
        return known[0] if known is not None and known[1] > time.monotonic() else None

    async def check(self, header: str) -> str:
        """Return the user whom an Authorization header names and proves.

        Raises:
            Unauthorized: not Basic, no such user, or a wrong password.
        """
        user, password = _credentials(header) or ("", b"")
        users, most = self._users, self._cost
        hashed = users.get(user, "")
        if not await in_thread(self._threads, lambda: _proves(password, hashed, most)):
            raise Unauthorized("authentication required", headers=self._challenge)
        if users is self._users:
            self._remember(self._key_of(header), user)
        return user

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _key_of(self, header: str) -> bytes:
        return hashlib.blake2b(header.encode("utf-8", "surrogateescape"), key=self._key).digest()

    def _remember(self, key: bytes, user: str) -> None:
        self._verified[key] = (user, time.monotonic() + self._remembered)
        self._verified.move_to_end(key)
        if len(self._verified) > MAX_REMEMBERED:
            self._verified.popitem(last=False)

    def _refresh(self) -> None:
        """Read the file again if it may be another one; a missing or unreadable file lets nobody in.

        What was changed a moment ago is not relied on: it may change once more within one tick of the clock,
        and look the same, since all hashes have one length.
        """
        try:
            status = os.stat(self._path)  # noqa: PTH116 - at every request; a Path's stat costs twice
            seen = (status.st_ino, status.st_size, status.st_ctime_ns)
        except OSError:
            seen = (0, 0, 0)
        if seen == self._seen:
            return
        self._seen = seen if time.time_ns() - seen[2] > SETTLED else None
        try:
            text = self._path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            self._empty(error)
            return
        if text != self._text:
            self._text = text
            self._read(Htpasswd.parse(text))

    def _empty(self, error: OSError) -> None:
        """Let nobody in."""
        if self._text is not None:
            log.warning("htpasswd: %s: %s; nobody can log in", self._path, error.strerror)
        self._text = None
        self._users = {}
        self._verified.clear()

    def _read(self, htpasswd: Htpasswd) -> None:
        for problem in htpasswd.problems:
            log.warning("htpasswd: %s line %d: %s", self._path, problem.line, problem.reason)
        hashes = {user: htpasswd.hash_of(user) or "" for user in htpasswd.users}
        self._users = {user: hashed for user, hashed in hashes.items() if cost_of(hashed)}
        self._cost = max(map(cost_of, self._users.values()), default=Cost.STANDARD.value)
        self._verified.clear()
        log.info("htpasswd: %s: %d users", self._path, len(self._users))


def _proves(password: bytes, hashed: str, most: int) -> bool:
    """Verify a password; where it is not right, take as long as a hash of cost ``most``.

    A hash takes twice as long as one whose cost is one less: 2^c, and 2^c up to 2^(most-1), are 2^most.
    """
    if verify_password(password, hashed):
        return True
    cost = cost_of(hashed)
    for more in range(cost, most) if cost else [most]:
        verify_password(password, f"$2y${more:02}$" + "." * 53)
    return False


def _credentials(header: str) -> tuple[str, bytes] | None:
    """Return user and password of a Basic Authorization header; None if it is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode("utf-8", "surrogateescape"), password) if colon else None


def _quoted(text: str) -> str:
    """Escape for a quoted-string (RFC 9110 5.6.4)."""
    printable = "".join(mark for mark in text if mark.isprintable())
    return printable.replace("\\", "\\\\").replace('"', '\\"')
