"""The text of a systemd unit: systemd.service(5), systemd.exec(5), quoting of systemd.syntax(7). Pure.

A system unit is shut off from the machine but for its data. A user's unit gets only what a user's systemd can
do, which has no mount namespaces without user namespaces ("Sandboxing" in systemd.exec(5)).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.backends.manager import STOP_SECONDS
from regsetup.deployment import RestartPolicy
from regsetup.observed import Spec
from regsetup.templating import render

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = "REGSETUP_ID"  # field of the journal, systemd.journal-fields(7): which of the services of this name
RESTART = {
    RestartPolicy.NO: "no",
    RestartPolicy.ON_FAILURE: "on-failure",
    RestartPolicy.UNLESS_STOPPED: "always",  # `systemctl stop` is not undone by Restart=
    RestartPolicy.ALWAYS: "always",
}
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  what PrivateTmp= hides


def quote(word: str, *, dollars: bool = False) -> str:
    """Write a word so that systemd reads the same; with ``dollars`` for a command line, where $ expands."""
    word = word.replace("%", "%%")
    if dollars:
        word = word.replace("$", "$$")
    if _PLAIN.fullmatch(word.replace("%", "").replace("$", "") or " "):
        return word
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(mark, mark) for mark in word) + '"'


def text(
    *,
    name: str,
    identity: str,
    root: Path,
    log: Path,
    data: Path,
    spec: Spec,
    argv: Sequence[str],
    env: Sequence[tuple[str, str]],
    restart: RestartPolicy,
    system: bool,
) -> str:
    """Return the unit that runs ``argv`` with ``data`` writable."""
    used = (data, root, Path(argv[0]))
    hidden = any(path.is_relative_to(temporary) for path in used for temporary in _TEMPORARY)
    values = {
        "name": name,
        "fields": f"{ID}={identity}",
        "description": f"Container registry {name} (regsetup)",
        "root": json.dumps(str(root)),
        "spec": spec.as_json(),
        "system": system,
        "mounts": f"{quote(str(data))} {quote(str(root))}",
        "command": " ".join(quote(word, dollars=True) for word in argv),
        "environment": [quote(f"{key}={value}") for key, value in env],
        "restart": RESTART[restart],
        "stop_seconds": STOP_SECONDS,
        "log": str(log).replace("%", "%%"),
        "writable": quote(str(data)),
        "private_tmp": not hidden,
    }
    return render("service.j2", values)


def marks(unit: str) -> tuple[Path, Spec] | None:
    """Return root and spec that ``text`` left in a unit; None if it is not regsetup's."""
    found = dict(line.split("=", 1) for line in unit.splitlines() if line.startswith("X-Regsetup"))
    try:
        return Path(json.loads(found["X-RegsetupRoot"])), Spec(dict(json.loads(found["X-RegsetupSpec"])))
    except (KeyError, ValueError, TypeError):
        return None
