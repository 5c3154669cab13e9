"""Finds what is wrong with a registry and its machine, and explains errors that people paste.

``examine`` gathers ``Facts``; ``diagnose`` is pure rules over them. Every finding has a stable code, its
cause and the command that mends it. A rule looks at one thing and knows nothing of the others; a fact that
could not be gathered is None, and its rule says nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from regsetup.deployment import DEFAULT_NAME
from regsetup.doctor import clients, registry
from regsetup.doctor.explain import explain
from regsetup.doctor.facts import Facts, Finding, Severity

_COMMAND = re.compile(r"\bregsetup (?:(?:trust|cert) )?[a-z]+")

__all__ = ["Facts", "Finding", "Severity", "diagnose", "explain"]


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Return what is wrong, what fails before what may."""
    found = [finding for rule in (*registry.RULES, *clients.RULES) for finding in rule(facts)]
    found.sort(key=lambda finding: finding.severity is Severity.WARNING)
    return tuple(replace(finding, fix=_named(finding.fix, facts.wanted.name)) for finding in found)


def _named(fix: str, name: str) -> str:
    """Return the commands for the registry of that name."""
    return fix if name == DEFAULT_NAME else _COMMAND.sub(rf"\g<0> --name {name}", fix)
