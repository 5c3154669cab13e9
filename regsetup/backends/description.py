"""What a service was made from: ``service.json``, and ``service.previous.json`` of the one set aside.

The file is to a service what its labels are to a container. It appears when ``create`` is done and goes
when ``remove`` is; a rename turns ``current`` into ``aside`` and back, so no kill leaves a half of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from regsetup.errors import RegsetupError
from regsetup.host.files import write_atomic
from regsetup.observed import Spec

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


class ManagedBy(StrEnum):
    """What starts, stops and watches the process."""

    SYSTEM = "systemd"
    USER = "systemd --user"
    NOBODY = "nobody"


class DescriptionDamaged(RegsetupError):
    """The description can't be read: somebody edited it, or a later regsetup wrote it."""

    code = "service-description-damaged"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} can't be read",
            cause=cause,
            fix=f"pipx upgrade regsetup if a newer one wrote it; else mv {path} {path}.bad, end the service, "
            "and regsetup up makes a new one",
        )


@dataclass(frozen=True, slots=True)
class Description:
    """One service.

    Attributes:
        id: 12 hex digits, drawn anew by each ``create``; marks its process, or its lines in the journal.
        spec: what it was made from; None for one that regsetup took over.
        argv: the command, without secrets.
        env: further variables of the process.
        boots: whether it is started with the machine.
        unit: text of the systemd unit, empty where nobody manages it.
    """

    id: str
    managed_by: ManagedBy
    spec: Spec | None
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    boots: bool
    unit: str = ""

    def write(self, path: Path) -> None:
        """Write it atomically, 0600: the variables are whatever the user gave.

        Raises:
            CannotWrite: no rights, no space.
        """
        content = {
            "version": VERSION,
            "id": self.id,
            "managed_by": str(self.managed_by),
            "spec": None if self.spec is None else dict(self.spec.settings),
            "argv": self.argv,
            "env": self.env,
            "boots": self.boots,
            "unit": self.unit,
        }
        write_atomic(path, json.dumps(content, indent=2) + "\n", mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read it back; None if there is no such file.

        Raises:
            DescriptionDamaged: it is not what ``write`` writes.
        """
        try:
            return cls._parse(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DescriptionDamaged(path, error.strerror or str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DescriptionDamaged(path, f"{type(error).__name__}: {error}") from error

    @classmethod
    def _parse(cls, content: Any) -> Self:
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}, this program knows {VERSION}")
        spec = content["spec"]
        return cls(
            id=content["id"],
            managed_by=ManagedBy(content["managed_by"]),
            spec=None if spec is None else Spec(dict(spec)),
            argv=tuple(content["argv"]),
            env=tuple((key, value) for key, value in content["env"]),
            boots=content["boots"],
            unit=content["unit"],
        )
