"""Completes repositories, tags and users with the tab key: those of this machine's registry, from its disk.

Asking the registry would take half a second and a login. Where the disk can't be read nothing is completed.
"""

from __future__ import annotations

import contextlib
import os
from itertools import islice
from typing import TYPE_CHECKING

import typer  # noqa: TC002  Typer looks at the annotation

from regsetup.cli import options
from regsetup.errors import RegsetupError
from regsetup.reference import is_repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regsetup.deployment import Paths

_MOST = 1000  # names; more than a terminal shows


def repository(context: typer.Context, incomplete: str) -> list[str]:
    """Return the repositories that begin so."""
    root = _root(context)
    return list(islice(_repositories(root, incomplete), _MOST)) if root else []


def reference(context: typer.Context, incomplete: str) -> list[str]:
    """Return the repositories that begin so, and after a colon the tags."""
    name, colon, begin = incomplete.partition(":")
    root = _root(context)
    if root is None or not colon or not is_repository(name):
        return repository(context, incomplete)
    with contextlib.suppress(OSError):
        tags = sorted(one.name for one in (root / name / "_manifests" / "tags").iterdir())
        return [f"{name}:{tag}" for tag in tags if tag.startswith(begin)]
    return []


def user(context: typer.Context, incomplete: str) -> list[str]:
    """Return the users that begin so."""
    from regsetup.users import read

    with contextlib.suppress(RegsetupError):
        listed = read(_paths(context).htpasswd).users
        return [one for one in listed if one.startswith(incomplete)]
    return []


def _paths(context: typer.Context) -> Paths:
    from regsetup.deployment import DEFAULT_NAME

    return options.find_paths(context.params.get("name") or DEFAULT_NAME)


def _root(context: typer.Context) -> Path | None:
    """Return the directory of the repositories, None where it is not on this machine's disk."""
    from regsetup.deployment import Directory
    from regsetup.status import remembered

    with contextlib.suppress(RegsetupError):
        paths = _paths(context)
        place = remembered(paths).storage if paths.state.exists() else None
        if isinstance(place, Directory):
            return place.path / "docker" / "registry" / "v2" / "repositories"
    return None


def _repositories(root: Path, begin: str) -> Iterator[str]:
    """Yield names in order; a directory that has manifests is a repository, and others may lie below it."""
    for directory, below, _ in os.walk(root):
        name = os.path.relpath(directory, root)
        if "_manifests" in below and name.startswith(begin):
            yield name
        below[:] = sorted(one for one in below if not one.startswith("_"))
