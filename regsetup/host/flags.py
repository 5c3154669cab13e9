"""dockerd's flags (dockerd(8)): which sets what a key of daemon.json sets, and whether a text gives it.

A setting that stands both in daemon.json and in the flags keeps dockerd from starting (moby#42948).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from regsetup.host.daemon_json import INSECURE, MIRRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FLAG_OF = {INSECURE: "--insecure-registry", MIRRORS: "--registry-mirror"}  # dockerd(8)
_SHORT = {"hosts": ("-H",), "debug": ("-D",)}  # dockerd(8); others are not told from those of kill in a unit
_CONFIG_FILE = re.compile(r"--config-file[= ]([^\s\"']+)")


def flags_of(key: str) -> tuple[str, ...]:
    """Return the flags that set what ``key`` of daemon.json sets: a list's has its name in the singular."""
    if key in FLAG_OF:
        return (FLAG_OF[key],)
    return (f"--{key}", f"--{key.removesuffix('s')}", *_SHORT.get(key, ()))


def flag_values(args: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """Return every value of ``flag`` in ``args``, written ``--flag=value`` or ``--flag value``."""
    values = []
    for index, arg in enumerate(args):
        if arg.startswith(f"{flag}="):
            values.append(arg.partition("=")[2])
        elif arg == flag and index + 1 < len(args):
            values.append(args[index + 1])
    return tuple(values)


def names_flag(text: str, flag: str) -> bool:
    """Tell whether a unit or shell fragment names ``flag`` outside its comments."""
    found = re.compile(rf"(?<![\w-]){re.escape(flag)}(?![\w-])")
    return any(found.search(line) for line in _uncommented(text))


def config_file(texts: Iterable[str]) -> str | None:
    """Return what units and shell fragments give dockerd as ``--config-file``; the last one counts."""
    named = [one for text in texts for line in _uncommented(text) for one in _CONFIG_FILE.findall(line)]
    return named[-1] if named else None


def _uncommented(text: str) -> Iterator[str]:
    """Yield the lines of a unit or shell fragment that are no comments."""
    return (line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
