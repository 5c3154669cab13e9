"""Users and their bcrypt hashes, in Apache's htpasswd form: text in, text out, no files.

Reads lines the way distribution 2.8 and 3.1 do (registry/auth/htpasswd/htpasswd.go): split at newlines,
blanks trimmed, ``#`` begins a comment, the first ``:`` ends the name, and the last line of a name wins.
Anything that is not a user stays where it is, byte for byte. Writes bcrypt only: the registry accepts nothing
else.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Self

from regsetup.errors import UsageError
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME = 255  # bytes; Apache's htpasswd.c (MAX_STRING_LEN - 1)
MAX_PASSWORD = 72  # bytes; bcrypt looks at no more (Provos and Mazieres, USENIX 1999)
MAX_LINE = 65536  # bytes with its newline; Go's bufio.MaxScanTokenSize, a longer line ends the reading
_GENERATED = 18  # random bytes, 144 bits: 24 characters of base64
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SALT_END = 28  # where the salt's last character stands; 2 of its 6 bits count
# What Go's strings.TrimSpace removes; Python's strip() also takes U+001C to U+001F.
_GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)


class BadUserName(UsageError):
    """A user name that htpasswd or Basic authentication (RFC 7617) can't carry."""

    code = "bad-user-name"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name!a} can't be a user name: {reason}",
            fix="choose a name of letters, digits and . _ - @",
        )


class BadPassword(UsageError):
    """A password that bcrypt or Basic authentication would cut short or refuse; never shows it."""

    code = "bad-password"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the password can't be used: {reason}",
            fix=f"choose one of 1 to {MAX_PASSWORD} bytes on one line, or have one generated",
        )


class Cost(Enum):
    """How much work one guess costs, as bcrypt's log2 of rounds. registry:2 pays it at every request."""

    FAST = 5
    """5 ms a request. For generated passwords: 144 random bits need no help against guessing."""
    STANDARD = 10
    """80 ms a request. For passwords that people choose; bcrypt's own and Go's default."""
    STRONG = 12
    """313 ms a request. For short passwords, or where the file may be read by others and pushes are rare."""


