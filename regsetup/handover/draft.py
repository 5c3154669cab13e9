"""The texts of one kind, worked out but not yet written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import acme
from regsetup.backends import serve_command, unit
from regsetup.backends.container import Facts, Sources, config_text, describe
from regsetup.backends.description import Description, ManagedBy
from regsetup.deployment import Tls
from regsetup.handover import compose, kubernetes, quadlet
from regsetup.handover.files import File
from regsetup.handover.material import http_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.auth.htpasswd import Password
    from regsetup.deployment import Deployment, Paths
    from regsetup.handover.kubernetes import Cluster
    from regsetup.handover.material import Places, Users

_SELINUX = Path("/sys/fs/selinux/enforce")
_WGET = ("wget", "-q", "--spider", "--no-check-certificate")  # what the official images have
_CONFIG_2, _CONFIG_3 = "/etc/docker/registry/config.yml", "/etc/distribution/config.yml"


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be written.

    Attributes:
        texts: the files that the other program reads, by name.
        beside: the files that these refer to.
    """

    texts: Mapping[str, str]
    beside: tuple[File, ...] = ()
    passwords: Mapping[str, Password] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def systemd(
    wanted: Deployment, paths: Paths, places: Places, users: Users | None, certs: Path | None
) -> Draft:
    """Return the bundled registry's unit; of a service that stands just as it is.

    Raises:
        NoAcme: it is to get a certificate by itself.
        EmbeddedNeedsDirectory: images are to be stored in a named volume.
    """
    if wanted.tls is Tls.ACME:
        raise acme.NoAcme("a unit runs it")
    at = places.standing or places.out or paths
    system = os.geteuid() == 0
    managed_by = ManagedBy.SYSTEM if system else ManagedBy.USER
    spec = serve_command.spec(wanted, at, serve_command.COMMAND, str(managed_by))
    there = Description.read(at.root / "service.json")
    sources = Sources(at.config, users.path.parent if users else at.auth, certs or at.certs, at.acme)
    text = unit.text(
        name=wanted.name,
        identity=there.id if there else spec.hash,
        root=at.root,
        log=at.log,
        data=serve_command.data_directory(wanted),
        spec=spec,
        argv=serve_command.argv(wanted, sources, serve_command.COMMAND, None if system else at.log),
        env=wanted.env,
        restart=wanted.restart_policy,
        system=system,
    )
    return _with_users({f"regsetup-{wanted.name}.service": text}, (), users, ())


def container(
    for_compose: bool,
    wanted: Deployment,
    paths: Paths,
    places: Places,
    users: Users | None,
    certs: Path | None,
) -> Draft:
    """Return the container for compose, or for podman, with ``config.yml`` beside it.

    That is never a standing registry's own: a teardown takes it away.

    Raises:
        NeedsDirectory: no place for these files was named.
    """
    out = places.make("config.yml")
    secret, files = http_secret(places)
    facts, notes = look_into_image(wanted, paths)
    notes += acme.notes(wanted)
    issued = (places.standing or out).acme
    sources = Sources(out.config, users.path.parent if users else out.auth, certs or out.certs, issued)
    files = (*files, File(out.config, config_text(wanted, secret)))
    seen = describe(wanted, sources, facts)
    if for_compose:
        exists = places.standing is not None
        texts = {"compose.yaml": compose.text(seen, out.root, volume_exists=exists)}
    else:
        texts = quadlet.files(replace(seen, user=None))  # podman's root is the person who runs it
    return _with_users(texts, files, users, notes)


def kubernetes_objects(
    wanted: Deployment,
    paths: Paths,
    places: Places,
    users: Users | None,
    certs: Path | None,
    cluster: Cluster,
) -> Draft:
    """Return the objects, with users and certificate inside."""
    secret, files = http_secret(places)
    facts, notes = look_into_image(wanted, paths)
    notes += acme.notes(wanted)
    held = kubernetes.Contents(
        config_text(wanted, secret),
        str(users.htpasswd) if users else None,
        _certificates(certs) if certs else None,
    )
    seen = describe(wanted, Sources.of(paths), facts)
    return _with_users({"kubernetes.yaml": kubernetes.text(seen, held, cluster)}, files, users, notes)


def _with_users(
    texts: Mapping[str, str], files: tuple[File, ...], users: Users | None, notes: tuple[str, ...]
) -> Draft:
    if users is None:
        return Draft(texts, files, {}, notes)
    return Draft(texts, (*files, *users.files), users.passwords, notes)


def _certificates(directory: Path) -> dict[str, str]:
    names = ("ca.crt", "tls.crt", "tls.key")
    return {name: (directory / name).read_text() for name in names if (directory / name).exists()}


def look_into_image(wanted: Deployment, paths: Paths) -> tuple[Facts, tuple[str, ...]]:
    """Ask the engine what the image is like; where none has it, take it for the official one and say so."""
    from regsetup.backends.context import BadContext
    from regsetup.backends.docker import DockerRuntime
    from regsetup.backends.engine import EngineDown, EngineNoRights, EngineTls, connect
    from regsetup.backends.images import find
    from regsetup.host.ssh import SshFailed

    try:
        engine = connect()
    except (EngineDown, EngineNoRights, EngineTls, SshFailed, BadContext):
        return _official(wanted)
    try:
        image = find(engine, wanted.image)
        return (DockerRuntime(engine, paths).facts(image, wanted), ()) if image else _official(wanted)
    finally:
        engine.client.close()


def _official(wanted: Deployment) -> tuple[Facts, tuple[str, ...]]:
    from regsetup.reference import Reference

    newer = (Reference.parse(wanted.image).tag or "").partition(".")[0] == "3"
    facts = Facts(_CONFIG_3 if newer else _CONFIG_2, _WGET, _SELINUX.exists())
    note = f"no engine here has {wanted.image}: taken to be like the official registry:{3 if newer else 2}"
    return facts, (note,)
