"""The registry as a container, through the Docker SDK.

The container carries its spec as a label; what regsetup did not label is not regsetup's. An old container
is kept under the name ``NAME.regsetup-aside`` until the new one is healthy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from regsetup.backends import carried, images
from regsetup.backends import container as containers
from regsetup.backends.engine import EngineError, translated
from regsetup.backends.reported import LABEL_SPEC, health, published, seen
from regsetup.certify import certificate_files
from regsetup.deployment import DEFAULT_NAME, Tls, Volume
from regsetup.host.ports import PortInUse, free_port
from regsetup.observed import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.models.containers import Container

    from regsetup.backends.engine import Engine
    from regsetup.deployment import Deployment, Paths
    from regsetup.observed import Seen

LABEL_HASH = "io.regsetup.spec-hash"
STOP_TIMEOUT = 10  # seconds; a registry finishes its requests well within Docker's own default
_NANOSECONDS = 1_000_000_000
_PROBES = {  # in the order they are looked for; `GET /` is the registry's liveness, without credentials
    "/usr/bin/wget": ("wget", "-q", "--spider", "--no-check-certificate"),
    "/bin/wget": ("wget", "-q", "--spider", "--no-check-certificate"),
    "/usr/bin/curl": ("curl", "-fsSko", "/dev/null"),
}


class DockerRuntime:
    """One registry's container."""

    backend = "docker"
    kind = "container"

    def __init__(self, engine: Engine, paths: Paths) -> None:
        self.engine = engine
        self.paths = paths
        self.aside_name = f"{paths.name}.regsetup-aside"
        self.probe_name = f"{paths.name}.regsetup-probe"
        self.collector_name = f"{paths.name}.regsetup-gc"
        self.new_name = f"{paths.name}.regsetup-new"

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``Runtime.notes``."""
        return notes(self.engine, self.paths.name)

    def spec(self, wanted: Deployment) -> Spec:
        """See ``Runtime.spec``.

        The ids of the image and of the certificate are part of it: a newer image under the same tag counts,
        and so does a certificate that a run made before it was killed, for a registry reads it at start only.
        """
        image = images.find(self.engine, wanted.image)
        settings = {
            "image": wanted.image,
            "image-id": image.id.removeprefix("sha256:")[:12] if image else "not here yet",
            "bind": wanted.bind,
            "port": str(wanted.port),
            "listen": str(wanted.listen),
            "data": str(wanted.storage),
            "auth": wanted.realm if wanted.auth else "off",
            "tls": str(wanted.tls),
            "restart": str(wanted.restart_policy),
            "user": self._user(wanted) or "the image's",
            "mirror-of": wanted.mirror_of or "nothing",
            "files": "carried" if self.engine.elsewhere else str(self.paths.root),
        }
        if wanted.read_only:
            settings["read-only"] = "yes"
        if wanted.tls is Tls.ACME:
            settings |= {"hosts": ", ".join(wanted.hosts), "acme-email": wanted.acme_email or "none"}
        if wanted.keeps_pair:
            settings["certificate"] = _fingerprint(certificate_files(self.paths).certificate)
        settings |= {f"env {key}": value for key, value in wanted.env}
        return Spec(settings)

    def _user(self, wanted: Deployment) -> str | None:
        """Files in a directory belong to the one who runs regsetup, so that he can delete them later."""
        if os.geteuid() == 0 or self.engine.rootless or isinstance(wanted.storage, Volume):
            return None
        return f"{os.geteuid()}:{os.getegid()}"

    def current(self) -> Seen | None:
        """See ``Runtime.current``."""
        return self._seen(self.paths.name)

    def aside(self) -> Seen | None:
        """See ``Runtime.aside``."""
        return self._seen(self.aside_name)

    def _find(self, name: str) -> Container | None:
        from docker.errors import NotFound

        with translated():
            try:
                return self.engine.client.containers.get(name)
            except NotFound:
                return None

    def _seen(self, name: str) -> Seen | None:
        container = self._find(name)
        if container is None or container.name != name:  # `get` takes the beginning of an id, too
            return None
        return seen(container.attrs)

    def create(self, wanted: Deployment, spec: Spec) -> None:
        """See ``Runtime.create``."""
        image = images.find(self.engine, wanted.image)
        if image is None:
            raise images.ImageNotFound(wanted.image, "it was removed meanwhile")
        facts = self.facts(image, wanted)
        if not self.engine.elsewhere:
            made = containers.describe(wanted, containers.Sources.of(self.paths), facts)
            self._make(made, made.name, spec)
            return
        self._remove_helper(self.new_name)
        try:
            self._make(containers.describe(wanted, None, facts), self.new_name, spec)
            carried.fill(self.engine, self.new_name, wanted, self.paths, facts.config_path)
            with translated():
                self.engine.client.api.rename(self.new_name, self.paths.name)
        except EngineError:
            with contextlib.suppress(EngineError):  # gone: the next one made, or teardown, removes it
                self._remove_helper(self.new_name)
            raise

    def _make(self, made: containers.Container, name: str, spec: Spec) -> None:
        from docker.types import LogConfig

        api = self.engine.client.api
        with translated():
            api.create_container(
                made.image,
                name=name,
                user=made.user,
                ports=[(made.port, "tcp")],
                environment=dict(made.env),
                healthcheck=_health_check(made.health),
                labels={**dict(made.labels), LABEL_SPEC: spec.as_json(), LABEL_HASH: spec.hash},
                volumes=[mount.target for mount in made.mounts if not mount.source],
                host_config=api.create_host_config(
                    binds=[str(mount) for mount in made.mounts if mount.source],
                    port_bindings={f"{made.port}/tcp": (made.publish.host, made.publish.port)},
                    restart_policy={"Name": str(made.restart)},
                    security_opt=["no-new-privileges"],
                    log_config=LogConfig(type="json-file", config=containers.LOG_OPTIONS),
                ),
            )

    def facts(self, image: images.Image, wanted: Deployment) -> containers.Facts:
        """Return what the container depends on besides what is wanted."""
        probe = self._probe_program(image)
        return containers.Facts(image.config_path, probe, self.engine.selinux, self._user(wanted))

    def _probe_program(self, image: images.Image) -> tuple[str, ...] | None:
        """Look into the image by a container that is made, never started, and removed."""
        from docker.errors import NotFound

        api = self.engine.client.api
        self._remove_helper(self.probe_name)
        with translated():
            api.create_container(image.id, command=["none"], name=self.probe_name, labels={LABEL_SPEC: "{}"})
            try:
                for path, words in _PROBES.items():
                    with contextlib.suppress(NotFound):
                        stream, _ = api.get_archive(self.probe_name, path)
                        stream.close()
                        return words
            finally:
                api.remove_container(self.probe_name, force=True, v=True)
        return None

    def start(self) -> None:
        """See ``Runtime.start``; a collector that a killed run left ends first: the two don't agree.

        Raises:
            PortInUse: somebody took the port since it was looked at.
        """
        self._remove_helper(self.collector_name)
        container = self._find(self.paths.name)
        if container is None:
            raise EngineError(f"container {self.paths.name} is gone", cause="it was removed meanwhile")
        try:
            with translated():
                container.start()
        except EngineError as error:
            words = error.cause or ""
            if "port is already allocated" in words or "address already in use" in words:
                host, port = published(container.attrs) or ("", 0)
                free = port + 1 if self.engine.elsewhere else free_port(host, port)
                raise PortInUse(host, port, "another container or process", free) from error
            raise

    def stop(self) -> None:
        """See ``Runtime.stop``."""
        if container := self._find(self.paths.name):
            with translated():
                container.stop(timeout=STOP_TIMEOUT)

    def failure(self) -> str | None:
        """See ``Runtime.failure``."""
        container = self._find(self.paths.name)
        if container is None:
            return "the container is gone"
        state = container.attrs["State"]
        if state["Running"] and not state["Restarting"]:  # also anew: its code is 0 until it ends again
            return "Docker finds it unhealthy" if health(state) == "unhealthy" else None
        words = f": {state['Error']}" if state.get("Error") else ""
        return f"the container exited with code {state['ExitCode']}{words}"

    def set_aside(self) -> None:
        """See ``Runtime.set_aside``."""
        if container := self._find(self.paths.name):
            with translated():
                container.stop(timeout=STOP_TIMEOUT)
                container.rename(self.aside_name)

    def put_back(self) -> None:
        """See ``Runtime.put_back``."""
        if container := self._find(self.aside_name):
            with translated():
                container.rename(self.paths.name)
        self.carry_users()  # it has its users as they were when it was set aside
        self.start()

    def remove(self) -> None:
        """See ``Runtime.remove``."""
        self._remove_helper(self.probe_name)
        self._remove_helper(self.collector_name)
        self._remove_helper(self.new_name)
        self._remove(self.paths.name)

    def discard_aside(self) -> None:
        """See ``Runtime.discard_aside``."""
        self._remove(self.aside_name)

    def _remove(self, name: str) -> None:
        """Remove a container; anonymous volumes only of our own, for another's may hold its images."""
        if container := self._find(name):
            with translated():
                if container.attrs["State"]["Running"]:
                    container.stop(timeout=STOP_TIMEOUT)
                container.remove(v=LABEL_SPEC in container.labels, force=True)

    def _remove_helper(self, name: str) -> None:
        """Remove a helper that a killed run left; a stranger of that name stays, and Docker names it then."""
        if (container := self._find(name)) and LABEL_SPEC in container.labels:
            self._remove(name)

    def carry_users(self) -> None:
        """See ``Runtime.carry_users``."""
        container = self._find(self.paths.name) if self.engine.elsewhere else None
        if container is not None and LABEL_SPEC in container.labels and self.paths.htpasswd.exists():
            running = bool(container.attrs["State"]["Running"])
            carried.users(self.engine, self.paths.name, self.paths.htpasswd, running=running)

    def logs(self, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """See ``Runtime.logs``."""
        container = self._find(self.paths.name)
        if container is None:
            return
        with translated():
            stream = container.logs(stream=True, follow=follow, tail="all" if tail is None else tail)
        # docker 7.1: the stream's close() ends the connection, but its response keeps the socket open.
        response = stream._response  # type: ignore[attr-defined]  # noqa: SLF001
        with translated(), contextlib.closing(response), contextlib.closing(stream):
            rest = b""
            for chunk in stream:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace").rstrip("\r")
            if rest:
                yield rest.decode(errors="replace")


def _health_check(health: tuple[str, ...] | None) -> dict[str, Any] | None:
    if health is None:
        return None
    return {
        "test": ["CMD", *health],
        "interval": containers.HEALTH_INTERVAL * _NANOSECONDS,
        "timeout": containers.HEALTH_TIMEOUT * _NANOSECONDS,
        "retries": containers.HEALTH_RETRIES,
    }


def notes(engine: Engine, name: str) -> tuple[str, ...]:
    """Return what a person should know of an engine elsewhere."""
    if not engine.elsewhere:
        return ()
    option = "" if name == DEFAULT_NAME else f" --name {name}"
    host = urlsplit(engine.address).hostname
    export = f"regsetup trust export{option} | ssh {host} sudo sh"
    told = f"the engine on {host} takes the registry at its own loopback; for its name: {export}"
    plain = f"{engine.address} is neither encrypted nor protected: who reads along owns that machine"
    return (told, plain) if engine.address.startswith("tcp:") and not engine.tls else (told,)


def _fingerprint(certificate: Path) -> str:
    if not certificate.exists():
        return "not here yet"
    return hashlib.sha256(certificate.read_bytes()).hexdigest()[:12]
