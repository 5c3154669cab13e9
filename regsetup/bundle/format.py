"""What a bundle is made of, and what can be wrong with one.

A plain tar, below ``regsetup-bundle/``: ``bundle.json``, which says what it is; ``SHA256SUMS`` over all other
files, as sha256sum(1) checks it; ``install.sh``; ``wheels/``; ``image.tar`` as ``docker save`` writes it. The
first two come first, so that everything behind them is checked while it is read. That order, and ``kind`` and
``version`` of ``bundle.json``, hold for all versions to come.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from regsetup.errors import RegsetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KIND = "regsetup-bundle"
VERSION = 1
ABOUT, SUMS, INSTALLER, IMAGE, WHEELS = "bundle.json", "SHA256SUMS", "install.sh", "image.tar", "wheels/"
_SUM = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.+!/-]+)")


class NotABundle(RegsetupError):
    """The file is not a bundle."""

    code = "not-a-bundle"

    def __init__(self, path: Path, cause: str, fix: str | None = None) -> None:
        super().__init__(
            f"{path} is not a bundle",
            cause=cause,
            fix=fix or "where there is a network: regsetup bundle create FILE",
        )


class BundleDamaged(RegsetupError):
    """A file in the bundle is not what it was when the bundle was made, or is missing."""

    code = "bundle-damaged"

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} is damaged: {what}",
            fix="copy it again; regsetup bundle verify, where it comes from, tells if it was good",
        )


class BundleUnsafe(RegsetupError):
    """The bundle has a file in it that no bundle has, such as one that would lie outside."""

    code = "bundle-unsafe"

    def __init__(self, path: Path, member: str, reason: str) -> None:
        super().__init__(
            f"{path} holds {member!r}, {reason}",
            cause="regsetup bundle create writes nothing like it",
            fix="find out who made this file; nothing of it was used",
        )


class BundleTooNew(RegsetupError):
    """The bundle was made by a later regsetup."""

    code = "bundle-too-new"

    def __init__(self, path: Path, version: object) -> None:
        super().__init__(
            f"{path} was made by a newer regsetup",
            cause=f"its version is {version}, this program knows {VERSION}",
            fix="install the regsetup in it: tar -xf FILE && sh regsetup-bundle/install.sh",
        )


@dataclass(frozen=True, slots=True)
class ImageInside:
    """The image: its name, and GOOS and GOARCH that it runs on, empty where the archive does not say."""

    reference: str
    os: str
    architecture: str


@dataclass(frozen=True, slots=True)
class WheelsInside:
    """What the wheels run on: Python as ``3.11``, and the machine as uname(1) calls it."""

    python: str
    machine: str


@dataclass(frozen=True, slots=True)
class About:
    """``bundle.json``; None for what is not inside."""

    regsetup: str
    image: ImageInside | None
    wheels: WheelsInside | None

    def as_json(self) -> str:
        """Return the file's text."""
        return json.dumps({"kind": KIND, "version": VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def parse(cls, path: Path, content: Mapping[str, object]) -> Self:
        """Read it; ``path`` is the bundle's, for errors.

        Raises:
            BundleTooNew: a later version.
            BundleDamaged: not what ``as_json`` writes.
        """
        if content.get("version") != VERSION:
            raise BundleTooNew(path, content.get("version"))
        try:
            image, wheels = content["image"], content["wheels"]
            return cls(
                str(content["regsetup"]),
                None if image is None else ImageInside(**image),  # type: ignore[arg-type]
                None if wheels is None else WheelsInside(**wheels),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError) as error:
            raise BundleDamaged(path, f"{ABOUT} lacks {error}") from error


def sums_text(digests: Mapping[str, str]) -> str:
    """Return ``SHA256SUMS``."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def parse_sums(path: Path, text: str) -> dict[str, str]:
    """Read ``SHA256SUMS``: name to digest.

    Raises:
        BundleDamaged: a line is not one of sha256sum's, or a name stands twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _SUM.fullmatch(line)
        if match is None or match[2] in found:
            raise BundleDamaged(path, f"line {number} of {SUMS} is not a checksum")
        found[match[2]] = match[1]
    return found
