"""Flags, environment and YAML make one ``Deployment``; each value remembers where it came from.

Flags win over ``REGSETUP_*`` variables, these over the file (``-f``, or ``regsetup.yaml`` here), and the
file over the defaults. Without a file, what the last ``up`` was told stands in its place, so that ``up``
alone means the same again.
"""

from __future__ import annotations

import difflib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regsetup.auth.htpasswd import check_name
from regsetup.deployment import DEFAULT_NAME, Deployment, Directory, Paths, Tls, is_loopback
from regsetup.errors import RegsetupError, UsageError
from regsetup.settings import FIELDS, BadValue, Field
from regsetup.settings import path as read_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import yaml

DEFAULT_FILE = "regsetup.yaml"
DEFAULT_USER = "admin"  # created beyond loopback when nobody was named
_LAST_UP = "the last up"
# What is said now about the left one also takes back what the last `up` remembered of the right ones.
_OVERRULES = {
    "user": ("auth",),
    "insecure": ("tls", "cert", "key"),
    "tls": ("insecure", "cert", "key"),
    "cert": ("insecure", "tls"),
}
_HOME = Field("home", read_path)
_ALIASES = {field.plural: field.key for field in FIELDS.values() if field.plural}


class BadSetting(UsageError):
    """A value that its setting can't take; says where it was written and what is expected."""

    code = "bad-setting"

    def __init__(self, origin: str, text: str, expected: str) -> None:
        super().__init__(f"{origin}: {text!r} is not possible here", cause=f"expected {expected}")


class BadFile(UsageError):
    """``regsetup.yaml`` can't be read or has something in it that does not belong there."""

    code = "bad-file"


class Contradiction(UsageError):
    """Two settings that exclude each other."""

    code = "contradiction"


class NoHome(RegsetupError):
    """There is no directory in which regsetup could keep its files."""

    code = "no-home"


@dataclass(frozen=True, slots=True)
class Given:
    """Text as it was written, where, and the directory that relative paths start from."""

    texts: tuple[str, ...]
    origin: str
    base: Path


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
        home: Path = _value(_HOME, Given((environ["REGSETUP_HOME"],), "REGSETUP_HOME", Path.cwd()))
        return home
    if os.geteuid() == 0:
        return Path("/var/lib/regsetup")
    import platformdirs

    return platformdirs.user_data_path("regsetup")


def load(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None, home: Path, *, cwd: Path
) -> Loaded:
    """Make the deployment.

    Args:
        flags: key of the setting to its text, a sequence of texts, a Boolean, or None where not given.
        file: ``-f``; None looks for ``regsetup.yaml`` in ``cwd``.

    Raises:
        UsageError: BadSetting, BadFile, Contradiction or BadUserName; names the value and its place.
    """
    if file is None and (cwd / DEFAULT_FILE).is_file():
        file = cwd / DEFAULT_FILE
    given = from_file(file) if file else {}
    given |= from_environment(environ, cwd)
    given |= from_flags(flags, cwd)
    name = _value(FIELDS["name"], given.get("name")) or DEFAULT_NAME
    paths = Paths(home, str(name))
    if file is None and paths.deployment.is_file():
        given = _not_overruled(from_file(paths.deployment, origin=_LAST_UP), given) | given
    values = {key: _value(FIELDS[key], one) for key, one in given.items()}
    return Loaded(
        deployment=resolve(values | {"name": name}, paths),
        origins={key: one.origin for key, one in given.items()},
        wished=_to_remember(values),
    )


def _not_overruled(saved: Mapping[str, Given], given: Mapping[str, Given]) -> dict[str, Given]:
    meant = {left: one for left, one in given.items() if _value(FIELDS[left], one) is not False}
    gone = {right for left in meant for right in _OVERRULES.get(left, ())}
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
        origin = "--no-" + key if value is False else FIELDS[key].flag
        found[key] = Given(tuple(texts), origin, cwd)
    return found


def from_environment(environ: Mapping[str, str], cwd: Path) -> dict[str, Given]:
    """Take the ``REGSETUP_*`` variables that name a setting; an empty one counts as not set."""
    found = {}
    for field in FIELDS.values():
        text = environ.get(field.variable, "")
        if text:
            texts = [part.strip() for part in text.split(",")] if field.many else [text]
            found[field.key] = Given(tuple(part for part in texts if part), field.variable, cwd)
    if environ.get("REGSETUP_NO_AUTH"):
        given = Given((environ["REGSETUP_NO_AUTH"],), "REGSETUP_NO_AUTH", cwd)
        found["auth"] = _inverted(given)
    return found


