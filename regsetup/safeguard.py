"""What must hold of a new container or service before the old one goes: the proof, and all that was there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup.client import RegistryClient
from regsetup.contents import inventory
from regsetup.contents.inventory import Inventory, Trouble
from regsetup.errors import RegsetupError
from regsetup.probe import answers, endpoint
from regsetup.prove import entered, prove_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from regsetup.deployment import Deployment, Paths
    from regsetup.observe import Survey
    from regsetup.smoke import Check

_NAMED = 5  # of what was lost, in an error's cause


class NotServing(RegsetupError):
    """What does not answer can't be compared with what comes after it."""

    code = "not-serving"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} does not answer, so nobody could tell whether its successor serves the same",
            fix=f"regsetup up --name {name}, then again",
        )


class NotProven(RegsetupError):
    """The new one came up, and a check does not hold; the old one is back."""

    code = "not-proven"

    def __init__(self, failed: tuple[Check, ...]) -> None:
        causes = [f"{one.name}: {one.error.message}" for one in failed if one.error]
        super().__init__(
            "the new registry came up, and its proof does not hold",
            cause="\n".join(causes),
            fix="the old one is back, as it was; regsetup check shows how that one does",
        )


class ContentLost(RegsetupError):
    """The new one came up, and does not serve what the old one did; the old one is back."""

    code = "content-lost"

    def __init__(self, lost: tuple[str, ...]) -> None:
        rest = f"\nand {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        super().__init__(
            "the new registry does not serve everything that the old one did",
            cause="\n".join(lost[:_NAMED]) + rest,
            fix="the old one is back, as it was; nothing was deleted",
        )


def contents(wanted: Deployment, paths: Paths) -> Inventory:
    """Find every tag, and whether what it leads to is there; blobs are asked for, not read.

    A pull-through cache has nothing of its own: its inventory is empty.

    Raises:
        NotServing: nobody answers.
    """
    if not answers(endpoint(wanted, paths)):
        raise NotServing(wanted.name)
    if wanted.mirror_of:
        return Inventory()
    with entered(wanted, paths) as where, RegistryClient(where) as client:
        found = inventory.take(client)
        for (repository, digest), size in found.blobs.items():
            there = client.head_blob(repository, digest)
            if there != size:
                reason = "it is not there" if there is None else f"{there} bytes instead of {size}"
                found.troubles.append(Trouble(repository, str(digest), reason))
    return found


def lost(before: Inventory, after: Inventory) -> tuple[str, ...]:
    """Return what was whole before and is not any more; pushes meanwhile may have moved a tag."""
    gone = [f"{repository}:{tag}" for repository, tag in sorted(before.tags.keys() - after.tags.keys())]
    known = {(one.repository, one.what) for one in before.troubles}
    worse = [one for one in after.troubles if (one.repository, one.what) not in known]
    return (*gone, *(f"{one.repository} {one.what}: {one.reason}" for one in worse))


@dataclass
class Safeguard:
    """Proves what ``before`` was found on, once something else serves it.

    Attributes:
        checks: how the proof ended.
    """

    before: Inventory
    told: Callable[[Check], None]
    checks: tuple[Check, ...] = field(default=())

    def __call__(self, survey: Survey) -> None:
        """Look at the new one.

        Raises:
            ContentLost: something is not served any more.
            NotProven: a check does not hold.
        """
        gone = lost(self.before, contents(survey.wanted, survey.paths))
        if gone:
            raise ContentLost(gone)
        self.checks = prove_here(survey.wanted, survey.paths, survey.choice, self.told)
        failed = tuple(one for one in self.checks if one.error)
        if failed:
            raise NotProven(failed)
