"""(what is wanted, what is there) -> steps. Pure: nothing here reads or changes a machine.

Each step says what, why, what it does to the data and which containers it restarts. Order: first what can
fail without harm (directories, the image), then files, then the container or service itself, where the old
one is kept aside until the new one is healthy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regsetup import acme
from regsetup.deployment import Directory, Tls, Volume
from regsetup.errors import RegsetupError
from regsetup.step import Action, Plan, Resource, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regsetup.deployment import Deployment
    from regsetup.observed import Observed, Seen, Spec


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted, worked out for one back end.

    Attributes:
        runtime: whether it is a container or a service.
        spec: what the container or service shall be.
        directories: that must exist.
        files: name of each generated file to the SHA-256 (hex) of its wanted text.
        secret: whether the back end needs ``http.secret``.
        certificate: why the certificate must be made or renewed; None where it is good or not needed.
        trust: what clients of this machine are to be told: client and address, whether it is needed, and why.
        stale_trust: addresses that clients were told, and that are the registry's no more.
        default_user: who is added where users are asked for and none was named.
        guarded: whether the new one is proven while the old one can still come back.
        moves: whether it takes the place of the other back end's container or service.
    """

    deployment: Deployment
    runtime: Resource
    spec: Spec
    directories: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    image_archive: str | None = None
    secret: bool = False
    certificate: str | None = None
    trust: tuple[tuple[str, bool, str], ...] = ()
    stale_trust: tuple[str, ...] = ()
    default_user: str = "admin"
    adopt: bool = False
    guarded: bool = False
    moves: bool = False


class NotOurs(RegsetupError):
    """Something of this name exists that regsetup did not make."""

    code = "not-ours"

    def __init__(self, kind: Resource, seen: Seen) -> None:
        super().__init__(
            f"a {kind} named {seen.name} exists, and regsetup did not make it",
            cause=f"it was made from {seen.image}" if seen.image else "it has no label of regsetup",
            fix=f"regsetup up --name OTHER, or regsetup up --name {seen.name} --adopt to take it over",
        )


def plan(goal: Goal, seen: Observed) -> Plan:
    """Return the steps that lead from ``seen`` to ``goal``.

    Raises:
        NotOurs: the name is taken by something regsetup did not make, and ``adopt`` is not set.
    """
    moved, seen = _half_moved(goal, seen)
    leftovers, settled = _leftovers(goal, seen)
    _refuse_foreign(goal, settled)
    runtime = tuple(_runtime(goal, settled))
    return Plan(
        (
            *_directories(goal, settled),
            *_image(goal, settled),
            *_files(goal, settled),
            *_users(goal, settled),
            *_by_itself(goal),
            *(() if _is_late(runtime) else (_remember(goal, settled),)),
            *moved,
            *leftovers,
            *_answers(goal, leftovers, runtime),
            *runtime,
            *_trust(goal),
        )
    )


def _answers(goal: Goal, leftovers: tuple[Step, ...], runtime: tuple[Step, ...]) -> Iterator[Step]:
    """Wait for what was put back, unless it is replaced at once or gets a certificate first."""
    back = any(one.action is Action.PUT_BACK for one in leftovers)
    if back and all(one.action is Action.KEEP for one in runtime):
        yield Step(Action.WAIT, goal.runtime, goal.deployment.name, _until(goal.deployment))


def _is_late(runtime: tuple[Step, ...]) -> bool:
    return any(one.resource is Resource.DEPLOYMENT for one in runtime)


def _remember(goal: Goal, seen: Observed) -> Step:
    """Write what is wanted: from then on what comes after an interruption goes on to it, and not back."""
    return _generated("deployment.yaml", Resource.DEPLOYMENT, goal, seen)


_OTHER = {Resource.CONTAINER: Resource.SERVICE, Resource.SERVICE: Resource.CONTAINER}


def _half_moved(goal: Goal, seen: Observed) -> tuple[tuple[Step, ...], Observed]:
    """Settle what an interrupted move to the other back end left: on the side that is not to be kept."""
    if goal.moves:
        goes, found = goal.runtime, ((Action.REMOVE, seen.current), (Action.DISCARD, seen.aside))
        settled = replace(seen, current=None, aside=None)
    else:
        goes, found = _OTHER[goal.runtime], ((Action.REMOVE, seen.other), (Action.DISCARD, seen.other))
        settled = replace(seen, other=None)
    if any(one.spec is None for _, one in found if one):
        return (), seen  # a stranger's, which is refused
    reason = "a move to the other back end was interrupted"
    return tuple(Step(action, goes, goal.deployment.name, reason) for action, one in found if one), settled


