"""Where passwords come from: standard input, a file, a prompt, or made up; never the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError, UsageError
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regsetup.auth.htpasswd import Password

_FILE_LIMIT = 1 << 20  # bytes; a password file is a few lines


class UserMissing(UsageError):
    """A password was given, and no user."""

    code = "user-missing"

    def __init__(self) -> None:
        super().__init__("a password is given, but nobody's", fix="name the user: --user USER")


class PasswordMissing(UsageError):
    """Fewer passwords were given than users need one."""

    code = "password-missing"

    def __init__(self, origin: str, user: str) -> None:
        super().__init__(
            f"{origin} has no password for {user}",
            cause="it is read one password a line, in the order of the users",
            fix=f"printf '%s\\n' PASSWORD | regsetup ... {origin}"
            if origin == "--password-stdin"
            else f"add a line to {origin}",
        )


class PasswordsDiffer(UsageError):
    """The password was not typed the same twice."""

    code = "passwords-differ"

    def __init__(self, user: str) -> None:
        super().__init__(f"the two passwords for {user} are not the same", fix="try again")


class PasswordFileUnreadable(RegsetupError):
    """``--password-file`` can't be read."""

    code = "password-file-unreadable"

    def __init__(self, path: Path, error: OSError | UnicodeDecodeError) -> None:
        text = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 text: {error.reason}"
        super().__init__(
            f"{path} can't be read",
            cause=text,
            fix=f"ls -ld {path}; it has to be a file of UTF-8 text, a password a line",
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What the flags say of passwords."""

    stdin: bool = False
    file: Path | None = None
    generate: bool = False

    def refuse_if_given(self) -> None:
        """Hold if no password is given, where nobody is to have one.

        Raises:
            UserMissing: it would count for nothing.
        """
        if self.stdin or self.file:
            raise UserMissing

    def take(self, users: tuple[str, ...]) -> Mapping[str, Password]:
        """Return a checked password for each user.

        Chosen passwords are hashed at the standard cost; made-up ones have 128 bits or more, so a quick
        hash is as safe and spares every request of the registry the wait.

        Raises:
            PasswordMissing, PasswordsDiffer, BadPassword, PasswordFileUnreadable.
        """
        from regsetup.auth.htpasswd import Cost, Password, check_password, generate_password

        taken = {}
        lines = self._lines() if users else None
        for position, user in enumerate(users):
            secret = self._next(lines, position, user)
            if secret is None:
                taken[user] = Password(generate_password(), Cost.FAST, generated=True)
            else:
                taken[user] = Password(check_password(secret), Cost.STANDARD, generated=False)
        return taken

    def known(self, user: str) -> Secret:
        """Return the password that a user has already: read, or on a terminal asked for once.

        Raises:
            PasswordMissing, PasswordFileUnreadable.
        """
        lines = self._lines()
        if lines is None and sys.stdin.isatty():
            import getpass

            return Secret(getpass.getpass(f"Password for {user}: "))
        if not lines:
            raise PasswordMissing(str(self.file) if self.file else "--password-stdin", user)
        return Secret(lines[0])

    @property
    def generates(self) -> bool:
        """Whether passwords are made up, not asked for."""
        return self.generate or not (self.stdin or self.file or sys.stdin.isatty())

    def _next(self, lines: list[str] | None, position: int, user: str) -> Secret | None:
        if lines is None:
            return None if self.generates else _prompt(user)
        if position >= len(lines):
            raise PasswordMissing("--password-stdin" if self.stdin else str(self.file), user)
        return Secret(lines[position])

    def _lines(self) -> list[str] | None:
        if self.stdin and self.file:
            raise UsageError(
                "--password-stdin and --password-file exclude each other", fix="leave one of them out"
            )
        if self.stdin:
            return sys.stdin.read(_FILE_LIMIT).splitlines()
        if self.file is None:
            return None
        try:
            return self.file.read_text(encoding="utf-8")[:_FILE_LIMIT].splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PasswordFileUnreadable(self.file, error) from error


def _prompt(user: str) -> Secret | None:
    """Ask twice; nothing typed means that a password shall be made up."""
    import getpass

    first = getpass.getpass(f"Password for {user} (empty: make one up): ")
    if not first:
        return None
    if getpass.getpass("Again: ") != first:
        raise PasswordsDiffer(user)
    return Secret(first)
