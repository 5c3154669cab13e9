"""Debian root file systems as images: made once with debootstrap (a minute or two), then kept.

They are packed outside the tree, in REGSETUP_TEST_CACHE, by default ~/.cache/regsetup-tests, under a name
that has the digest of the recipe; delete the directory to make them anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors

from tests.bed import clients
from tests.bed.run import missing, need

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEFORE = """\
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
"""
_AFTER = """\
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is in a root.

    Attributes:
        release: of Debian.
        packages: that debootstrap installs, divided by blanks.
        script: that a shell runs inside afterwards, where no service can be started.
        settings: of the image, as in a Dockerfile.
    """

    name: str
    release: str
    packages: str
    script: str
    settings: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The image's name; another recipe has another."""
        digest = hashlib.sha256(json.dumps([*astuple(self), _BEFORE, _AFTER]).encode()).hexdigest()
        return f"regsetup-test/{self.name}:{digest[:12]}"


def ensure_root_image(client: docker.DockerClient, recipe: Recipe) -> str:
    """Return the tag of the image; make it, from the cache or from Debian's packages, if need be."""
    cache = Path(os.environ.get("REGSETUP_TEST_CACHE") or Path.home() / ".cache/regsetup-tests")
    cache.mkdir(parents=True, exist_ok=True)
    packed = cache / f"{recipe.tag.replace('/', '-').replace(':', '-')}.tar.gz"
    with _locked(cache / f"{recipe.name}.lock"):
        if _has(client, recipe.tag):
            return recipe.tag
        if not packed.exists():
            _make_root(recipe, packed)
        settings = [word for setting in recipe.settings for word in ("--change", setting)]
        clients.run([need("docker"), "import", *settings, str(packed), recipe.tag], timeout=600).ok()
    return recipe.tag


def _make_root(recipe: Recipe, packed: Path) -> None:
    """Fill ``packed``, which appears under its name only when it is whole."""
    if os.geteuid() != 0:
        missing("debootstrap needs root")
    debootstrap = need("debootstrap")
    root = Path(tempfile.mkdtemp(prefix="root-", dir=packed.parent))
    root.chmod(0o755)
    half = packed.with_suffix(".half")
    packages = f"--include={','.join(recipe.packages.split())}"
    script = f"{_BEFORE}{recipe.script}{_AFTER}"
    try:
        clients.run(
            [debootstrap, "--variant=minbase", packages, recipe.release, str(root)], timeout=1200
        ).ok()
        clients.run(["chroot", str(root), "/bin/sh", "-ec", script], timeout=1200).ok()
        clients.run(["tar", "-C", str(root), "-I", "gzip -1", "-cf", str(half), "."], timeout=600).ok()
        half.rename(packed)
    finally:
        shutil.rmtree(root)
        half.unlink(missing_ok=True)


def _has(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
