"""A change to the machine as a value, the plan that it stands in, and who is told when it happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Action(StrEnum):
    """What a step does."""

    KEEP = "keep"
    CREATE = "create"
    WRITE = "write"
    ADD = "add"
    PULL = "pull"
    LOAD = "load"
    SET_ASIDE = "set aside"
    START = "start"
    WAIT = "wait for"
    RELOAD = "reload"
    DISCARD = "discard"
    REMOVE = "remove"
    PUT_BACK = "put back"
    PROVE = "prove"


class Resource(StrEnum):
    """What a step is about."""

    IMAGE = "image"
    DIRECTORY = "directory"
    STORAGE = "storage"
    SECRET = "http.secret"  # noqa: S105  the name of a file
    USER = "user"
    CERTIFICATE = "certificate"
    CONFIG = "config.yml"
    TRUST = "trust"
    CONTAINER = "container"
    SERVICE = "service"
    DEPLOYMENT = "deployment.yaml"


@dataclass(frozen=True, slots=True)
class Step:
    """One change, or the statement that none is needed."""

    action: Action
    resource: Resource
    target: str
    reason: str
    data_impact: str = "none"
    restarts: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the step does anything."""
        return self.action is not Action.KEEP


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order."""

    steps: tuple[Step, ...]

    @property
    def pending(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.changes)

    @property
    def new_users(self) -> tuple[str, ...]:
        """Users that the plan adds, and that need a password."""
        return tuple(step.target for step in self.steps if step.resource is Resource.USER and step.changes)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull or load is: what is done, bytes so far and bytes in all (0 where unknown)."""

    status: str
    done: int = 0
    total: int = 0


class Reporter(Protocol):
    """Is told what happens while it happens."""

    def started(self, step: Step) -> None:
        """A step begins."""
        ...

    def done(self, step: Step) -> None:
        """The step that began last is done."""
        ...

    def transferred(self, progress: Progress) -> None:
        """A part of an image has arrived."""
        ...

    def noted(self, note: str) -> None:
        """Something is left for a person to do."""
        ...

    def undone(self, step: Step) -> None:
        """A step was taken back."""
        ...
