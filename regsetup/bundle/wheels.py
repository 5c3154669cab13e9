"""Wheels of this regsetup and of all it needs, fetched by pip for this Python or another.

Versions are those that are installed here, so that what was tried is what arrives. regsetup's own wheel is
built where it runs from its source, else put together again from what pip installed: PEP 427, PEP 376.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import platform
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from regsetup.bundle.format import WheelsInside
from regsetup.errors import RegsetupError
from regsetup.host.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.host.process import Result

_TIMEOUT = 1800.0  # seconds; forty wheels over a slow line
_WORDS = 5  # last lines of what pip said
_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows: the same content makes the same wheel
_MACHINES = ("x86_64", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64", "i686")


class WheelsUnavailable(RegsetupError):
    """pip could not get or build the wheels."""

    code = "wheels-unavailable"

    def __init__(self, cause: str) -> None:
        super().__init__(
            "pip could not get the wheels",
            cause=cause,
            fix="make the bundle where pip reaches an index; or --no-wheels, if regsetup is there already",
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Whom the wheels are for: pip's ``--platform`` tags (none: this machine), and Python as ``3.11``."""

    platforms: tuple[str, ...] = ()
    python: str | None = None

    @property
    def inside(self) -> WheelsInside:
        """Return it as the bundle says it."""
        machine = next((one for one in _MACHINES for tag in self.platforms if tag.endswith(one)), None)
        here = "{}.{}".format(*sys.version_info[:2])
        return WheelsInside(self.python or here, machine or platform.machine())

    @property
    def options(self) -> tuple[str, ...]:
        """Return it as pip's options; it takes others' wheels only where it may build none."""
        words = ["--only-binary=:all:"]
        for tag in self.platforms:
            words += ["--platform", tag]
        if self.python:
            words += ["--python-version", self.python, "--implementation", "cp"]
        return tuple(words)


def collect(into: Path, target: Target) -> tuple[Path, ...]:
    """Put all wheels, and pip's own, into the empty directory ``into``.

    Raises:
        WheelsUnavailable: no pip, no network, no wheel for that target.
    """
    into.mkdir()
    own = _own_wheel(into)
    constraints = into.parent / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in _installed().items()))
    words = ["--dest", str(into), "--constraint", str(constraints), *target.options]
    _pip("download", *words, str(own), "pip")
    return tuple(sorted(into.glob("*.whl")))


def _installed() -> dict[str, str]:
    found = {one.name: one.version for one in importlib.metadata.distributions()}
    return {name: version for name, version in sorted(found.items()) if name != "regsetup"}


def _own_wheel(into: Path) -> Path:
    try:
        installed = importlib.metadata.distribution("regsetup")
    except importlib.metadata.PackageNotFoundError as error:
        raise WheelsUnavailable(
            "this regsetup was not installed by pip, so it does not know its files"
        ) from error
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        source = unquote(urlsplit(origin["url"]).path)
        _pip("wheel", "--no-deps", "--wheel-dir", str(into), source)
        return next(into.glob("regsetup-*.whl"))
    return packed(installed, into)


def packed(installed: importlib.metadata.Distribution, into: Path) -> Path:
    """Make a wheel of the files that pip installed, without what it made of them.

    Raises:
        WheelsUnavailable: the list of its files is gone.
    """
    if installed.files is None:
        raise WheelsUnavailable("the RECORD of this regsetup is gone, so it does not know its files")
    made = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}
    files = sorted(
        str(one)
        for one in installed.files
        if ".." not in one.parts and "__pycache__" not in one.parts and not _in_info(str(one), made)
    )
    wheel = into / f"{installed.name}-{installed.version}-py3-none-any.whl"
    record = f"{installed.name}-{installed.version}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(wheel, "x", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            content = (installed.locate_file(name)).read_bytes()  # type: ignore[attr-defined]
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(content)}\n")
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), content, zipfile.ZIP_DEFLATED)
        text = "".join([*lines, f"{record},,\n"])
        archive.writestr(zipfile.ZipInfo(record, _MOMENT), text, zipfile.ZIP_DEFLATED)
    return wheel


def _in_info(name: str, made: set[str]) -> bool:
    directory, _, file = name.rpartition("/")
    return directory.endswith(".dist-info") and file in made


def _pip(command: str, *words: str) -> Result:
    options = ("--quiet", "--no-input", "--disable-pip-version-check")
    done = run([sys.executable, "-m", "pip", command, *options, *words], timeout=_TIMEOUT)
    if done.code != 0:
        said = [line for line in (done.err or done.out).splitlines() if line.strip()]
        raise WheelsUnavailable("\n".join(said[-_WORDS:]) or f"pip ended with {done.code}")
    return done
