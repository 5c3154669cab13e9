"""The laws of the plan, held against a machine made of plain values that carries out its steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import settings as how
from hypothesis import strategies as st

from regsetup.deployment import Deployment, Directory, Tls, Volume
from regsetup.observed import Observed, Seen, Spec
from regsetup.plan import Goal, NotOurs, plan
from regsetup.step import Action, Plan, Resource, Step

RUNTIMES = (Resource.CONTAINER, Resource.SERVICE)
NAME = "registry"
WANTED, OLDER = Spec({"port": "5000"}), Spec({"port": "4999", "auth": "off"})
OTHER = {Resource.CONTAINER: Resource.SERVICE, Resource.SERVICE: Resource.CONTAINER}
STALE = Spec({"port": "5000", "certificate": "the one before"})


@dataclass
class Machine:
    """Does steps as ``apply`` would, and insists on what each of them needs to be there."""

    goal: Goal
    seen: Observed
    certificate: str | None = None
    waited: bool = False
    reloaded: bool = False
    proven: bool = False
    stopped: bool = False
    log: list[Step] = field(default_factory=list)

    @classmethod
    def at(cls, goal: Goal, seen: Observed) -> Machine:
        return cls(goal, seen, certificate=goal.certificate)

    def plan(self, *, adopt: bool | None = None) -> Plan:
        """Observe and plan, as ``up`` does: certificate and archive are wanted while they are missing."""
        archive = None if self.seen.image == "loaded" else self.goal.image_archive
        adopt = self.goal.adopt if adopt is None else adopt
        return plan(
            replace(
                self.goal,
                spec=self.spec,
                certificate=self.certificate,
                image_archive=archive,
                adopt=adopt,
                moves=self.goal.moves and self.seen.other is not None,
            ),
            self.seen,
        )

    @property
    def spec(self) -> Spec:
        """What ``create`` would make now: the certificate that is there is part of it."""
        return STALE if self.certificate and self.goal.runtime is Resource.CONTAINER else WANTED

    def carry_out(self, found: Plan, *, stop_after: int | None = None) -> None:
        for step in found.pending[:stop_after]:
            self.do(step)

    def do(self, step: Step) -> None:
        self.log.append(step)
        if step.resource is OTHER[self.goal.runtime]:
            self._other(step)
        elif step.resource in RUNTIMES:
            self._runtime(step)
        elif step.resource is Resource.IMAGE:
            self.seen = replace(self.seen, image="loaded" if step.action is Action.LOAD else "pulled")
        elif step.resource is Resource.DIRECTORY:
            self._file(step.target, "")
        elif step.resource is Resource.STORAGE:
            self.seen = replace(self.seen, storage_exists=True)
        elif step.resource is Resource.USER:
            self.seen = replace(self.seen, users=(*(self.seen.users or ()), step.target))
        elif step.resource is Resource.CERTIFICATE:
            assert step.action is Action.CREATE or self.reloaded, "no way back, and the new one is not in use"
            self.certificate = None
        elif step.resource is Resource.SECRET:
            self._file("http.secret", "s")
        else:
            self._file(step.target, self.goal.files[step.target])

    def _file(self, name: str, digest: str) -> None:
        self.seen = replace(self.seen, files={**self.seen.files, name: digest})

    def _other(self, step: Step) -> None:
        other = self.seen.other
        assert other is not None
        assert other.spec is not None, "touched what regsetup did not make"
        if step.action is Action.SET_ASIDE:
            self.seen, self.stopped = replace(self.seen, other=replace(other, running=False)), True
        elif step.action is Action.REMOVE:
            assert not self.goal.moves, "removed the one that works"
        else:
            assert step.action is Action.DISCARD
            assert self.waited or not self.goal.moves, "the old one went before the new one was healthy"
            assert self.proven or not (self.goal.moves and self.goal.guarded)
            self.seen = replace(self.seen, other=None)

    def _runtime(self, step: Step) -> None:
        seen, current, aside = self.seen, self.seen.current, self.seen.aside
        if step.action is Action.CREATE:
            assert current is None
            assert seen.storage_exists, "a container is made on storage that is there"
            assert self.goal.image is None or seen.image is not None, "a container is made of an image"
            assert self.certificate is None, "it is made when its certificate is there"
            assert self.goal.files.keys() <= seen.files.keys(), "it is made when its files are there"
            assert not (seen.other and seen.other.running), "two would hold one port"
            current = Seen("new", step.target, self.spec, running=False)
            self.seen, self.waited, self.proven = replace(seen, current=current), False, False
        elif step.action is Action.START:
            assert current is not None
            self.seen = replace(seen, current=replace(current, running=True, health="healthy"))
        elif step.action is Action.WAIT:
            assert current is not None
            assert current.running, "nobody waits for what was not started"
            self.waited = True
        elif step.action is Action.RELOAD:
            assert current is not None
            assert current.running
            assert self.certificate is None, "it is there before it is read"
            self.reloaded = True
        elif step.action is Action.SET_ASIDE:
            assert current is not None
            assert aside is None, "two would lie aside"
            self.seen = replace(
                seen, current=None, aside=replace(current, running=False, name=f"{NAME}.aside")
            )
        elif step.action is Action.PUT_BACK:
            assert aside is not None
            assert current is None
            self.seen = replace(
                seen, current=replace(aside, running=True, name=NAME, health="healthy"), aside=None
            )
        elif step.action is Action.REMOVE:
            assert current is not None
            assert current.spec is not None, "removed what regsetup did not make"
            assert aside is not None or self.goal.moves, "removed the only one"
            self.seen = replace(seen, current=None)
        elif step.action is Action.PROVE:
            assert self.waited, "what is not healthy is not proven"
            self.proven = True
        else:
            assert step.action is Action.DISCARD
            if not self.goal.moves:
                assert current is not None
                assert current.running
                assert self.waited, "the old one went before the new one was healthy"
            self.seen = replace(seen, aside=None)


def test_settings_are_remembered_when_what_replaces_something_is_proven() -> None:
    def order(goal: Goal, seen: Observed) -> list[Action]:
        acted = plan(goal, seen).pending
        return [one.action for one in acted if one.resource in (Resource.DEPLOYMENT, goal.runtime)]

    storage = Directory(Path("/srv/images"))
    goal = Goal(
        Deployment(NAME, storage), Resource.CONTAINER, WANTED, files={"deployment.yaml": "new"}, guarded=True
    )
    old = Seen("old", NAME, OLDER, running=True, health="healthy", storage=str(storage))
    seen = Observed(old, files={"deployment.yaml": "old"}, storage_exists=True)
    late = [Action.PROVE, Action.WRITE, Action.DISCARD]
    assert order(goal, seen)[-3:] == late
    moves = replace(goal, moves=True)
    assert order(moves, replace(seen, current=None, other=old))[-3:] == [Action.WAIT, *late[:2]]
    assert order(replace(goal, guarded=False), seen)[0] is Action.WRITE
    assert order(goal, replace(seen, files={}))[0] is Action.WRITE, "there is nothing to go back to"
    assert order(goal, replace(seen, current=replace(old, spec=WANTED)))[0] is Action.WRITE


def seens(name: str = NAME) -> st.SearchStrategy[Seen]:
    return st.builds(
        Seen,
        id=st.just("old"),
        name=st.just(name),
        spec=st.sampled_from([None, WANTED, OLDER, STALE]),
        running=st.booleans(),
        health=st.sampled_from(["healthy", "unhealthy", "starting", "unknown"]),
        image=st.sampled_from([None, "registry:2"]),
    )


STORAGE = st.sampled_from([Directory(Path("/srv/images")), Volume("images")])
NAMES = st.lists(st.sampled_from(["alice", "bob", "carol"]), unique=True).map(tuple)
GOALS = st.builds(
    Goal,
    deployment=st.builds(Deployment, name=st.just(NAME), storage=STORAGE, users=NAMES, auth=st.booleans()),
    runtime=st.sampled_from(RUNTIMES),
    spec=st.just(WANTED),
    directories=st.sampled_from([(), ("/home",), ("/home", "/home/registry")]),
    files=st.sampled_from([{"deployment.yaml": "1"}, {"deployment.yaml": "1", "config.yml": "2"}]),
    image=st.sampled_from([None, "registry:2"]),
    image_archive=st.none(),
    secret=st.booleans(),
    certificate=st.sampled_from([None, "expired"]),
    adopt=st.booleans(),
    guarded=st.booleans(),
).flatmap(
    lambda goal: st.sampled_from([goal, replace(goal, image_archive="/a.tar")] if goal.image else [goal])
)
FILES = st.dictionaries(
    st.sampled_from(["deployment.yaml", "config.yml", "http.secret", "/home", "/home/registry"]),
    st.sampled_from(["1", "2", "edited"]),
)
OBSERVED = st.builds(
    Observed,
    current=st.none() | seens(),
    aside=st.none() | seens(f"{NAME}.aside"),
    files=FILES,
    users=st.none() | NAMES,
    storage_exists=st.booleans(),
    image=st.sampled_from([None, "id"]),
)


def goal(**more: object) -> Goal:
    deployment = Deployment(name=NAME, storage=Directory(Path("/srv/images")))
    defaults: dict[str, object] = {
        "deployment": deployment,
        "runtime": Resource.CONTAINER,
        "spec": WANTED,
        "files": {"deployment.yaml": "1", "config.yml": "2"},
        "image": "registry:2",
        "secret": True,
    }
    return Goal(**(defaults | more))  # type: ignore[arg-type]


def ours(spec: Spec | None = WANTED, *, running: bool = True, health: str = "healthy") -> Seen:
    return Seen("id", NAME, spec, running=running, health=health)


def settled(**more: object) -> Observed:
    """A machine on which everything is as ``goal()`` wants it."""
    files = {"deployment.yaml": "1", "config.yml": "2", "http.secret": "s"}
    defaults: dict[str, object] = {
        "current": ours(), "files": files, "storage_exists": True, "image": "id",
    }  # fmt: skip
    return Observed(**(defaults | more))  # type: ignore[arg-type]


def steps(found: Plan) -> list[str]:
    return [f"{step.action} {step.resource}" for step in found.pending]


def planned_or_refused(machine: Machine) -> Plan | None:
    """Return the plan; None if it is refused, which only a foreign thing is a reason for."""
    try:
        return machine.plan()
    except NotOurs:
        found = [one for one in (machine.seen.current, machine.seen.aside) if one]
        assert any(one.spec is None for one in found)
        return None


@given(GOALS, OBSERVED)
@how(max_examples=150)
def test_after_apply_the_plan_finds_nothing_to_do(wanted: Goal, seen: Observed) -> None:
    machine = Machine.at(wanted, seen)
    found = planned_or_refused(machine)
    assume(found is not None)
    assert found is not None
    machine.carry_out(found)
    assert machine.plan().pending == ()
    assert machine.seen.current is not None
    assert machine.seen.current.running
    assert machine.seen.current.spec == WANTED
    assert machine.seen.aside is None


@given(GOALS, OBSERVED, st.data())
@how(max_examples=150)
def test_killed_after_any_step_the_next_up_converges(
    wanted: Goal, seen: Observed, data: st.DataObject
) -> None:
    machine = Machine.at(wanted, seen)
    found = planned_or_refused(machine)
    assume(found is not None and found.pending)
    assert found is not None
    for _ in range(data.draw(st.integers(1, 3), "kills")):
        machine.carry_out(found, stop_after=data.draw(st.integers(0, len(found.pending)), "steps done"))
        found = machine.plan(adopt=wanted.adopt)
    machine.carry_out(found)
    assert machine.plan().pending == ()
    assert machine.seen.current is not None
    assert machine.seen.current.spec == WANTED
    assert machine.seen.aside is None


@given(GOALS, OBSERVED, st.data())
def test_there_is_always_one_to_go_back_to(wanted: Goal, seen: Observed, data: st.DataObject) -> None:
    assume(seen.current or seen.aside)
    machine = Machine.at(wanted, seen)
    found = planned_or_refused(machine)
    assume(found is not None)
    assert found is not None
    for step in found.pending:
        machine.do(step)
        assert machine.seen.current or machine.seen.aside


@given(GOALS, OBSERVED)
@how(max_examples=150)
def test_what_can_fail_without_harm_comes_before_anything_is_stopped(wanted: Goal, seen: Observed) -> None:
    found = planned_or_refused(Machine.at(wanted, seen))
    assume(found is not None)
    assert found is not None
    order = [(step.action, step.resource) for step in found.pending]
    stops = [
        at
        for at, (action, resource) in enumerate(order)
        if resource in RUNTIMES and action in (Action.SET_ASIDE, Action.REMOVE, Action.PUT_BACK)
    ]
    late = {Resource.CONFIG, Resource.CERTIFICATE} | ({Resource.DEPLOYMENT} if wanted.guarded else set())
    before = [at for at, (_, resource) in enumerate(order) if resource not in {*RUNTIMES, *late}]
    assert not stops or not before or max(before) < min(stops)


@given(GOALS, OBSERVED)
@how(max_examples=150)
def test_the_old_one_goes_only_after_the_new_one_has_answered(wanted: Goal, seen: Observed) -> None:
    found = planned_or_refused(Machine.at(wanted, seen))
    assume(found is not None)
    assert found is not None
    actions = [step.action for step in found.pending if step.resource in RUNTIMES]
    for at, action in enumerate(actions):
        if action is Action.DISCARD:
            assert actions[at - 1] in (Action.WAIT, Action.PROVE)
        if action is Action.START:
            assert actions[at + 1] is Action.WAIT


@given(GOALS, OBSERVED)
@how(max_examples=150)
def test_nothing_foreign_is_touched_unless_that_was_asked_for(wanted: Goal, seen: Observed) -> None:
    seen = replace(seen, current=ours(None), aside=None)
    if wanted.adopt:
        assert steps(plan(wanted, seen))
        return
    with pytest.raises(NotOurs) as caught:
        plan(wanted, seen)
    assert "--adopt" in (caught.value.fix or "")


@given(GOALS, OBSERVED)
def test_every_step_says_why(wanted: Goal, seen: Observed) -> None:
    found = planned_or_refused(Machine.at(wanted, seen))
    assume(found is not None)
    assert found is not None
    for step in found.steps:
        assert step.reason
        assert step.target
        assert step.changes is (step.action is not Action.KEEP)


@given(GOALS, OBSERVED)
def test_what_stops_a_running_registry_says_that_it_does(wanted: Goal, seen: Observed) -> None:
    found = planned_or_refused(Machine.at(wanted, seen))
    assume(found is not None)
    assert found is not None
    for step in found.steps:
        if step.action in (Action.SET_ASIDE, Action.PUT_BACK):
            assert step.restarts == (NAME,)


MOVES = st.builds(
    lambda wanted, seen, other: (
        replace(wanted, moves=True, adopt=False),
        replace(seen, other=other, current=_ours_or_none(seen.current), aside=_ours_or_none(seen.aside)),
    ),
    GOALS,
    OBSERVED,
    seens().filter(lambda one: one.spec is not None),
)


def _ours_or_none(seen: Seen | None) -> Seen | None:
    return seen if seen and seen.spec else None


@given(MOVES)
@how(max_examples=150)
def test_a_move_ends_on_the_new_side_alone(move: tuple[Goal, Observed]) -> None:
    machine = Machine.at(*move)
    machine.carry_out(machine.plan())
    assert machine.seen.other is None
    assert machine.seen.aside is None
    assert machine.seen.current is not None
    assert machine.seen.current.running
    assert machine.plan().pending == ()


@given(MOVES, st.data())
@how(max_examples=150)
def test_a_move_that_is_killed_is_taken_back_by_the_next_up(
    move: tuple[Goal, Observed], data: st.DataObject
) -> None:
    """The next ``up`` is told to stay on the old side, whose ``other`` is what the move had begun."""
    machine = Machine.at(*move)
    found = machine.plan()
    machine.carry_out(found, stop_after=data.draw(st.integers(0, len(found.pending) - 1), "steps done"))
    left = machine.seen
    assume(left.other is not None)
    old = replace(move[0], runtime=OTHER[move[0].runtime], moves=False, certificate=None)
    spec = left.other.spec if left.other else None
    stopped = machine.stopped
    back = Machine.at(
        old,
        replace(
            left,
            current=None if stopped else left.other,
            aside=replace(left.other, name=f"{NAME}.aside") if stopped and left.other else None,
            other=left.current or left.aside,
        ),
    )
    assert spec is not None
    back.carry_out(back.plan())
    assert back.seen.other is None
    assert back.seen.current is not None
    assert back.seen.current.running
    assert back.plan().pending == ()


def test_a_move_does_not_touch_what_is_not_ours() -> None:
    wanted = goal(moves=True)
    with pytest.raises(NotOurs, match="container named registry"):
        plan(wanted, settled(current=ours(None), other=ours()))
    with pytest.raises(NotOurs, match="service named registry"):
        plan(wanted, settled(current=None, other=ours(None)))


def test_what_is_guarded_is_proven_before_the_old_one_goes() -> None:
    assert steps(plan(goal(guarded=True), settled(current=ours(OLDER)))) == [
        "set aside container",
        "create container",
        "start container",
        "wait for container",
        "prove container",
        "discard container",
    ]
    assert steps(plan(goal(guarded=True, moves=True), settled(current=None, other=ours()))) == [
        "set aside service",
        "create container",
        "start container",
        "wait for container",
        "prove container",
        "discard service",
    ]


def test_on_an_empty_machine_everything_is_made_in_order() -> None:
    deployment = Deployment(name=NAME, storage=Volume("images"), users=("alice",), auth=True)
    wanted = goal(deployment=deployment, directories=("/home/registry",), certificate="none yet")
    assert steps(plan(wanted, Observed())) == [
        "create directory",
        "pull image",
        "create storage",
        "create http.secret",
        "add user",
        "write deployment.yaml",
        "write config.yml",
        "create certificate",
        "create container",
        "start container",
        "wait for container",
    ]


def test_what_lets_encrypt_needs_is_said_before_anything_is_changed() -> None:
    deployment = Deployment(
        name=NAME, storage=Volume("images"), hosts=("registry.example.org",), tls=Tls.ACME, port=5000
    )
    found = plan(goal(deployment=deployment), Observed()).steps
    asked, _ = (one for one in found if one.resource is Resource.CERTIFICATE)
    assert (asked.action, asked.changes) == (Action.KEEP, False)
    assert "on port 443" in asked.reason
    assert "to port 5000 here" in asked.reason
    (wait,) = (one for one in found if one.action is Action.WAIT)
    assert "a certificate for registry.example.org" in wait.reason


def test_a_machine_that_is_as_wanted_keeps_everything() -> None:
    found = plan(goal(), settled())
    assert found.pending == ()
    assert {step.action for step in found.steps} == {Action.KEEP}


def test_a_service_reads_its_new_certificate_and_goes_on() -> None:
    wanted = goal(
        runtime=Resource.SERVICE, files={"deployment.yaml": "1"}, image=None, certificate="asked for"
    )
    assert steps(plan(wanted, settled())) == ["create certificate", "reload service", "discard certificate"]
    stopped = plan(wanted, settled(current=ours(running=False)))
    assert steps(stopped) == ["create certificate", "start service", "wait for service"]


REPLACED = [
    "set aside container",
    "create container",
    "start container",
    "wait for container",
    "discard container",
]


@pytest.mark.parametrize(
    ("wanted", "seen", "reason"),
    [
        (goal(), settled(current=ours(OLDER)), "auth off -> unset; port 4999 -> 5000"),
        (goal(certificate="it expires soon"), settled(), "certificate: it expires soon"),
        (goal(image_archive="/a.tar"), settled(), "image from an archive"),
        (goal(), settled(current=ours(health="unhealthy")), "it is unhealthy"),
        (goal(), settled(files={"deployment.yaml": "1", "config.yml": "x", "http.secret": "s"}), "on disk"),
        (goal(adopt=True), settled(current=ours(None)), "--adopt"),
    ],
)
def test_a_replacement_says_why(wanted: Goal, seen: Observed, reason: str) -> None:
    found = plan(wanted, seen)
    assert [step for step in steps(found) if "container" in step] == REPLACED
    aside = next(step for step in found.pending if step.action is Action.SET_ASIDE)
    assert reason in aside.reason
    assert aside.data_impact.startswith("kept")


@pytest.mark.parametrize("health", ["healthy", "starting", "unknown"])
def test_a_running_one_that_is_not_unhealthy_is_kept(health: str) -> None:
    assert plan(goal(), settled(current=ours(health=health))).pending == ()


def test_a_stopped_one_is_started_and_not_replaced() -> None:
    stopped = settled(current=ours(running=False, health="unhealthy"))
    assert steps(plan(goal(), stopped)) == ["start container", "wait for container"]


def test_a_finished_replacement_only_loses_its_predecessor() -> None:
    found = plan(goal(), settled(aside=Seen("old", f"{NAME}.aside", OLDER, running=False)))
    assert steps(found) == ["wait for container", "discard container"]
    assert found.pending[1].target == f"{NAME}.aside"


def test_an_unfinished_replacement_is_taken_back_and_done_again() -> None:
    left = settled(current=ours(running=False), aside=Seen("old", f"{NAME}.aside", OLDER, running=False))
    assert steps(plan(goal(), left)) == ["remove container", "put back container", *REPLACED]


def test_a_lone_predecessor_is_put_back_and_replaced() -> None:
    left = settled(current=None, aside=Seen("old", f"{NAME}.aside", OLDER, running=False))
    assert steps(plan(goal(), left)) == ["put back container", *REPLACED]


def test_a_lone_predecessor_that_is_what_is_wanted_is_put_back_and_answers() -> None:
    left = settled(current=None, aside=Seen("old", f"{NAME}.aside", WANTED, running=False))
    assert steps(plan(goal(), left)) == ["put back container", "wait for container"]
    service = goal(
        runtime=Resource.SERVICE, files={"deployment.yaml": "1"}, image=None, certificate="it expires soon"
    )
    assert steps(plan(service, left)) == [
        "put back service",
        "create certificate",
        "reload service",
        "discard certificate",
    ]


def test_a_stranger_that_took_the_name_meanwhile_is_not_removed() -> None:
    left = settled(current=ours(None), aside=Seen("old", f"{NAME}.aside", OLDER, running=False))
    with pytest.raises(NotOurs):
        plan(goal(), left)


@pytest.mark.parametrize(("image", "cause"), [("nginx:1", "made from nginx:1"), (None, "no label")])
def test_a_refusal_says_what_the_stranger_is(image: str | None, cause: str) -> None:
    stranger = Seen("id", NAME, None, running=True, image=image)
    with pytest.raises(NotOurs) as caught:
        plan(goal(), settled(current=stranger))
    assert cause in (caught.value.cause or "")
    assert caught.value.as_dict()["code"] == "not-ours"


@pytest.mark.parametrize(
    ("users", "there", "auth", "added"),
    [
        (("alice",), None, True, ("alice",)),
        (("alice", "bob"), ("alice",), True, ("bob",)),
        ((), None, True, ("admin",)),
        ((), (), True, ()),
        ((), ("alice",), True, ()),
        ((), None, False, ()),
    ],
)
def test_only_who_is_missing_needs_a_password(
    users: tuple[str, ...], there: tuple[str, ...] | None, auth: bool, added: tuple[str, ...]
) -> None:
    deployment = Deployment(name=NAME, storage=Volume("v"), users=users, auth=auth)
    assert plan(goal(deployment=deployment), settled(users=there)).new_users == added