def _leftovers(goal: Goal, seen: Observed) -> tuple[tuple[Step, ...], Observed]:
    """Settle what an interrupted replacement left, and return what will be there afterwards."""
    if seen.aside is None:
        return (), seen
    name, current = seen.aside.name, seen.current
    if current and current.running and current.spec and _replaces(goal, current, seen.aside):
        steps = (
            Step(Action.WAIT, goal.runtime, current.name, "an earlier run did not see it healthy"),
            Step(Action.DISCARD, goal.runtime, name, "its replacement is in place"),
        )
        return steps, replace(seen, aside=None)
    back = Step(
        Action.PUT_BACK,
        goal.runtime,
        name,
        "an earlier run was interrupted",
        restarts=(goal.deployment.name,),
    )
    settled = replace(seen, current=replace(seen.aside, running=True, name=goal.deployment.name), aside=None)
    if current is None:
        return (back,), settled
    if current.spec is None:
        raise NotOurs(goal.runtime, current)
    half_made = Step(Action.REMOVE, goal.runtime, current.name, "an earlier run did not finish it")
    return (half_made, back), settled


def _replaces(goal: Goal, current: Seen, aside: Seen) -> bool:
    """Tell whether ``current`` takes the place of ``aside``: it is what is wanted, or what --adopt made.

    What was adopted does not come back unasked, even if our own is to be replaced once more.
    """
    adopted = aside.spec is None and not goal.adopt
    return adopted or (current.spec is not None and current.spec.hash == goal.spec.hash)


def _refuse_foreign(goal: Goal, seen: Observed) -> None:
    if seen.current and seen.current.spec is None and not goal.adopt:
        raise NotOurs(goal.runtime, seen.current)
    if seen.other and seen.other.spec is None:
        raise NotOurs(_OTHER[goal.runtime], seen.other)


def _image(goal: Goal, seen: Observed) -> Iterator[Step]:
    if goal.image is None:
        return
    if goal.image_archive:
        source = f"from {goal.deployment.bundle}" if goal.deployment.bundle else "--image-archive"
        yield Step(Action.LOAD, Resource.IMAGE, goal.image_archive, f"{source} for {goal.image}")
    elif seen.image is None:
        yield Step(Action.PULL, Resource.IMAGE, goal.image, "not on this engine")
    else:
        yield Step(Action.KEEP, Resource.IMAGE, goal.image, "on this engine")


def _directories(goal: Goal, seen: Observed) -> Iterator[Step]:
    for directory in goal.directories:
        if directory not in seen.files:
            yield Step(Action.CREATE, Resource.DIRECTORY, directory, "not found")


def _files(goal: Goal, seen: Observed) -> Iterator[Step]:
    storage = goal.deployment.storage
    where = {Directory: "directory", Volume: "volume"}[type(storage)]
    if seen.storage_exists:
        yield Step(Action.KEEP, Resource.STORAGE, str(storage), f"the {where} exists", "kept as it is")
    else:
        yield Step(Action.CREATE, Resource.STORAGE, str(storage), f"no such {where}", "new and empty")
    if goal.secret and "http.secret" not in seen.files:
        yield Step(Action.CREATE, Resource.SECRET, "http.secret", "not found")


def _users(goal: Goal, seen: Observed) -> Iterator[Step]:
    if not goal.deployment.auth:
        return
    wanted = goal.deployment.users or ((goal.default_user,) if seen.users is None else ())
    for name in wanted:
        if name in (seen.users or ()):
            yield Step(Action.KEEP, Resource.USER, name, "has a password")
        else:
            yield Step(Action.ADD, Resource.USER, name, "not in htpasswd")


def _by_itself(goal: Goal) -> Iterator[Step]:
    """Say what the registry does about its certificate without regsetup, and what it needs for that."""
    for note in acme.notes(goal.deployment):
        yield Step(Action.KEEP, Resource.CERTIFICATE, goal.deployment.address, note)


def _until(wanted: Deployment) -> str:
    if wanted.tls is not Tls.ACME:
        return "until it answers /v2/"
    return f"until it has a certificate for {', '.join(wanted.hosts)} and answers /v2/"


