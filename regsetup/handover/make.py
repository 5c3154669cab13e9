"""Works out which files say what ``up`` would do, and writes them, or gives the one text that there is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.deployment import Directory, Paths, Tls
from regsetup.errors import UsageError
from regsetup.handover import draft, kubernetes, material
from regsetup.handover.files import PRIVATE, File, make_directory, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.auth.htpasswd import Password
    from regsetup.deployment import Deployment
    from regsetup.handover.kubernetes import Cluster
    from regsetup.handover.material import Passwords
    from regsetup.load import Loaded

_FILE = re.compile(r".+\.(ya?ml|service|container)")
_UNIT_MODE = 0o644  # as ``up`` writes its own: systemd tells everybody what is in a unit anyway


class Kind(StrEnum):
    """What the files are for."""

    COMPOSE = "compose"
    QUADLET = "quadlet"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"


class SeveralFiles(UsageError):
    """``-o`` names a file, and several are to be written."""

    code = "several-files"

    def __init__(self, path: Path, names: list[str]) -> None:
        super().__init__(
            f"-o {path} is one file, and {', '.join(names)} are to be written",
            fix=f"-o {path.with_suffix('')}: a directory",
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says besides the deployment.

    Attributes:
        out: directory or file, None for standard output.
        htpasswd: users to take over.
    """

    kind: Kind
    out: Path | None
    htpasswd: Path | None
    cluster: Cluster
    force: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """What came of it.

    Attributes:
        text: the one file's where it goes to standard output, else None.
        files: each file, and what became of it: ``written``, ``replaced`` or ``unchanged``.
        main: the files that the other program reads.
    """

    wanted: Deployment
    text: str | None
    files: Mapping[Path, str] = field(default_factory=dict)
    main: tuple[Path, ...] = ()
    passwords: Mapping[str, Password] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def render(loaded: Loaded, paths: Paths, asked: Asked, ask: Passwords) -> Rendered:
    """Render one kind.

    Args:
        ask: returns the passwords of users that are new in the rendered files.

    Raises:
        NeedsDirectory, SeveralFiles, NotForKubernetes, FileDiffers, UserUnknown: nothing was written but,
            where one was missing, a certificate.
    """
    out, named = _target(asked.out)
    standing = paths if paths.state.exists() else None
    places = material.Places(str(asked.kind), standing, out, asked.htpasswd)
    wanted = material.stored_below(loaded.deployment, places, told="data" in loaded.wished)
    made = _draft(wanted, paths, places, asked, ask)
    notes = (*made.notes, *((_standing(wanted),) if standing else ()))
    if out is None:
        (text,) = made.texts.values()
        return Rendered(wanted, text, passwords=made.passwords, notes=notes)
    if named is not None and len(made.texts) > 1:
        raise SeveralFiles(named, list(made.texts))
    public = asked.kind in (Kind.SYSTEMD, Kind.QUADLET) and not wanted.env
    mode = _UNIT_MODE if public else PRIVATE
    main = [File(named or out.root / name, text, mode) for name, text in made.texts.items()]
    done = write([*made.beside, *main], force=asked.force)
    storage = wanted.storage
    if isinstance(storage, Directory) and storage.path == out.data and asked.kind is not Kind.KUBERNETES:
        make_directory(storage.path)
    if wanted.tls is Tls.ACME and standing is None and asked.kind is not Kind.KUBERNETES:
        make_directory(out.acme)
    return Rendered(wanted, None, done, tuple(file.path for file in main), made.passwords, notes)


def _target(out: Path | None) -> tuple[Paths | None, Path | None]:
    """Return the directory as if it were ``REGSETUP_HOME/NAME``, and the file if one was named."""
    if out is None:
        return None, None
    place = Path(os.path.realpath(out))
    if _FILE.fullmatch(place.name) and not place.is_dir():
        return Paths(place.parent.parent, place.parent.name), place
    return Paths(place.parent, place.name), None


def _standing(wanted: Deployment) -> str:
    return (
        f"the registry {wanted.name} stands: regsetup teardown --name {wanted.name} ends it before another "
        "takes its port and data; images, users and certificates stay"
    )


def _draft(
    wanted: Deployment, paths: Paths, places: material.Places, asked: Asked, ask: Passwords
) -> draft.Draft:
    more_hosts: tuple[str, ...] = ()
    if asked.kind is Kind.KUBERNETES:
        kubernetes.check(wanted.name, asked.cluster)
        more_hosts = kubernetes.host_names(wanted.name, asked.cluster)
    users = material.take_users(wanted, places, ask) if wanted.auth else None
    certs = material.take_certificates(wanted, places, more_hosts) if wanted.keeps_pair else None
    if asked.kind is Kind.SYSTEMD:
        return draft.systemd(wanted, paths, places, users, certs)
    if asked.kind is Kind.KUBERNETES:
        return draft.kubernetes_objects(wanted, paths, places, users, certs, asked.cluster)
    return draft.container(asked.kind is Kind.COMPOSE, wanted, paths, places, users, certs)
