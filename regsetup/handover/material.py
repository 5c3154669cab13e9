"""What the rendered files refer to: ``http.secret``, users and certificates.

A registry that ``up`` made has them, and they are used where they lie. Otherwise they are made in the
directory that is written to, which is then what ``REGSETUP_HOME/NAME`` is to ``up``; a second run keeps them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regsetup import users
from regsetup.auth.htpasswd import hash_password
from regsetup.certify import install, why_install
from regsetup.deployment import Directory, Tls
from regsetup.errors import UsageError
from regsetup.handover.files import File, make_directory
from regsetup.load import DEFAULT_USER
from regsetup.observe import SECRET_BYTES, read_http_secret
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from regsetup.auth.htpasswd import Htpasswd, Password
    from regsetup.deployment import Deployment, Paths

    Passwords = Callable[[tuple[str, ...]], Mapping[str, Password]]


class NeedsDirectory(UsageError):
    """More than one file must be written, and no directory was named."""

    code = "needs-directory"

    def __init__(self, kind: str, missing: str) -> None:
        super().__init__(
            f"render {kind} needs a directory to write to",
            cause=f"beside the file itself it must make {missing}",
            fix=f"regsetup render {kind} -o DIR",
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie.

    Attributes:
        standing: the registry that ``up`` made under this name, None where there is none.
        out: what is written to, None for standard output.
        htpasswd: users to take over, None to use or make the registry's own.
    """

    kind: str
    standing: Paths | None
    out: Paths | None
    htpasswd: Path | None = None

    def make(self, what: str) -> Paths:
        """Return where ``what`` can be made.

        Raises:
            NeedsDirectory: nowhere.
        """
        if self.out is None:
            raise NeedsDirectory(self.kind, what)
        return self.out


@dataclass(frozen=True, slots=True)
class Users:
    """The users' file: its content, where it lies or will lie, and who is new in it."""

    htpasswd: Htpasswd
    path: Path
    passwords: Mapping[str, Password] = field(default_factory=dict)
    files: tuple[File, ...] = ()


def http_secret(places: Places) -> tuple[Secret, tuple[File, ...]]:
    """Return the registry's, or a new one with the file that keeps it.

    Raises:
        NeedsDirectory: it must be made.
    """
    for paths in (places.standing, places.out):
        if paths is not None and (found := read_http_secret(paths)):
            return found, ()
    made = Secret(secrets.token_hex(SECRET_BYTES))
    return made, (File(places.make("http.secret").http_secret, made.reveal() + "\n"),)


def take_users(wanted: Deployment, places: Places, ask: Passwords) -> Users:
    """Return who may enter: the registry's own users, those of a file, or new ones.

    Raises:
        NeedsDirectory: a file must be made.
        UserUnknown: the registry stands, and has no such user.
        MalformedFile, UsersUnreadable: the file that was given is none that the registry would read.
    """
    if places.standing and places.standing.htpasswd.exists() and places.htpasswd is None:
        found = users.read(places.standing.htpasswd)
        for name in wanted.users:
            if name not in found.users:
                raise users.UserUnknown(name, found.users)
        return Users(found, places.standing.htpasswd)
    path = places.make("auth/htpasswd").htpasswd
    before = users.read(path) if places.htpasswd is None else _given(places.htpasswd)
    missing = [name for name in wanted.users if name not in before.users]
    if not before.users and not wanted.users:
        missing = [DEFAULT_USER]
    passwords = ask(tuple(missing))
    after = before
    for name, password in passwords.items():
        after = after.with_user(name, hash_password(password.secret, password.cost))
    file = File(path, str(after), users.MODE, grows=places.htpasswd is None)
    return Users(after, path, passwords, (file,))


def _given(path: Path) -> Htpasswd:
    try:
        path.stat()
    except OSError as error:
        raise users.UsersUnreadable(path, error) from error
    found = users.read(path)
    for problem in found.problems:
        if problem.stops_reload:
            raise users.MalformedFile(path, problem)
    return found


def take_certificates(wanted: Deployment, places: Places, more_hosts: tuple[str, ...]) -> Path:
    """Return the directory of a certificate that is good for ``wanted``; one is made where none is.

    A new one of regsetup's own CA is for ``more_hosts``, too.

    Raises:
        NeedsDirectory: it must be made.
        CertificateError: the pair of ``--cert`` and ``--key`` would be refused by clients.
    """
    for paths in (places.standing, places.out):
        if paths is not None and why_install(wanted, paths) is None:
            return paths.certs
    out = places.make("a certificate")
    make_directory(out.root)
    if wanted.tls is Tls.SELF_SIGNED:
        wanted = replace(wanted, hosts=(*wanted.hosts, *more_hosts))
    install(wanted, out).forget_previous()
    return out.certs


def stored_below(wanted: Deployment, places: Places, *, told: bool) -> Deployment:
    """Return ``wanted`` with its images beside the rendered files, unless it stands or was ``told`` where."""
    if told or places.standing or places.out is None:
        return wanted
    return replace(wanted, storage=Directory(places.out.data))
