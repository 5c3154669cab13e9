"""Finds what is wrong with a registry and its machine, and explains errors that people paste.

``examine`` gathers ``Facts``; ``diagnose`` is pure rules over them. Every finding has a stable code, its
cause and the command that mends it. A rule looks at one thing and knows nothing of the others; a fact that
could not be gathered is None, and its rule says nothing.
"""

from __future__ import annotations

from dataclasses import replace

from regsetup.called import named
from regsetup.doctor import clients, registry
from regsetup.doctor.explain import explain
from regsetup.doctor.facts import Facts, Finding, Severity

__all__ = ["Facts", "Finding", "Severity", "diagnose", "explain"]


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Return what is wrong, what fails before what may."""
    found = [finding for rule in (*registry.RULES, *clients.RULES) for finding in rule(facts)]
    found.sort(key=lambda finding: finding.severity is Severity.WARNING)
    return tuple(replace(finding, fix=named(finding.fix, facts.wanted.name)) for finding in found)
