"""Platforms: ``os/architecture[/variant]``, and which image of an index fits one.

OCI image-spec 1.1, "Image Index" (``platform``) and its table of variants; other names of architectures as
containerd's ``platforms`` package takes them.
"""

from __future__ import annotations

import platform as machine
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from regsetup.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_FORM = "write it as os/architecture[/variant], such as linux/amd64 or linux/arm/v7"
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv8l": ("arm", "v7"),  # uname of 32-bit programs on a 64-bit processor
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
_IMPLIED = {"amd64": "v1", "arm": "v7", "arm64": "v8"}  # the variant of an architecture that names none
_SPELLED = frozenset({"arm"})  # and is written all the same: linux/arm/v7 (containerd, platforms.Normalize)
_VERSION = re.compile(r"v([0-9])")


class BadPlatform(UsageError):
    """``--platform`` is no os/architecture[/variant]."""

    code = "bad-platform"

    def __init__(self, text: str) -> None:
        super().__init__(f"not a platform: {text!r}", fix=_FORM)


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's names; ``variant`` is empty where the architecture has one only."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os/architecture[/variant]``; ``x86_64`` means amd64, ``arm/7`` means arm/v7.

        Raises:
            BadPlatform: another number of parts, or characters that none has.
        """
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
            raise BadPlatform(text)
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Self:
        """Make one in its only spelling: lower case, Go's names, no variant that goes without saying."""
        name, known = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), ""))
        variant = variant.lower() or known
        if variant.isascii() and variant.isdigit():
            variant = f"v{variant}"
        if name in _SPELLED:
            return cls(os.lower(), name, variant or _IMPLIED[name])
        return cls(os.lower(), name, "" if variant == _IMPLIED.get(name) else variant)

    @classmethod
    def read(cls, document: object) -> Self | None:
        """Read ``os``, ``architecture`` and ``variant`` of a JSON object, None where they are not there."""
        fields: Mapping[str, object] = document if isinstance(document, dict) else {}
        os, architecture = fields.get("os"), fields.get("architecture")
        if not isinstance(os, str) or not isinstance(architecture, str) or not os or not architecture:
            return None
        variant = fields.get("variant")
        return cls.of(os, architecture, variant if isinstance(variant, str) else "")

    @property
    def known(self) -> bool:
        """False for ``unknown/unknown``: what is no image of a platform, such as an attestation."""
        return "unknown" not in {self.os, self.architecture}

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def here() -> Platform:
    """Return what containers run as on this machine: Linux, wherever the engine is, on its processor."""
    return Platform.of("linux", machine.machine() or "amd64")


def fitness(wanted: Platform, offered: Platform | None) -> int | None:
    """Tell how well an image runs where ``wanted`` does: higher is better, None not at all.

    A processor runs what was built for earlier versions of it: arm/v7 runs v6, amd64/v3 runs amd64.
    """
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if offered.variant == wanted.variant:
        return 100
    have, want = _version(offered), _version(wanted)
    return have if have is not None and want is not None and have < want else None


def choose(wanted: Platform, offered: Sequence[Platform | None]) -> int | None:
    """Return the index of what fits best, the first of equals; None if nothing does."""
    fits = [(fit, -number) for number, one in enumerate(offered) if (fit := fitness(wanted, one)) is not None]
    return -max(fits)[1] if fits else None


def _version(platform: Platform) -> int | None:
    match = _VERSION.fullmatch(platform.variant or _IMPLIED.get(platform.architecture, ""))
    return int(match[1]) if match else None
