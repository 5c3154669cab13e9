"""Flags, environment and YAML make one ``Deployment``; each value remembers where it came from.

Flags win over ``REGSETUP_*`` variables, these over the file (``-f``, or ``regsetup.yaml`` here), and the
file over the defaults. Without a file, what the last ``up`` was told stands in its place, so that ``up``
alone means the same again.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regsetup import acme
from regsetup.auth.htpasswd import check_name
from regsetup.deployment import (
    DEFAULT_NAME,
    Deployment,
    Directory,
    Paths,
    Storage,
    Tls,
    Volume,
    is_loopback,
)
from regsetup.errors import RegsetupError, UsageError
from regsetup.given import BadSetting, Given, inverted, read, refuse_misspelt
from regsetup.settings import FIELDS, Field
from regsetup.settings import path as read_path
from regsetup.settings_file import from_file

if TYPE_CHECKING:
    from collections.abc import Mapping


ANYWHERE = "0.0.0.0"  # noqa: S104  every address of a machine that is reached by network anyway
DEFAULT_FILE = "regsetup.yaml"
DEFAULT_USER = "admin"  # created beyond loopback when nobody was named
_LAST_UP = "the last up"
# What is said now about the left one also takes back what the last `up` remembered of the right ones.
_OVERRULES = {
    "user": ("auth",),
    "insecure": ("tls", "cert", "key", "acme_email"),
    "tls": ("insecure", "cert", "key", "acme_email"),
    "cert": ("insecure", "tls", "acme_email"),
}
_HOME = Field("home", read_path)


class Contradiction(UsageError):
    """Two settings that exclude each other."""

    code = "contradiction"


class OnlyThere(UsageError):
    """A setting that would keep a registry on another machine out of reach, or its images out of control."""

    code = "only-there"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The deployment; for each setting that was given, where; and what to remember for the next time."""

    deployment: Deployment
    origins: Mapping[str, str]
    wished: Mapping[str, object]


def find_home(environ: Mapping[str, str]) -> Path:
    """Return ``$REGSETUP_HOME``, else ``/var/lib/regsetup`` for root, the XDG data directory for others.

    Raises:
        BadSetting: ``$REGSETUP_HOME`` is no path.
    """
    if environ.get("REGSETUP_HOME"):
        home: Path = read(_HOME, Given((environ["REGSETUP_HOME"],), "REGSETUP_HOME", Path.cwd()))
        return home
    if os.geteuid() == 0:
        return Path("/var/lib/regsetup")
    import platformdirs

    return platformdirs.user_data_path("regsetup")


class RegistryOfAnother(RegsetupError):
    """The registry was set up by another user, who alone may read what is known of it."""

    code = "registry-of-another"

    def __init__(self, path: Path | str) -> None:
        home = os.environ.get("REGSETUP_HOME")  # sudo does not hand it on
        as_root = f"sudo REGSETUP_HOME={home} regsetup" if home else "sudo regsetup"
        super().__init__(
            f"this user may not read {path}",
            cause="the registry was set up by another user",
            fix=f"run it as that user, or as root: {as_root} ...",
        )


def insist_on_rights(paths: Paths) -> None:
    """Hold if this user may read what is known of a registry, or there is none.

    Raises:
        RegistryOfAnother: names what is closed.
        BadSetting: a file stands where ``REGSETUP_HOME`` is to be.
    """
    try:
        os.scandir(paths.home).close()
        paths.state.open("rb").close()
    except PermissionError as error:
        raise RegistryOfAnother(error.filename) from None
    except NotADirectoryError:
        raise BadSetting("REGSETUP_HOME", str(paths.home), "a directory, and a file is in its way") from None
    except OSError:  # not there; what else is wrong is told by who reads it
        return


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Path | None,
    home: Path,
    *,
    cwd: Path,
    defaults: Mapping[str, Given] | None = None,
) -> Loaded:
    """Make the deployment.

    Args:
        flags: key of the setting to its text, a sequence of texts, a Boolean, or None where not given.
        file: ``-f``; None looks for ``regsetup.yaml`` in ``cwd``.
        defaults: hold where nothing else says anything.

    Raises:
        UsageError: BadSetting, BadFile, Contradiction or BadUserName; names the value and its place.
        RegistryOfAnother: this user may not read what the last run was told.
    """
    if file is None and (cwd / DEFAULT_FILE).is_file():
        file = cwd / DEFAULT_FILE
    given = from_file(file) if file else {}
    given |= from_environment(environ, cwd)
    given |= from_flags(flags, cwd)
    name = read(FIELDS["name"], given.get("name")) or DEFAULT_NAME
    paths = Paths(home, str(name))
    insist_on_rights(paths)
    if file is None and paths.deployment.is_file():
        given = _not_overruled(from_file(paths.deployment, origin=_LAST_UP), given) | given
    given = {**(defaults or {}), **given}
    values = {key: read(FIELDS[key], one) for key, one in given.items()}
    return Loaded(
        deployment=resolve(values | {"name": name}, paths),
        origins={key: one.origin for key, one in given.items()},
        wished=_to_remember(values),
    )


def _not_overruled(saved: Mapping[str, Given], given: Mapping[str, Given]) -> dict[str, Given]:
    meant = {left: one for left, one in given.items() if read(FIELDS[left], one) is not False}
    gone = {right for left in meant for right in _OVERRULES.get(left, ())}
    if "tls" in meant and meant["tls"].texts == (Tls.ACME,):
        gone.discard("acme_email")
    return {key: one for key, one in saved.items() if key not in gone}


