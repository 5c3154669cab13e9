"""BuildKit's own daemon: a table per registry in buildkitd.toml, read when it starts.

https://docs.docker.com/build/buildkit/configure/#registry-certificates. The BuildKit inside Docker Engine
follows the engine; a builder made by ``docker buildx create`` does not (buildx#1642).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host.files import config_home
from regsetup.trust.base import Client, Edit, Plan, read
from regsetup.trust.containerd import parse_toml

if TYPE_CHECKING:
    from regsetup.trust.base import Registry

ETC = Path("/etc/buildkit")


class AlreadyConfigured(RegsetupError):
    """Somebody has settings for this registry in the file; they are theirs to change."""

    code = "client-already-configured"

    def __init__(self, path: Path, address: str, block: str) -> None:
        super().__init__(
            f"{path} has settings for {address} that regsetup did not write",
            cause="two tables of one name are an error to the program that reads it",
            fix=f"take them out, then try again; or make them say:\n{block}",
        )


class Buildkit(Client):
    """The buildkitd that reads ``directory``/buildkitd.toml."""

    name = "buildkit"

    def __init__(self, directory: Path = ETC) -> None:
        self._directory = directory
        self._restart = f"systemctl {'' if directory == ETC else '--user '}restart buildkit"

    def detect(self) -> bool:
        """Tell whether buildkitd is installed, or somebody has configured it."""
        return shutil.which("buildkitd") is not None or self._directory.exists()

    def plan(self, registry: Registry) -> Plan:
        """Plan a table at the end of buildkitd.toml, and the CA in a file of its own.

        Raises:
            TomlUnreadable: buildkitd.toml is not TOML.
            AlreadyConfigured: it has a table for this registry that is not ours.
        """
        path = self._directory / "buildkitd.toml"
        ca = self._directory / "certs" / f"regsetup-{registry.slug}.crt"
        edits = [] if registry.ca is None else [Edit(ca, read(ca), registry.ca)]
        before = read(path)
        text = (before or b"").decode()
        block = table(registry, ca)
        if registry.address in parse_toml(path).get("registry", {}) and block not in text:
            raise AlreadyConfigured(path, registry.address, block)
        lead = "" if not text or text.endswith("\n") else "\n"
        after = text if block in text else text + lead + block
        edits.append(Edit(path, before, after.encode(), (block,)))
        return Plan(tuple(edits), notes=(f"buildkitd reads it when it starts: {self._restart}",))


def table(registry: Registry, ca: Path) -> str:
    """Return the table for ``registry``."""
    setting = "http = true" if registry.ca is None else f'ca = ["{ca}"]'
    return f'\n# written by regsetup\n[registry."{registry.address}"]\n  {setting}\n'


def directory_of(home: Path) -> Path:
    """Return where this user's buildkitd looks."""
    return ETC if os.geteuid() == 0 else config_home(home) / "buildkit"
