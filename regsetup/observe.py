"""Looks at the machine and works out the goal: everything that ``plan`` compares. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regsetup import acme, settings, storage, trust_here, users
from regsetup import state as states
from regsetup.backends.choice import other_side, require_here
from regsetup.backends.container import config_text
from regsetup.backends.engine import of_this_machine
from regsetup.certify import why_install
from regsetup.deployment import DEFAULT_IMAGE, Deployment, Directory, Tls
from regsetup.host import ports
from regsetup.load import DEFAULT_USER
from regsetup.observed import Observed
from regsetup.plan import Goal
from regsetup.secret import Secret
from regsetup.state import Kind
from regsetup.step import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.backends.engine import Engine
    from regsetup.deployment import Paths
    from regsetup.observed import Seen
    from regsetup.state import State
    from regsetup.trust.base import Client
    from regsetup.trust_here import Confirm

_HEAD = """\
# What `regsetup up` was told, so that `regsetup up` alone means the same again. Users are in auth/htpasswd.
"""
SECRET_BYTES = 32  # 256 bits, as distribution draws for itself when http.secret is not set


@dataclass(frozen=True, slots=True)
class Survey:
    """What is wanted and what is there, side by side.

    Attributes:
        texts: the wanted content of each generated file, by name.
        http_secret: the one on disk, or a new one that a step will write.
        clients: programs of this machine that pull and push.
        other: the other back end, where the ledger knows a container or service of this registry on it.
    """

    choice: Choice
    paths: Paths
    goal: Goal
    seen: Observed
    texts: Mapping[str, str]
    http_secret: Secret
    clients: tuple[Client, ...] = ()
    other: Choice | None = None

    @property
    def wanted(self) -> Deployment:
        """The deployment."""
        return self.goal.deployment


def survey(
    wanted: Deployment,
    wished: Mapping[str, object],
    choice: Choice,
    paths: Paths,
    confirm: Confirm,
    *,
    adopt: bool = False,
    renew_certificate: bool = False,
    guarded: bool = False,
) -> Survey:
    """Look at the container or service, port, files and image.

    Args:
        guarded: whether what replaces something is proven before the old one goes.

    Raises:
        PortInUse: the wanted port is held by somebody else.
        BadArchive: ``--image-archive`` is not an image archive.
        NoAcme: the bundled registry is to get a certificate by itself.
        BundleLacksImage: nothing may be pulled, and the image is neither here nor in the bundle.
    """
    if wanted.tls is Tls.ACME and choice.engine is None:
        raise acme.NoAcme(choice.reason)
    wanted, archive = _with_image(wanted, choice)
    state = states.read(paths.state)
    found = _find(choice, paths, state)
    if adopt and found.current and found.current.spec is None:
        wanted = _taken_over(wanted, wished, found.current.storage, paths)
    if wanted.port not in found.ports:
        _refuse_taken_port(wanted, choice, (paths.name, f"{paths.name}.regsetup-aside"))
    if isinstance(wanted.storage, Directory) and found.current is None:
        storage.require_free(wanted.storage.path)
    secret = read_http_secret(paths) or Secret(secrets.token_hex(SECRET_BYTES))
    certificate = why_install(wanted, paths) or ("asked for" if renew_certificate else None)
    trust = _trust(wanted, choice, paths, confirm, new_certificate=certificate is not None)
    texts = _texts(wanted, wished, choice, paths, secret)
    goal = Goal(
        deployment=wanted,
        runtime=Resource(choice.runtime.kind),
        spec=choice.runtime.spec(wanted),
        directories=_directories(wanted, paths),
        files={name: sha256(text) for name, text in texts.items()},
        image=wanted.image if choice.engine else None,
        image_archive=archive,
        secret=choice.engine is not None,
        certificate=certificate,
        stale_trust=trust.stale,
        trust=tuple((f"{one.client} {one.address}", one.needed, one.reason) for one in trust.wishes),
        default_user=DEFAULT_USER,
        adopt=adopt,
        guarded=guarded,
        moves=state is not None and found.there is not None and state.backend != choice.runtime.backend,
    )
    seen = Observed(
        current=found.current,
        aside=found.aside,
        other=found.there,
        files=_files(paths, goal.directories),
        users=read_users(paths),
        storage_exists=_storage_exists(wanted, choice),
        image=_image_id(wanted, choice),
    )
    return Survey(choice, paths, goal, seen, texts, secret, trust.clients, found.other)


@dataclass(frozen=True, slots=True)
class _Found:
    """The containers or services of this registry: in use, aside, and, in a move, on the other back end."""

    current: Seen | None
    aside: Seen | None
    there: Seen | None
    other: Choice | None

    @property
    def ports(self) -> tuple[int, ...]:
        """Those that this registry holds itself."""
        ours = (self.current, self.aside, self.there)
        return tuple(one.published[1] for one in ours if one and one.running and one.published)


def _find(choice: Choice, paths: Paths, state: State | None) -> _Found:
    other = other_side(paths, state, choice) if state else None
    there = (other.runtime.current() or other.runtime.aside()) if other else None
    return _Found(choice.runtime.current(), choice.runtime.aside(), there, other)


@dataclass(frozen=True, slots=True)
class _Trust:
    """Clients of this machine, what they are to be told, and which addresses they are to forget."""

    clients: tuple[Client, ...] = ()
    wishes: tuple[trust_here.Wish, ...] = ()
    stale: tuple[str, ...] = ()


def _trust(
    wanted: Deployment, choice: Choice, paths: Paths, confirm: Confirm, *, new_certificate: bool
) -> _Trust:
    addresses = trust_here.told(wanted)
    state = states.read(paths.state)
    stale = tuple(one for one in state.of(Kind.TRUST) if one not in addresses) if state else ()
    if not addresses and not stale and wanted.mirror_of is None:
        return _Trust()
    own = choice.engine.address if choice.engine else None
    clients = trust_here.clients(of_this_machine(own, os.environ), wanted, confirm)
    wishes = trust_here.wishes(clients, wanted, paths, new_certificate=new_certificate)
    return _Trust(clients, wishes, stale)


def sha256(text: str) -> str:
    """Return the hex digest of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_users(paths: Paths) -> tuple[str, ...] | None:
    """Return the names in htpasswd, None if there is no such file."""
    return users.read(paths.htpasswd).users if paths.htpasswd.exists() else None


