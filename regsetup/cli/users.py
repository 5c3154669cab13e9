"""``regsetup adduser``, ``passwd``, ``rmuser`` and ``users``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regsetup.cli import completion, options, render
from regsetup.cli.status import NoRegistry
from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from regsetup.auth.htpasswd import Password
    from regsetup.client import Endpoint
    from regsetup.deployment import Deployment, Paths
    from regsetup.users import Edited


class AuthIsOff(RegsetupError):
    """Users were asked for on a registry that was opened to everybody on purpose."""

    code = "auth-is-off"

    def __init__(self, name: str, user: str) -> None:
        super().__init__(
            f"{name} was set up with --no-auth: it asks nobody for a password",
            fix=f"regsetup up --name {name} --user {user} closes it",
        )


class CostName(StrEnum):
    """Names of the hash's cost, for the command line."""

    FAST = "fast"
    STANDARD = "standard"
    STRONG = "strong"


User = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]
KnownUser = Annotated[
    str, typer.Argument(metavar="USER", help="Name of the user.", autocompletion=completion.user)
]
Cost = Annotated[
    CostName | None,
    typer.Option(
        "--cost",
        metavar="fast|standard|strong",
        help="Cost of the hash, which registry:2 pays at every request: fast 5 ms, standard 80 ms, strong "
        "310 ms (default: fast for a made-up password, standard for a chosen one).",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    render.command(app, "adduser")(adduser)
    render.command(app, "passwd")(passwd)
    render.command(app, "rmuser")(rmuser)
    render.command(app, "users")(users)


def adduser(
    user: User,
    name: options.Name = "registry",
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    generate: options.Generate = False,
    cost: Cost = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Add a user, live at once without a restart, and prove that the new password enters.

    The first user closes a registry that was open to everybody; it is started anew for that.

    Example: regsetup adduser ci --generate
    """
    from regsetup import users as work
    from regsetup.auth.htpasswd import check_name
    from regsetup.backends.choice import users_carrier
    from regsetup.cli.passwords import Source

    check_name(user)
    paths, wanted, running = _find(name)
    source = Source(password_stdin, password_file, generate)
    if not wanted.auth:
        return _close(user, paths, source)
    if user in work.read(paths.htpasswd).users:
        raise work.UserExists(user)
    carry = users_carrier(wanted, paths)
    password = _password(source, user, cost)
    edited = work.add(paths.htpasswd, user, password.secret, password.cost, running, carry=carry)
    return _told("added", edited, password)


def passwd(
    user: KnownUser,
    name: options.Name = "registry",
    password_stdin: options.PasswordStdin = False,
    password_file: options.PasswordFile = None,
    generate: options.Generate = False,
    cost: Cost = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Give a user another password, live at once, and prove that it enters."""
    from regsetup import users as work
    from regsetup.backends.choice import users_carrier
    from regsetup.cli.passwords import Source

    paths, wanted, running = _find(name)
    known = work.read(paths.htpasswd).users
    if user not in known:
        raise work.UserUnknown(user, known)
    carry = users_carrier(wanted, paths)
    password = _password(Source(password_stdin, password_file, generate), user, cost)
    edited = work.change(paths.htpasswd, user, password.secret, password.cost, running, carry=carry)
    return _told("changed", _seen(edited, wanted), password)


def rmuser(
    user: KnownUser,
    name: options.Name = "registry",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> render.Outcome:
    """Remove a user, live at once, and prove that nobody enters under that name."""
    from regsetup import users as work
    from regsetup.backends.choice import users_carrier

    paths, wanted, running = _find(name)
    known = work.read(paths.htpasswd).users
    if user not in known:  # before a lock is made where there never was a user
        raise work.UserUnknown(user, known)
    edited = work.remove(paths.htpasswd, user, running, carry=users_carrier(wanted, paths))
    left = work.read(paths.htpasswd).users
    outcome = _told("removed", _seen(edited, wanted), None)
    warning = (
        ()
        if left or not wanted.auth
        else ("no user is left: nobody can push or pull until regsetup adduser",)
    )
    return render.Outcome(outcome.data, (*outcome.lines, *warning), changed=True)


def users(
    name: options.Name = "registry", as_json: options.AsJson = False, quiet: options.Quiet = False
) -> render.Outcome:
    """List the users, and lines of htpasswd that are not understood."""
    from regsetup import users as work

    paths, wanted, _ = _find(name)
    listed = work.read(paths.htpasswd)
    problems = [f"line {one.line}: {one.reason}" for one in listed.problems]
    data = {"name": name, "auth": wanted.auth, "users": list(listed.users), "problems": problems}
    nobody = "no users: " + ("nobody may enter" if wanted.auth else "everybody may push and pull")
    return render.Outcome(data, (*(listed.users or (nobody,)), *problems))


def _find(name: str) -> tuple[Paths, Deployment, Endpoint | None]:
    """Return the registry's files, what it is, and where it asks for passwords; None where it does not."""
    from regsetup.probe import answers, endpoint
    from regsetup.status import remembered

    paths = options.find_paths(name)
    if not paths.state.exists():
        raise NoRegistry(name)
    wanted = remembered(paths)
    where = endpoint(wanted, paths)
    return paths, wanted, where if wanted.auth and answers(where) else None


def _seen(edited: Edited, wanted: Deployment) -> Edited:
    """Say why nothing is proven by a registry that is open to everybody."""
    if wanted.auth:
        return edited
    return replace(edited, detail="not proven: the registry asks nobody for a password")


def _password(source: Any, user: str, cost: CostName | None) -> Password:
    from regsetup.auth import htpasswd

    password: Password = source.take((user,))[user]
    return replace(password, cost=htpasswd.Cost[cost.name]) if cost else password


def _told(verb: str, edited: Edited, password: Password | None) -> render.Outcome:
    data: dict[str, Any] = {"user": edited.user, "proven": edited.proven, "detail": edited.detail}
    lines = [f"{verb} {edited.user}  ({edited.detail})"]
    if password and password.generated:
        data["password"] = password.secret.reveal()
        lines.append(f"password {password.secret.reveal()} (shown once)")
    return render.Outcome(data, tuple(lines), changed=True)


def _close(user: str, paths: Paths, source: Any) -> render.Outcome:
    """Add the first user by way of ``up``: an open registry has to be started anew to ask for passwords."""
    from regsetup import deploy
    from regsetup.cli.progress import Steps
    from regsetup.cli.summary import finished
    from regsetup.load import load, remembers

    if remembers(paths, "auth"):
        raise AuthIsOff(paths.name, user)
    loaded = load({"name": paths.name, "user": [user]}, {}, None, paths.home, cwd=paths.root)
    with Steps() as reporter:
        done = deploy.deploy(loaded, paths, source.take, reporter)
    return finished(done, loaded, check=True)