def _trust(goal: Goal) -> Iterator[Step]:
    for address in goal.stale_trust:
        yield Step(Action.REMOVE, Resource.TRUST, address, "not an address of the registry any more")
    for target, needed, reason in goal.trust:
        yield Step(Action.WRITE if needed else Action.KEEP, Resource.TRUST, target, reason)


def _runtime(goal: Goal, seen: Observed) -> Iterator[Step]:
    name, current = goal.deployment.name, seen.current
    wait = Step(Action.WAIT, goal.runtime, name, _until(goal.deployment))
    if seen.other:
        yield from _move(goal, seen, wait)
        return
    if current is None:
        yield from _new_config(goal, seen)
        yield Step(Action.CREATE, goal.runtime, name, "not found")
        yield Step(Action.START, goal.runtime, name, "just made")
        yield wait
        return
    reason = _why_replace(goal, seen, current)
    if reason:
        moved = current.storage not in (None, str(goal.deployment.storage))
        impact = f"stay in {current.storage}, not moved" if moved else "kept: the new one uses the same"
        yield Step(Action.SET_ASIDE, goal.runtime, name, reason, impact, restarts=(name,))
        yield from _new_config(goal, seen)
        yield Step(Action.CREATE, goal.runtime, name, "replaces the one set aside")
        yield Step(Action.START, goal.runtime, name, "just made")
        yield wait
        yield from _proof(goal, seen)
        yield Step(Action.DISCARD, goal.runtime, name, "once the new one is healthy")
    elif not current.running:
        yield from _new_certificate(goal)
        yield Step(Action.START, goal.runtime, name, "it does not run", restarts=(name,))
        yield wait
    elif goal.certificate:
        yield from _new_certificate(goal)
        yield Step(Action.RELOAD, goal.runtime, name, "it reads certificates while it runs")
        done = "the registry answers with the new one"
        yield Step(Action.DISCARD, Resource.CERTIFICATE, goal.deployment.address, done)
    else:
        yield Step(Action.KEEP, goal.runtime, name, "it runs, as wanted")


def _move(goal: Goal, seen: Observed, wait: Step) -> Iterator[Step]:
    name, left = goal.deployment.name, _OTHER[goal.runtime]
    impact = "kept: the new one uses the same"
    yield Step(Action.SET_ASIDE, left, name, f"a {goal.runtime} takes its place", impact, restarts=(name,))
    yield from _new_config(goal, seen)
    yield Step(Action.CREATE, goal.runtime, name, f"in the place of the {left}")
    yield Step(Action.START, goal.runtime, name, "just made")
    yield wait
    yield from _proof(goal, seen)
    yield Step(Action.DISCARD, left, name, "once the new one is healthy")


def _proof(goal: Goal, seen: Observed) -> Iterator[Step]:
    if goal.guarded:
        reason = "while the old one can still come back"
        yield Step(Action.PROVE, goal.runtime, goal.deployment.name, reason)
        if "deployment.yaml" in seen.files:
            yield _remember(goal, seen)


def _why_replace(goal: Goal, seen: Observed, current: Seen) -> str | None:
    if current.spec is None:
        return "--adopt: regsetup did not make it"
    if current.spec.hash != goal.spec.hash:
        return "; ".join(goal.spec.changes_from(current.spec))
    if goal.image_archive:
        return "image from an archive"
    if goal.certificate and goal.runtime is Resource.CONTAINER:
        return f"certificate: {goal.certificate}"  # registry:2 and 3 read it when they start, and only then
    if "config.yml" in goal.files and seen.files.get("config.yml") != goal.files["config.yml"]:
        return "config.yml on disk is not what was written"
    if current.running and current.health == "unhealthy":
        return "it is unhealthy"
    return None


def _new_config(goal: Goal, seen: Observed) -> Iterator[Step]:
    """Written when the old one is aside: what comes back in a failure comes back with its own."""
    if "config.yml" in goal.files:
        yield _generated("config.yml", Resource.CONFIG, goal, seen)
    yield from _new_certificate(goal)


def _new_certificate(goal: Goal) -> Iterator[Step]:
    if goal.certificate:
        yield Step(Action.CREATE, Resource.CERTIFICATE, goal.deployment.address, goal.certificate)


def _generated(file: str, resource: Resource, goal: Goal, seen: Observed) -> Step:
    if file not in seen.files:
        return Step(Action.WRITE, resource, file, "not found")
    if seen.files[file] != goal.files[file]:
        return Step(Action.WRITE, resource, file, "changed")
    return Step(Action.KEEP, resource, file, "unchanged")
