"""A collection in this process, beside a registry that serves the same directory or without one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.registry import gc
from regsetup.registry.disk.held import alone
from regsetup.registry.disk.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from regsetup.registry.gc import Collected


class CollectorRuns(RegsetupError):
    """Two collections of one directory take turns."""

    code = "collector-runs"

    def __init__(self, root: Path) -> None:
        super().__init__(f"another collection of {root} runs", fix="wait until it has ended")


class CannotCollect(RegsetupError):
    """The data directory can't be read, changed or locked."""

    code = "cannot-collect"

    def __init__(self, root: Path, error: OSError) -> None:
        where = f"{error.filename}: " if error.filename else ""
        super().__init__(
            f"{root} can't be collected",
            cause=f"{where}{error.strerror}",
            fix="run it as the user that the registry runs as, where the directory is a local file system",
        )


def collect_in(
    root: Path, *, grace: float = gc.GRACE, untagged: bool = False, dry_run: bool = False
) -> Collected:
    """Collect the data directory ``root``; see ``gc.collect``.

    Raises:
        CollectorRuns: another process collects it.
        CannotCollect: the disk; nothing that is referenced was deleted.
    """
    try:
        lock = alone(str(root))
    except FileNotFoundError:
        return gc.Collected(dry_run)
    except BlockingIOError as error:
        raise CollectorRuns(root) from error
    except OSError as error:
        raise CannotCollect(root, error) from error
    try:
        return gc.collect(open_store(root), grace=grace, untagged=untagged, dry_run=dry_run)
    except OSError as error:
        raise CannotCollect(root, error) from error
    finally:
        os.close(lock)
