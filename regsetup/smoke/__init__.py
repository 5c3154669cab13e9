"""The proof that a registry works: named checks by its own API, each with its time.

What can't be run is said to be skipped or not run, never to be well. Nothing is left, also when a check fails
or is interrupted.
"""

from regsetup.smoke.checks import Check, Outcome, holds, prove, timed
from regsetup.smoke.leftovers import NotCleaned, forget
from regsetup.smoke.steps import OpenRegistry, ProofFailed

__all__ = [
    "Check",
    "NotCleaned",
    "OpenRegistry",
    "Outcome",
    "ProofFailed",
    "forget",
    "holds",
    "prove",
    "timed",
]
