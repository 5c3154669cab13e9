"""Podman's quadlet generator, of Debian trixie: bookworm's podman 4.3 has none. Fetched once, then kept."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from tests.bed import clients
from tests.bed.run import need

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCE = f"deb [signed-by={_KEYRING}] http://deb.debian.org/debian trixie main\n"
_PROGRAM = "usr/libexec/podman/quadlet"


def quadlet() -> str:
    """Return the path of the program, which runs as it is: it needs nothing but libc."""
    cache = Path(os.environ.get("REGSETUP_TEST_CACHE") or Path.home() / ".cache/regsetup-tests")
    place = cache / "quadlet-trixie"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "quadlet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / _PROGRAM).exists():
            _fetch(place)
    return str(place / _PROGRAM)


def _fetch(place: Path) -> None:
    """Download the package with package lists of our own, and unpack it; nothing is installed."""
    half = place.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    for directory in ("lists/partial", "cache/archives/partial", "root"):
        (half / directory).mkdir(parents=True)
    (half / "sources.list").write_text(_SOURCE)
    settings = {
        "Dir::Etc::sourcelist": half / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": half / "lists",
        "Dir::Cache": half / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    clients.run([need("apt-get"), *options, "update"], timeout=300).ok()
    script = 'cd "$0"; exec "$@"'
    clients.run(
        ["/bin/sh", "-c", script, str(half), "apt-get", *options, "download", "podman"], timeout=300
    ).ok()
    (package,) = half.glob("podman_*.deb")
    clients.run(["dpkg", "-x", str(package), str(half / "root")]).ok()
    shutil.rmtree(place, ignore_errors=True)
    (half / "root").rename(place)
    shutil.rmtree(half)