def remembers(paths: Paths, key: str) -> bool:
    """Tell whether the last ``up`` was told this setting explicitly."""
    return paths.deployment.is_file() and key in from_file(paths.deployment, origin=_LAST_UP)


def from_flags(flags: Mapping[str, object], cwd: Path) -> dict[str, Given]:
    """Take the flags that were given."""
    found = {}
    for key, value in flags.items():
        if value is None or value == []:
            continue
        texts = [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
        origin = "--no-" + key.replace("_", "-") if value is False else FIELDS[key].flag
        found[key] = Given(tuple(texts), origin, cwd)
    return found


def from_environment(environ: Mapping[str, str], cwd: Path) -> dict[str, Given]:
    """Take the ``REGSETUP_*`` variables that name a setting; an empty one counts as not set.

    Raises:
        BadSetting, UnknownVariable: one names no value, or almost a setting.
    """
    refuse_misspelt(environ)
    found = {}
    for field in FIELDS.values():
        text = environ.get(field.variable, "")
        if text:
            texts = [part.strip() for part in text.split(",")] if field.many else [text]
            found[field.key] = Given(tuple(part for part in texts if part), field.variable, cwd)
    if environ.get("REGSETUP_NO_AUTH"):
        given = Given((environ["REGSETUP_NO_AUTH"],), "REGSETUP_NO_AUTH", cwd)
        found["auth"] = inverted(given)
    return found


def resolve(values: Mapping[str, Any], paths: Paths) -> Deployment:
    """Fill in what depends on other settings: storage, TLS, users, names.

    Beyond loopback the defaults are TLS and a user; on loopback, plain HTTP without users. A registry on
    another machine is beyond loopback, and its images are in a volume. With ``--tls acme`` it is beyond
    loopback, and on the port where Let's Encrypt asks.
    """
    _contradictions(values)
    machine, is_acme = values.get("machine"), values.get("tls") == Tls.ACME
    settings = {key: value for key, value in values.items() if value is not None and key in _DIRECT}
    users = tuple(check_name(name) for name in values.get("user") or ())
    if is_acme:
        settings = {"port": acme.PORT} | settings
    bind = values.get("bind") or (ANYWHERE if machine or is_acme else "127.0.0.1")
    local = is_loopback(bind)
    auth = values.get("auth")
    auth = (bool(users) or not local) if auth is None else auth
    hosts = values.get("host") or (() if local else (machine or socket.gethostname(),))
    if is_acme:
        acme.require_public(hosts)
    return Deployment(
        **settings,
        bind=bind,
        storage=values.get("data") or _storage(paths, machine),
        hosts=hosts,
        users=users,
        auth=auth,
        tls=_tls(values, local=local),
        env=tuple(sorted(dict(values.get("env") or ()).items())),
    )


def _storage(paths: Paths, machine: str | None) -> Storage:
    return Volume(f"{paths.name}.regsetup-data") if machine else Directory(paths.data)


_DIRECT = FIELDS.keys() - {"bind", "data", "host", "user", "auth", "tls", "env"}


def _tls(values: Mapping[str, Any], *, local: bool) -> Tls:
    if values.get("cert"):
        return Tls.OWN
    wanted = values.get("tls") or "auto"
    if wanted == "auto":
        return Tls.OFF if local or values.get("insecure") else Tls.SELF_SIGNED
    return Tls(wanted)


def _contradictions(values: Mapping[str, Any]) -> None:
    if bool(values.get("cert")) != bool(values.get("key")):
        raise Contradiction("--cert and --key belong together", fix="give both, or neither")
    if values.get("acme_email") and values.get("tls") != Tls.ACME:
        raise Contradiction("--acme-email is for --tls acme", fix="give both, or neither")
    if values.get("cert") and values.get("tls") in ("off", "self-signed", "acme"):
        raise Contradiction(
            f"--cert brings a certificate, and --tls {values['tls']} does without",
            fix="leave one of them out",
        )
    if values.get("bundle") and values.get("image_archive"):
        raise Contradiction("--bundle and --image-archive both bring an image", fix="leave one of them out")
    if values.get("user") and values.get("auth") is False:
        raise Contradiction("--user and --no-auth exclude each other", fix="leave one of them out")
    if values.get("machine"):
        _reachable(values["machine"], values)
    if values.get("insecure") and (values.get("cert") or values.get("tls") in ("self-signed", "acme")):
        raise Contradiction(
            "--insecure means plain HTTP, and a certificate was asked for", fix="leave one of them out"
        )


def _reachable(machine: str, values: Mapping[str, Any]) -> None:
    if isinstance(values.get("data"), Directory):
        raise OnlyThere(
            f"--data {values['data']} is a directory, and the engine is on {machine}",
            cause="what lies there is not for this machine to check, measure or delete",
            fix="--data volume:NAME; a volume can lead to a directory there: docker volume create --opt "
            f"type=none --opt o=bind --opt device={values['data']} NAME",
        )
    if values.get("bind") and is_loopback(values["bind"]):
        raise OnlyThere(
            f"--bind {values['bind']} is the loopback of {machine}, which can't be reached from here",
            fix="leave --bind out: TLS and a user are the default then; or run regsetup on that machine",
        )


def _to_remember(values: Mapping[str, Any]) -> dict[str, object]:
    """Return what ``deployment.yaml`` keeps: every setting given, ``users`` not, for these can be removed."""
    kept: dict[str, object] = {}
    for key, value in values.items():
        if key == "env":
            kept[key] = [f"{name}={text}" for name, text in value]
        elif FIELDS[key].saved:
            kept[key] = [str(one) for one in value] if FIELDS[key].many else _plain(value)
    if values.get("user"):
        kept["auth"] = True
    return kept


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int) else str(value)
