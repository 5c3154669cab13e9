"""Platforms: ``os[(version)]/architecture[/variant]``, and which image of an index fits one.

OCI image-spec 1.1, "Image Index" (``platform``) and its table of variants; other names of architectures, and
versions of Windows in parentheses, as containerd's ``platforms`` package takes them.
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
_OS = re.compile(r"([A-Za-z0-9_.-]+)(?:\(([A-Za-z0-9_.-]+)\))?")
_FORM = (
    "write it as os/architecture[/variant], such as linux/amd64, linux/arm/v7 or windows(10.0.20348)/amd64"
)
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
    """What an image runs on, in Go's names.

    Attributes:
        variant: empty where the architecture has one only.
        version: of the system, such as ``10.0.20348.2700``; images for Windows have one.
    """

    os: str
    architecture: str
    variant: str = ""
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os/architecture[/variant]``; ``x86_64`` means amd64, ``arm/7`` means arm/v7.

        Raises:
            BadPlatform: another number of parts, or characters that none has.
        """
        first, *parts = text.split("/")
        system = _OS.fullmatch(first)
        if system is None or not 1 <= len(parts) <= 2 or not all(_PART.fullmatch(part) for part in parts):
            raise BadPlatform(text)
        return cls.of(system[1], *parts, version=system[2] or "")

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "", *, version: str = "") -> Self:
        """Make one in its only spelling: lower case, Go's names, no variant that goes without saying."""
        name, known = _ARCHITECTURES.get(architecture.lower(), (architecture.lower(), ""))
        variant = variant.lower() or known
        if variant.isascii() and variant.isdigit():
            variant = f"v{variant}"
        if name in _SPELLED:
            return cls(os.lower(), name, variant or _IMPLIED[name], version)
        return cls(os.lower(), name, "" if variant == _IMPLIED.get(name) else variant, version)

    @classmethod
    def read(cls, document: object) -> Self | None:
        """Read what an index or a configuration says, None without ``os`` and ``architecture``."""
        fields: Mapping[str, object] = document if isinstance(document, dict) else {}
        os, architecture = fields.get("os"), fields.get("architecture")
        if not isinstance(os, str) or not isinstance(architecture, str) or not os or not architecture:
            return None
        variant, version = fields.get("variant"), fields.get("os.version")
        known = isinstance(version, str) and _PART.fullmatch(version) is not None
        return cls.of(
            os,
            architecture,
            variant if isinstance(variant, str) else "",
            version=str(version) if known else "",
        )

    @property
    def known(self) -> bool:
        """False for ``unknown/unknown``: what is no image of a platform, such as an attestation."""
        return "unknown" not in {self.os, self.architecture}

    def __str__(self) -> str:
        system = f"{self.os}({self.version})" if self.version else self.os
        return "/".join(filter(None, (system, self.architecture, self.variant)))


def here() -> Platform:
    """Return what containers run as on this machine: Linux, wherever the engine is, on its processor."""
    return Platform.of("linux", machine.machine() or "amd64")


def fitness(wanted: Platform, offered: Platform | None) -> int | None:
    """Tell how well an image runs where ``wanted`` does: higher is better, None not at all.

    A processor runs what was built for earlier versions of it: arm/v7 runs v6, amd64/v3 runs amd64. Of the
    system's version the beginning is enough: 10.0.20348 is 10.0.20348.2700, too.
    """
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if wanted.version and not f"{offered.version}.".startswith(f"{wanted.version}."):
        return None
    exact = offered.version == wanted.version
    if offered.variant == wanted.variant:
        return 100 if exact else 99
    have, want = _version(offered), _version(wanted)
    return 2 * have + exact if have is not None and want is not None and have < want else None


def choose(wanted: Platform, offered: Sequence[Platform | None]) -> int | None:
    """Return the index of what fits best, the first of equals; None if nothing does."""
    fits = [(fit, -number) for number, one in enumerate(offered) if (fit := fitness(wanted, one)) is not None]
    return -max(fits)[1] if fits else None


def _version(platform: Platform) -> int | None:
    match = _VERSION.fullmatch(platform.variant or _IMPLIED.get(platform.architecture, ""))
    return int(match[1]) if match else None
