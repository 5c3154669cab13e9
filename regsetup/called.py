"""How somebody types regsetup so that it finds the same registries again, and with root's rights.

``sudo regsetup`` finds neither a person's registries nor a home named by ``REGSETUP_HOME``, which sudo does
not hand on. The exported script needs neither regsetup nor its home.
"""

from __future__ import annotations

import os
import re
import shlex

from regsetup.deployment import DEFAULT_NAME

_COMMAND = re.compile(r"(?<![\w/.=-])regsetup (?:(?:trust|cert) )?[a-z]+(?! --name)\b")


def regsetup() -> str:
    """Return what to begin a command with; a shell of root's needs no sudo, and may have none."""
    if os.geteuid() != 0 or "SUDO_USER" not in os.environ:
        return "regsetup"
    home = os.environ.get("REGSETUP_HOME")
    return f"sudo REGSETUP_HOME={shlex.quote(home)} regsetup" if home else "sudo regsetup"


def trusting() -> str:
    """Return what makes the clients of this machine trust a registry of its own."""
    install = f"{regsetup()} trust install"
    return install if os.geteuid() == 0 else f"{install}; clients of root's: regsetup trust export | sudo sh"


def exporting() -> str:
    """Return what makes the clients of another machine trust it."""
    return f"{regsetup()} trust export | ssh HOST sudo sh"


def named(text: str, name: str) -> str:
    """Return a text whose commands are for the registry of that name."""
    return text if name == DEFAULT_NAME else _COMMAND.sub(rf"\g<0> --name {name}", text)
