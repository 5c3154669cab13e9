"""What the engine reports of containers, as the nouns of ``observed``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from regsetup.backends.container import DATA
from regsetup.backends.engine import translated
from regsetup.observed import Seen, Spec

if TYPE_CHECKING:
    from regsetup.backends.engine import Engine

LABEL_SPEC = "io.regsetup.spec"


def seen(attrs: dict[str, Any]) -> Seen:
    """Read what the engine says of a container (``GET /containers/{id}/json``)."""
    labels, state = attrs["Config"].get("Labels") or {}, attrs["State"]
    spec = Spec(json.loads(labels[LABEL_SPEC])) if LABEL_SPEC in labels else None
    return Seen(
        id=attrs["Id"][:12],
        name=attrs["Name"].removeprefix("/"),
        spec=spec,
        running=bool(state["Running"]) and not state.get("Restarting"),
        health=health(state),
        started_at=state["StartedAt"] if state["Running"] else None,
        image=attrs["Config"].get("Image"),
        storage=_storage(attrs.get("Mounts") or ()),
        published=published(attrs),
        exit_code=None if state["Running"] else state["ExitCode"],
        pid=state.get("Pid") or None,
    )


def health(state: dict[str, Any]) -> str:
    """Return the state of Docker's own health check, ``unknown`` where there is none."""
    status = (state.get("Health") or {}).get("Status", "none")
    return "unknown" if status == "none" else str(status)


def _storage(mounts: Any) -> str | None:
    for mount in mounts:
        if mount["Destination"] == DATA:
            return f"volume:{mount['Name']}" if mount["Type"] == "volume" else str(mount["Source"])
    return None


def published(attrs: dict[str, Any]) -> tuple[str, int] | None:
    """Return the host address and port of a container's first published port."""
    for bindings in (attrs["HostConfig"].get("PortBindings") or {}).values():
        for binding in bindings or ():
            return binding.get("HostIp") or "0.0.0.0", int(binding["HostPort"] or 0)  # noqa: S104
    return None


def publisher(engine: Engine, port: int, *, but: tuple[str, ...]) -> str | None:
    """Name the running container that publishes ``port``, other than those in ``but``."""
    with translated():
        for container in engine.client.api.containers():
            name = container["Names"][0].removeprefix("/")
            if name not in but and any(one.get("PublicPort") == port for one in container["Ports"]):
                return f"container {name}"
    return None
