"""What a backup's settings mean on this machine: files and volumes that are not here, flags that win."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.engine import connect
from regsetup.deployment import Backend
from regsetup.errors import RegsetupError
from regsetup.load import load
from regsetup.settings_file import from_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.backup.format import Header
    from regsetup.deployment import Paths
    from regsetup.load import Loaded


def settle(settings: dict[str, bytes], flags: Mapping[str, object], header: Header, paths: Paths) -> Loaded:
    """Make the deployment of the backup's settings, of flags, and of what this machine has.

    Another name gets a data directory of its own; a volume becomes a directory where no engine is; a
    certificate of one's own that does not lie here is taken from the backup.

    Raises:
        UsageError: a setting or a flag makes no sense.
    """
    import yaml

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "deployment.yaml")
        file.write_bytes(settings.get("deployment.yaml", b""))
        from_file(file)  # says where it is wrong
        asked = dict(yaml.safe_load(settings.get("deployment.yaml", b"")) or {})
        own = {key: str(paths.root / f"own.{end}") for key, end in (("cert", "crt"), ("key", "key"))}
        if asked.get("cert") and not Path(str(asked["cert"])).is_file():
            asked |= own
        if header.name != paths.name or _is_volume_without_engine(asked, flags):
            asked.pop("data", None)
        if flags.get("backend"):
            asked.pop("backend", None)
        file.write_text(yaml.safe_dump(asked), encoding="utf-8")
        return load(flags, {}, file, paths.home, cwd=Path.cwd())


def _is_volume_without_engine(asked: Mapping[str, object], flags: Mapping[str, object]) -> bool:
    backend = str(flags.get("backend") or asked.get("backend") or Backend.AUTO)
    if flags.get("data") or not str(asked.get("data", "")).startswith("volume:"):
        return False
    if backend == Backend.EMBEDDED:
        return True
    if backend == Backend.DOCKER:
        return False
    try:
        connect().client.close()
    except RegsetupError:
        return True
    return False