@dataclass(frozen=True, slots=True)
class Password:
    """A password that a user is about to get, and how it is hashed."""

    secret: Secret
    cost: Cost
    generated: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that does not say what its author meant.

    Attributes:
        line: 1-based.
        reason: what is wrong with it.
        stops_reload: registry:2 refuses the whole file and keeps serving the users it read before.
    """

    line: int
    reason: str
    stops_reload: bool = False


def check_name(name: str) -> str:
    """Return ``name`` if it can stand in an htpasswd file and in a Basic Authorization header.

    Raises:
        BadUserName: empty, too long, ``:``, a control character, blanks around it, or ``#`` in front.
    """
    if not name:
        raise BadUserName(name, "it is empty")
    if ":" in name:
        raise BadUserName(name, "':' ends the name in Basic authentication and in htpasswd")
    if any(unicodedata.category(mark) in {"Cc", "Cs"} for mark in name):
        raise BadUserName(name, "it has a control character or half a surrogate pair")
    if name.strip(_GO_SPACE) != name:
        raise BadUserName(name, "the registry trims blanks around a line, so it can't begin or end with one")
    if name.startswith("#"):
        raise BadUserName(name, "'#' at the beginning makes the line a comment")
    if len(name.encode()) > MAX_NAME:
        raise BadUserName(name[:20] + "...", f"it has more than {MAX_NAME} bytes")
    return name


def check_password(password: Secret) -> Secret:
    """Return ``password`` if every byte of it counts.

    Raises:
        BadPassword: empty, more than 72 bytes, not UTF-8, or with NUL, CR or newline.
    """
    text = password.reveal()
    if not text:
        raise BadPassword("it is empty")
    if any(mark in text for mark in "\0\r\n"):
        raise BadPassword("it has a NUL character or a line break")
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        # "from None": the encoder's error carries the password.
        raise BadPassword("it has a character that UTF-8 can't encode") from None
    if length > MAX_PASSWORD:
        raise BadPassword(f"it has {length} bytes and bcrypt looks at {MAX_PASSWORD} at most")
    return password


def generate_password() -> Secret:
    """Return 24 URL-safe characters with 144 random bits."""
    return Secret(secrets.token_urlsafe(_GENERATED))


def hash_password(password: Secret, cost: Cost) -> str:
    """Return a ``$2y$`` bcrypt hash, the prefix that Apache's htpasswd writes.

    Raises:
        BadPassword: see ``check_password``.
    """
    import bcrypt

    secret = check_password(password).reveal().encode()
    return "$2y$" + bcrypt.hashpw(secret, bcrypt.gensalt(cost.value)).decode().removeprefix("$2b$")


def verify_password(password: bytes, hashed: str) -> bool:
    """Tell whether ``password`` has this hash; False for what is no bcrypt hash.

    Looks at the first 72 bytes, as registry:2 and ``htpasswd -B`` do. Takes as long as the hash's cost says.
    """
    import bcrypt

    if not _BCRYPT.fullmatch(hashed):
        return False
    last = _ALPHABET[_ALPHABET.index(hashed[_SALT_END]) & 0b110000]  # Go takes any; bcrypt.checkpw raises
    same = hashed[:_SALT_END] + last + hashed[_SALT_END + 1 :]
    return bcrypt.checkpw(password[:MAX_PASSWORD], same.encode())


def cost_of(hashed: str) -> int:
    """Return the cost of a bcrypt hash, 4 to 31; 0 for what is none."""
    match = _BCRYPT.fullmatch(hashed)
    return int(match[1]) if match else 0


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """An htpasswd file as a value: every line in its order, users and others."""

    lines: tuple[str, ...] = ("",)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any text; what is wrong with it is in ``problems``."""
        return cls(tuple(text.split("\n")))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def users(self) -> tuple[str, ...]:
        """The names, once each, in the order of the file."""
        return tuple(dict.fromkeys(name for _, name, _ in self._entries()))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, line by line."""
        found = []
        seen: set[str] = set()
        for number, line in enumerate(self.lines, 1):
            problem = _problem(number, line, seen)
            if problem:
                found.append(problem)
        return tuple(found)

    def hash_of(self, name: str) -> str | None:
        """Return the hash that counts for ``name``, the last one in the file."""
        return {user: hashed for _, user, hashed in self._entries()}.get(name)

    def with_user(self, name: str, hashed: str) -> Self:
        """Return the file with this user: in place where ``name`` stands already, else at the end.

        Raises:
            BadUserName: see ``check_name``.
            ValueError: ``hashed`` is not a bcrypt hash.
        """
        if not _BCRYPT.fullmatch(hashed):
            raise ValueError("not a bcrypt hash")
        entry = f"{check_name(name)}:{hashed}"
        mine = [index for index, user, _ in self._entries() if user == name]
        if mine:
            kept = [line for index, line in enumerate(self.lines) if index not in mine[1:]]
            kept[mine[0]] = entry
            return type(self)(tuple(kept))
        if self.lines[-1]:
            return type(self)((*self.lines, entry, ""))
        return type(self)((*self.lines[:-1], entry, ""))

    def without_user(self, name: str) -> Self:
        """Return the file without any line of ``name``; the same value where there is none."""
        mine = {index for index, user, _ in self._entries() if user == name}
        kept = tuple(line for index, line in enumerate(self.lines) if index not in mine)
        return type(self)(kept or ("",))

    def _entries(self) -> Iterator[tuple[int, str, str]]:
        """Yield index, name and hash of every line that names a user."""
        for index, line in enumerate(self.lines):
            name, colon, hashed = line.strip(_GO_SPACE).partition(":")
            if colon and name and not name.startswith("#"):
                yield index, name, hashed


def _problem(number: int, line: str, seen: set[str]) -> Problem | None:
    """Say what is wrong with one line; ``seen`` collects the names before it."""
    if len(line.encode(errors="surrogatepass")) >= MAX_LINE:
        return Problem(number, f"longer than {MAX_LINE} bytes", stops_reload=True)
    name, colon, hashed = line.strip(_GO_SPACE).partition(":")
    if not (name or colon) or name.startswith("#"):
        return None
    if not colon:
        return Problem(number, "no ':' between name and hash", stops_reload=True)
    if not name:
        return Problem(number, "no name before the ':'")
    if name in seen:
        return Problem(number, f"{name!r} stands above already; the last line counts")
    seen.add(name)
    if not _BCRYPT.fullmatch(hashed):
        return Problem(number, f"{name!r} has no bcrypt hash, so nobody can log in by this name")
    return None
