"""containerd: a ``hosts.toml`` per registry, read anew at each pull; nothing to reload.

https://github.com/containerd/containerd/blob/main/docs/hosts.md. The CRI plugin looks there only where its
``config_path`` says so; nerdctl does always, and ``ctr`` with ``--hosts-dir``. config.toml is only read.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regsetup.errors import RegsetupError
from regsetup.host.files import config_home
from regsetup.trust.base import Client, Edit, Plan, read

if TYPE_CHECKING:
    from regsetup.trust.base import Registry

ETC = Path("/etc/containerd")
_CRI_1 = "io.containerd.grpc.v1.cri"  # config version 2, containerd 1.x
_CRI_2 = "io.containerd.cri.v1.images"  # config version 3, containerd 2.x


class TomlUnreadable(RegsetupError):
    """A client's TOML file can't be parsed; it stays as it is."""

    code = "toml-unreadable"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"{path} can't be read", cause=detail, fix="mend the file by hand, then try again")


class Containerd(Client):
    """The containerd that reads ``config``."""

    name = "containerd"

    def __init__(self, config: Path = ETC / "config.toml") -> None:
        self._config = config

    def detect(self) -> bool:
        """Tell whether containerd is installed; a rootless one, by its directory."""
        if self._config.parent == ETC:
            return shutil.which("containerd") is not None
        return self._config.parent.exists()

    def plan(self, registry: Registry) -> Plan:
        """Plan ``hosts.toml``, and the CA beside it.

        Raises:
            TomlUnreadable: config.toml is not TOML.
        """
        configured = config_path(parse_toml(self._config))
        hosts_dir = configured or self._config.parent / "certs.d"
        directory = hosts_dir / registry.address
        hosts = directory / "hosts.toml"
        ca = directory / "ca.crt"
        edits = [] if registry.ca is None else [Edit(ca, read(ca), registry.ca)]
        edits.append(Edit(hosts, read(hosts), hosts_toml(registry, ca).encode()))
        return Plan(tuple(edits), notes=() if configured else (_advice(self._config, hosts_dir),))


def hosts_toml(registry: Registry, ca: Path) -> str:
    """Return ``hosts.toml`` for ``registry``.

    The CA stands there twice: what the host does not have, containerd asks of ``server`` once more, and
    1.6 refuses a file without a ``[host]`` table ("invalid `host` tree").
    """
    ca_line = [] if registry.ca is None else [f'ca = "{ca}"']
    lines = [
        "# written by regsetup",
        f'server = "{registry.url}"',
        *ca_line,
        "",
        f'[host."{registry.url}"]',
        '  capabilities = ["pull", "resolve", "push"]',
        *(f"  {line}" for line in ca_line),
    ]
    return "\n".join(lines) + "\n"


def config_path(config: dict[str, Any]) -> Path | None:
    """Return the directory where the CRI plugin looks for ``hosts.toml``."""
    plugins = config.get("plugins", {})
    for plugin in (_CRI_2, _CRI_1):
        found = plugins.get(plugin, {}).get("registry", {}).get("config_path")
        if found:
            return Path(str(found).partition(":")[0])
    return None


def parse_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content; empty if there is none.

    Raises:
        TomlUnreadable: with the place, as the parser names it.
    """
    try:
        return tomllib.loads((read(path) or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TomlUnreadable(path, str(error)) from error


def _advice(config: Path, hosts_dir: Path) -> str:
    return (
        f'Kubernetes\' containerd looks there only with config_path: add [plugins."{_CRI_1}".registry] '
        f'config_path = "{hosts_dir}" to {config}, then systemctl restart containerd; '
        f"ctr needs --hosts-dir {hosts_dir}"
    )


def directory_of(home: Path) -> Path:
    """Return where this user's containerd, and nerdctl, look."""
    return ETC if os.geteuid() == 0 else config_home(home) / "containerd"