def from_file(path: Path, origin: str | None = None) -> dict[str, Given]:
    """Read ``regsetup.yaml``: a mapping whose keys are the settings.

    Raises:
        BadFile: it can't be read or parsed, or a key is unknown; names key, line and column.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadFile(
            f"{path} can't be read", cause=error.strerror, fix="give a file with -f FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text", cause=str(error)) from error
    except yaml.YAMLError as error:
        raise _unparsable(path, error) from error
    except RecursionError as error:
        raise BadFile(f"{path} is nested too deep to be settings") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise BadFile(f"{path}:1: expected settings, one 'key: value' a line")
    found: dict[str, Given] = {}
    for key_node, value_node in root.value:
        key, given = _entry(path, key_node, value_node, origin)
        if key in found:
            raise BadFile(f"{_place(path, key_node)}: {key_node.value} stands twice")
        found[key] = given
    return found


def _entry(path: Path, key_node: yaml.Node, value_node: yaml.Node, origin: str | None) -> tuple[str, Given]:
    place = _place(path, key_node)
    if not isinstance(key_node.value, str):
        raise BadFile(f"{place}: a key is a word, not a list or a mapping")
    written = key_node.value
    key = written.replace("-", "_")
    key = _ALIASES.get(key, key)
    if key not in FIELDS and key != "no_auth":
        close = difflib.get_close_matches(key, [*FIELDS, *_ALIASES, "no_auth"], n=1)
        raise BadFile(
            f"{place}: unknown key {written!r}",
            fix=f"did you mean {close[0]!r}?" if close else "known keys: " + ", ".join(FIELDS),
        )
    texts = tuple(_texts(path, written, value_node, many=key != "no_auth" and FIELDS[key].many))
    given = Given(texts, origin or f"{place}: {written}", path.parent.absolute())
    return ("auth", _inverted(given)) if key == "no_auth" else (key, given)


def _texts(path: Path, key: str, node: yaml.Node, *, many: bool) -> Iterable[str]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:null":
            raise BadFile(f"{_place(path, node)}: {key} has no value")
        yield node.value
    elif many and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _texts(path, key, item, many=False)
    elif many and key == "env" and isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            for text in _texts(path, key, value, many=False):
                yield f"{name.value}={text}"
    else:
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        wanted = "a value or a list of values" if many else "one value"
        raise BadFile(f"{_place(path, node)}: {key} takes {wanted}, not {kind}")


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _unparsable(path: Path, error: yaml.YAMLError) -> BadFile:
    mark = getattr(error, "problem_mark", None)
    place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
    return BadFile(f"{place}: not YAML", cause=getattr(error, "problem", None) or str(error))


def _inverted(given: Given) -> Given:
    value = _value(FIELDS["auth"], given)
    return Given((str(not value),), given.origin, given.base)


def _value(field: Field, given: Given | None) -> Any:
    if given is None:
        return None
    values = []
    for text in given.texts:
        try:
            values.append(field.read(text, given.base))
        except BadValue as error:
            raise BadSetting(given.origin, text, str(error)) from None
    return tuple(dict.fromkeys(values)) if field.many else values[0]


def resolve(values: Mapping[str, Any], paths: Paths) -> Deployment:
    """Fill in what depends on other settings: storage, TLS, users, names.

    Beyond loopback the defaults are TLS and a user; on loopback, plain HTTP without users.
    """
    _contradictions(values)
    settings = {key: value for key, value in values.items() if value is not None and key in _DIRECT}
    users = tuple(check_name(name) for name in values.get("user") or ())
    local = is_loopback(values.get("bind", "127.0.0.1"))
    auth = values.get("auth")
    auth = (bool(users) or not local) if auth is None else auth
    return Deployment(
        **settings,
        storage=values.get("data") or Directory(paths.data),
        hosts=values.get("host") or (() if local else (socket.gethostname(),)),
        users=users,
        auth=auth,
        tls=_tls(values, local=local),
        env=tuple(sorted(dict(values.get("env") or ()).items())),
    )


_DIRECT = FIELDS.keys() - {"data", "host", "user", "auth", "tls", "env"}


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
    if values.get("cert") and values.get("tls") in ("off", "self-signed"):
        raise Contradiction(
            f"--cert brings a certificate, and --tls {values['tls']} does without",
            fix="leave one of them out",
        )
    if values.get("user") and values.get("auth") is False:
        raise Contradiction("--user and --no-auth exclude each other", fix="leave one of them out")
    if values.get("insecure") and (values.get("cert") or values.get("tls") == "self-signed"):
        raise Contradiction(
            "--insecure means plain HTTP, and a certificate was asked for", fix="leave one of them out"
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