def read_http_secret(paths: Paths) -> Secret | None:
    """Return the registry's ``http.secret``, None before the first ``up``."""
    try:
        return Secret(paths.http_secret.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None


def _with_image(wanted: Deployment, choice: Choice) -> tuple[Deployment, str | None]:
    """Name the image to run, and the archive that it is to be loaded from, None if it need not be."""
    from regsetup.backends import images

    if choice.engine and wanted.image_archive:
        return _with_archive(choice.engine, wanted, wanted.image_archive)
    if choice.engine and wanted.bundle:
        require_here(choice.engine, wanted)
    elif wanted.image_archive and not wanted.bundle:
        images.read_archive(wanted.image_archive)  # not needed without an engine, but a wrong file is told
    return wanted, None


def _with_archive(engine: Engine, wanted: Deployment, path: Path) -> tuple[Deployment, str | None]:
    """Name the archive's image, unless one was asked for; the archive counts only if it is not loaded yet."""
    from regsetup.backends import images

    archive = images.read_archive(path)
    if wanted.bundle and (problem := images.foreign(engine, archive)):
        raise images.BadArchive(
            f"{wanted.bundle} does not suit this engine",
            cause=problem,
            fix="a bundle made on a machine like this one; or --backend embedded, which needs no image",
        )
    if wanted.image == DEFAULT_IMAGE and archive.tags and DEFAULT_IMAGE not in archive.tags:
        wanted = replace(wanted, image=archive.tags[0])
    local = images.find(engine, wanted.image)
    return wanted, None if local and local.id in archive.ids else str(path)


def _taken_over(
    wanted: Deployment, wished: Mapping[str, object], images: str | None, paths: Paths
) -> Deployment:
    """With ``--adopt`` the images of the old container stay in use, unless ``--data`` says otherwise."""
    if images is None or "data" in wished:
        return wanted
    return replace(wanted, storage=settings.storage(images, paths.root))


def _refuse_taken_port(wanted: Deployment, choice: Choice, ours: tuple[str, ...]) -> None:
    """Refuse a port that somebody else holds.

    Setting the old one aside frees its port on every address; a third who holds another of them is met when
    the new one is started.
    """
    there = choice.engine is not None and choice.engine.elsewhere
    owner = None if there else ports.owner(wanted.bind, wanted.port)
    if choice.engine and (owner or there):
        from regsetup.backends.reported import publisher

        owner = publisher(choice.engine, wanted.port, but=ours) or owner
    if owner:  # a process over there is met when the container is started
        free = wanted.port + 1 if there else ports.free_port(wanted.bind, wanted.port)
        raise ports.PortInUse(wanted.bind, wanted.port, owner, free)


def _texts(
    wanted: Deployment, wished: Mapping[str, object], choice: Choice, paths: Paths, secret: Secret
) -> dict[str, str]:
    import yaml

    remembered = dict(wished)
    if wanted.storage != Directory(paths.data):
        remembered["data"] = str(wanted.storage)
    if wanted.image != DEFAULT_IMAGE:
        remembered["image"] = wanted.image
    texts = {"deployment.yaml": _HEAD + yaml.safe_dump(remembered, sort_keys=True)}
    if choice.engine:
        texts["config.yml"] = config_text(wanted, secret)
    return texts


def _directories(wanted: Deployment, paths: Paths) -> tuple[str, ...]:
    needed = [paths.home, paths.root]
    if wanted.auth:
        needed.append(paths.auth)
    if wanted.keeps_pair:
        needed.append(paths.certs)
    if wanted.tls is Tls.ACME and wanted.machine is None:
        needed.append(paths.acme)
    return tuple(str(path) for path in needed)


def _files(paths: Paths, directories: tuple[str, ...]) -> dict[str, str]:
    """Hash the files of ours that exist; directories that exist have an empty hash."""
    files = {path.name: path for path in (paths.config, paths.deployment, paths.http_secret)}
    found = {name: _hash(path) for name, path in files.items() if path.is_file()}
    from pathlib import Path

    return found | {directory: "" for directory in directories if Path(directory).is_dir()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _storage_exists(wanted: Deployment, choice: Choice) -> bool:
    if isinstance(wanted.storage, Directory):
        return wanted.storage.path.is_dir()
    from regsetup.backends.volumes import exists

    return choice.engine is not None and exists(choice.engine, wanted.storage.name)


def _image_id(wanted: Deployment, choice: Choice) -> str | None:
    if choice.engine is None:
        return None
    from regsetup.backends.images import find

    image = find(choice.engine, wanted.image)
    return image.id if image else None
