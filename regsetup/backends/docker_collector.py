"""registry:2's own collector, run on the container's storage by a helper container of the same image.

The helper has the registry's mounts and settings and no network. While it deletes, the registry must not run:
distribution's collector knows nothing of a push that is under way (distribution#3045).
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from regsetup.backends.container import LABEL_NAME
from regsetup.backends.distribution import CONFIG_2
from regsetup.backends.engine import EngineError, translated
from regsetup.backends.reported import LABEL_SPEC
from regsetup.errors import RegsetupError
from regsetup.reference import Digest

if TYPE_CHECKING:
    from regsetup.backends.engine import Engine
    from regsetup.registry.survey import Damage

_TIMEOUT = 24 * 3600  # seconds; a collection of millions of files takes hours
_ELIGIBLE = re.compile(r"^(?:blob|manifest) eligible for deletion: (\S+)", re.MULTILINE)
_EMPTY = "Path not found: /docker/registry/v2/repositories"  # nobody has pushed yet, 2.8 fails at that
_LINES = 10  # of what it said, in an error's cause


class CollectorFailed(RegsetupError):
    """The image's own ``garbage-collect`` ended with an error."""

    code = "collector-failed"

    def __init__(self, code: int, said: str) -> None:
        tail = "\n".join(said.strip().splitlines()[-_LINES:])
        super().__init__(
            f"registry garbage-collect ended with code {code}",
            cause=f"it said:\n{tail}",
            fix="regsetup verify names what is damaged; remove that, or push it again",
        )


class DockerCollector:
    """Runs ``garbage-collect`` beside one container, which may run for a dry run only.

    Attributes:
        damaged: always empty, for it fails where something is.
    """

    damaged: tuple[Damage, ...] = ()

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._registry = name
        self.name = f"{name}.regsetup-gc"

    def eligible(self) -> frozenset[Digest]:
        """Return what a collection would delete: blobs and manifests. Reads only.

        Raises:
            CollectorFailed: it can't read the storage, such as a damaged link.
        """
        said = self._run("--dry-run")
        return frozenset(Digest.parse(found) for found in _ELIGIBLE.findall(said))

    def collect(self) -> None:
        """Delete what nothing refers to; manifests without a tag stay.

        Raises:
            CollectorFailed: it ended with an error.
        """
        self._run()

    def clear(self) -> None:
        """Remove a helper that a killed run left, running or not; a stranger of that name stays."""
        from docker.errors import NotFound

        api = self._engine.client.api
        with translated(), contextlib.suppress(NotFound):
            if LABEL_SPEC in (api.inspect_container(self.name)["Config"]["Labels"] or {}):
                api.remove_container(self.name, force=True, v=False)

    def _run(self, *flags: str) -> str:
        self.clear()
        api = self._engine.client.api
        with translated():
            attrs = api.inspect_container(self._registry)
            program, config = _words(attrs["Config"])
            api.create_container(
                attrs["Image"],
                name=self.name,
                entrypoint=program[:1],
                command=[*program[1:], "garbage-collect", *flags, config],
                user=attrs["Config"].get("User") or None,
                environment=attrs["Config"].get("Env"),
                labels={LABEL_NAME: self._registry, LABEL_SPEC: "{}"},
                host_config=api.create_host_config(
                    binds=[_bind(mount) for mount in attrs["Mounts"]],
                    network_mode="none",
                    security_opt=["no-new-privileges"],
                ),
            )
        try:
            with translated():
                api.start(self.name)
                code = int(api.wait(self.name, timeout=_TIMEOUT)["StatusCode"])
                said = api.logs(self.name).decode(errors="replace")
        finally:
            self.clear()
        if code and _EMPTY in said:
            return ""
        if code:
            raise CollectorFailed(code, said)
        return str(said)


def _bind(mount: dict[str, Any]) -> str:
    """Return a mount of the registry; podman's ``volumes_from`` collides with what the image declares."""
    source = mount["Name"] if mount["Type"] == "volume" else mount["Source"]
    return f"{source}:{mount['Destination']}:{'rw' if mount['RW'] else 'ro'}"


def _words(config: dict[str, Any]) -> tuple[list[str], str]:
    """Return what stands before the subcommand in an image's command line, and the path of its config.

    ``/entrypoint.sh /etc/.../config.yml`` is the official image's; its script knows ``garbage-collect``.

    Raises:
        EngineError: the container has no command of its own.
    """
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not words:
        raise EngineError("the container's program is not known", cause="its image names none")
    path = next((word for word in words if word.endswith((".yml", ".yaml"))), CONFIG_2)
    return words[: words.index("serve")] if "serve" in words else words[:1], path
