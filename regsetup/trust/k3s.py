"""K3s (and RKE2): registries.yaml, read when the service starts.

https://docs.k3s.io/installation/private-registry. The file is edited as text, so that comments stay; what can
not be edited safely is refused, with the lines to add.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regsetup.errors import RegsetupError
from regsetup.trust.base import Client, Edit, Plan, read, unchanged, what_is_left

if TYPE_CHECKING:
    from regsetup.trust.base import Registry, Touched

ETC = Path("/etc/rancher/k3s")


class RegistriesYaml(RegsetupError):
    """registries.yaml has a form that can't be edited without risk; it stays as it is."""

    code = "registries-yaml"

    def __init__(self, path: Path, detail: str, block: str) -> None:
        super().__init__(f"{path} can't be edited", cause=detail, fix=f"add by hand:\n{block}")


class K3s(Client):
    """The k3s that reads ``directory``/registries.yaml."""

    name = "k3s"

    def __init__(self, directory: Path = ETC) -> None:
        self._directory = directory

    def detect(self) -> bool:
        """Tell whether k3s is installed."""
        return shutil.which("k3s") is not None or self._directory.exists()

    def plan(self, registry: Registry) -> Plan:
        """Plan the registry's lines in registries.yaml, and the CA in a file of its own.

        Raises:
            RegistriesYaml: the file is not block-style YAML, or knows the registry already.
        """
        path = self._directory / "registries.yaml"
        ca = self._directory / f"regsetup-{registry.slug}.crt"
        edits = [] if registry.ca is None else [Edit(ca, read(ca), registry.ca)]
        before = read(path)
        text = (before or b"").decode()
        after, added = merge(path, text, registry.address, sections(registry, ca))
        edits.append(Edit(path, before, after.encode(), added))
        return Plan(tuple(edits), notes=("k3s reads it when it starts: systemctl restart k3s",))

    def without_us(self, current: bytes | None, touched: Touched) -> bytes | None:
        """Return the file without our lines; a section that we opened goes only if nobody else uses it.

        Raises:
            CannotTakeBack: our lines are not there any more.
        """
        if current is None or touched.path.name != "registries.yaml" or unchanged(current, touched):
            return super().without_us(current, touched)
        lines = tuple(piece for piece in touched.added if piece.startswith(" "))
        text = (super().without_us(current, replace(touched, added=lines)) or b"").decode()
        for head in (piece for piece in touched.added if piece not in lines):
            if not _parse(touched.path, text, "").get(head.rstrip(":\n")):
                text = text.replace(head, "", 1)
        return what_is_left(text, touched)

    def inherited(self, heir: Touched, gone: Touched) -> tuple[str, ...]:
        """A section that we opened goes with the last registry in it."""
        heads = (piece for piece in gone.added if not piece.startswith(" ") and piece not in heir.added)
        return (*heir.added, *heads)


def sections(registry: Registry, ca: Path) -> dict[str, dict[str, object]]:
    """Return what stands for ``registry`` below each top-level key."""
    found: dict[str, dict[str, object]] = {"mirrors": {"endpoint": [registry.url]}}
    if registry.ca is not None:
        found["configs"] = {"tls": {"ca_file": str(ca)}}
    return found


def merge(
    path: Path, text: str, address: str, wanted: dict[str, dict[str, object]]
) -> tuple[str, tuple[str, ...]]:
    """Return the text with ``address`` in every section, and the pieces of it that are ours.

    Raises:
        RegistriesYaml: see ``K3s.plan``.
    """
    by_hand = "".join(f"{key}:\n{_piece(address, value, '  ')}" for key, value in wanted.items())
    document = _parse(path, text, by_hand)
    added: list[str] = []
    for key, value in wanted.items():
        section = document.get(key) or {}
        piece = _piece(address, value, _indent(text, key))
        if address in section and piece not in text:
            raise RegistriesYaml(path, f"regsetup did not write its settings for {address}", by_hand)
        if address not in section and key not in document:
            text, head = _append(text, key)
            added.append(head)
        if address not in section:
            text = _below(text, key, piece)
        added.append(piece)
        document[key] = {**section, address: value}
    if _parse(path, text, by_hand) != document:
        raise RegistriesYaml(path, "it is not written in block style", by_hand)
    return text, tuple(added)


def _parse(path: Path, text: str, by_hand: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RegistriesYaml(path, " ".join(str(error).split()), by_hand) from error
    if not isinstance(document, dict) or any(
        not isinstance(document.get(key) or {}, dict) for key in ("mirrors", "configs")
    ):
        raise RegistriesYaml(path, "it must be a mapping of mappings", by_hand)
    return document


def _piece(address: str, value: dict[str, object], indent: str) -> str:
    """Return the lines of one registry; JSON is YAML, and keeps each on one line."""
    return f'{indent}"{address}": {json.dumps(value)}\n'


def _indent(text: str, key: str) -> str:
    """Return the white space before the entries of a section, two spaces where it has none."""
    found = re.search(rf"^{key}:.*\n(?:[ \t]*(?:#.*)?\n)*( +)\S", text, re.MULTILINE)
    return found[1] if found else "  "


def _below(text: str, key: str, piece: str) -> str:
    """Put ``piece`` right below the line that opens its section; the same text if there is no such line."""
    head = re.search(rf"^{key}:[ \t]*(?:#.*)?\n", text, re.MULTILINE)
    return text[: head.end()] + piece + text[head.end() :] if head else text


def _append(text: str, key: str) -> tuple[str, str]:
    """Put a new section at the end; return the text, and the line that opens the section."""
    lead = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{lead}{key}:\n", f"{key}:\n"
