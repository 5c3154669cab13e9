"""The program as an ordinary user, started by root: who may not read root's files can't import from them.

Run as ``python -m tests.bed.nobody ARGUMENTS``; everything is imported first, then the rights go, and they
come back for what the interpreter writes at its end (coverage).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import pwd
import sys

import regsetup

_LAZY = (
    "docker.context",
    "docker.types",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "ipaddress",
    "jinja2.ext",
    "netrc",
    "rich.progress",
    "rich.table",
    "yaml",
    "zstandard",
    "zoneinfo",
)


def main(arguments: list[str]) -> int:
    """Run the program as nobody, without any group but his own."""
    for module in pkgutil.walk_packages(regsetup.__path__, "regsetup."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LAZY:
        importlib.import_module(name)
    from regsetup.cli import run

    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, 0)  # real ids, too: access(2) asks for those
    os.setresuid(nobody.pw_uid, nobody.pw_uid, 0)
    try:
        return run(arguments)
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
