"""Files of credentials as text: Docker's config.json and the auth.json of podman, skopeo and buildah.

Text in, values and text out; no files. Docker: https://docs.docker.com/reference/cli/docker/login/; podman:
containers-auth.json(5). What is not ours in a file stays; what can't be read is an error, never a guess.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regsetup.client.endpoint import IDENTITY, Credentials
from regsetup.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HUB = "https://index.docker.io/v1/"
"""Docker Hub's key in every file and helper, by whatever name it is reached (docker/cli, ``IndexServer``)."""
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_INDENT = re.compile(r"\{\r?\n([ \t]+)")


class Malformed(ValueError):
    """The text is not what Docker or podman write; says which part."""


@dataclass(frozen=True, slots=True)
class AuthFile:
    """What a file says.

    Attributes:
        auths: credentials by key: a host, a host with a namespace below it, or a URL.
        store: the suffix of the helper program that keeps all others; None for none.
        helpers: the suffix of the helper program by key.
    """

    auths: Mapping[str, Mapping[str, Any]]
    store: str | None
    helpers: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> AuthFile:
        """Read the text of a file; an empty one has no credentials.

        Raises:
            Malformed: no JSON, or of another shape.
        """
        document = _document(text)
        auths = _mapping(document, "auths")
        for key, entry in auths.items():
            if not isinstance(entry, dict):
                raise Malformed(f"auths: {key}: no JSON object")
        helpers = _mapping(document, "credHelpers")
        store = document.get("credsStore") or None
        programs = {f"credHelpers: {key}": helper for key, helper in helpers.items()}
        for where, helper in (programs | ({"credsStore": store} if store else {})).items():
            if not isinstance(helper, str) or (helper and not _HELPER.fullmatch(helper)):
                raise Malformed(f"{where}: {helper!r} is no name of a program")
        return cls(auths, store, helpers)

    def helper(self, address: str) -> str | None:
        """Return the suffix of the helper program that keeps what belongs to ``address``.

        An empty one below credHelpers stands for the file itself, whatever credsStore says
        (docker/cli, ``getConfiguredCredentialStore``).
        """
        named = (self.helpers[key] for key in _matching(self.helpers, address))
        return next(named, self.store)

    def credentials(self, address: str, repository: str = "") -> Credentials | None:
        """Return what stands in the file itself: for the longest namespace, else for the host.

        Raises:
            Malformed: the entry can't be read.
        """
        for key in _matching(self.auths, address, repository):
            found = _credentials(key, self.auths[key])
            if found:
                return found
        return None


def key_of(address: str) -> str:
    """Return the key under which Docker keeps what belongs to ``address``, ``host[:port]``."""
    return HUB if is_hub(address) else address


def is_hub(address: str) -> bool:
    """Tell whether ``address`` is Docker Hub."""
    return address.lower() in _HUB_NAMES


def with_entry(text: str, address: str, credentials: Credentials | None) -> str:
    """Return the text with an entry for ``address`` instead of those it had; all else stays.

    ``credentials`` None writes an empty entry, as Docker does where a helper keeps the password.

    Raises:
        Malformed: it can't be read, so it is not written.
    """
    document = _document(text)
    auths = dict(_mapping(document, "auths"))
    for key in _of_host(auths, address):
        del auths[key]
    auths[key_of(address)] = _entry(credentials) if credentials else {}
    return _text({**document, "auths": auths}, text)


def without_entry(text: str, address: str) -> str:
    """Return the text without entries for ``address``; the same text where there is none.

    Raises:
        Malformed: it can't be read, so it is not written.
    """
    document = _document(text)
    auths = dict(_mapping(document, "auths"))
    ours = _of_host(auths, address)
    if not ours:
        return text
    left = {key: entry for key, entry in auths.items() if key not in ours}
    return _text({**document, "auths": left}, text)


def _document(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Malformed("no JSON object")
    return document


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed(f"{key}: no JSON object")
    return value


def _host(key: str) -> str:
    """Return the host that a key names; a key with a namespace names none but itself.

    URLs stand for their host, whatever their path (containers/image, ``normalizeAuthFileKey``).
    """
    bare = re.sub(r"^https?://", "", key, flags=re.IGNORECASE)
    host = bare.partition("/")[0] if bare != key else bare
    return "docker.io" if is_hub(host) else host.lower()


def _of_host(keys: Mapping[str, object], address: str) -> list[str]:
    return [key for key in keys if _host(key) == _host(address)]


def _matching(keys: Mapping[str, object], address: str, repository: str = "") -> Iterator[str]:
    """Yield the keys that count for a repository, the most specific first; exact spelling before the rest."""
    parts = [part for part in repository.split("/") if part]
    for length in range(len(parts), 0, -1):
        wanted = "/".join([address, *parts[:length]])
        yield from (key for key in keys if key == wanted)
    yield from sorted(_of_host(keys, address), key=lambda key: key != key_of(address))


def _credentials(key: str, entry: Mapping[str, Any]) -> Credentials | None:
    """Read an entry: ``identitytoken`` before ``auth`` before ``username`` and ``password``."""
    if token := entry.get("identitytoken"):
        return Credentials(IDENTITY, Secret(_string(key, "identitytoken", token)))
    if pair := entry.get("auth"):
        try:
            decoded = base64.b64decode(_string(key, "auth", pair), validate=True).decode()
        except (binascii.Error, ValueError):
            raise Malformed(f"auths: {key}: auth is no Base64 of USER:PASSWORD") from None
        user, colon, password = decoded.partition(":")
        if not colon or not user:
            raise Malformed(f"auths: {key}: auth is no Base64 of USER:PASSWORD")
        return Credentials(user, Secret(password.strip("\0")))  # docker/cli, ``decodeAuth``
    if name := entry.get("username"):
        plain = _string(key, "password", entry.get("password", ""))
        return Credentials(_string(key, "username", name), Secret(plain))
    return None


def _string(key: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Malformed(f"auths: {key}: {name} is no string")
    return value


def _entry(credentials: Credentials) -> dict[str, str]:
    if credentials.user == IDENTITY:
        return {"identitytoken": credentials.password.reveal()}
    pair = f"{credentials.user}:{credentials.password.reveal()}".encode()
    return {"auth": base64.b64encode(pair).decode()}


def _text(document: Mapping[str, Any], before: str) -> str:
    """Write JSON as the file was indented before; Docker's own is a tab."""
    found = _INDENT.match(before.lstrip())
    return json.dumps(document, indent=found[1] if found else "\t", ensure_ascii=False) + "\n"
