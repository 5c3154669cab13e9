"""Directories, files, users and the certificate: what lies on this machine whichever back end runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import users
from regsetup.auth.htpasswd import hash_password
from regsetup.certify import certificate_files, install
from regsetup.deployment import Directory
from regsetup.errors import RegsetupError
from regsetup.host.files import make_private, remove_empty
from regsetup.state import Kind
from regsetup.step import Action, Resource

if TYPE_CHECKING:
    from regsetup.step import Step
    from regsetup.steps.work import Table, Undo, Work


def make_directory(work: Work, step: Step) -> Undo:
    """Make a directory that only its owner may enter."""
    path = Path(step.target)
    made = [one for one in (path, *path.parents) if not one.exists()]
    work.record(Kind.DIRECTORY, step.target)
    make_private(path)
    work.save(work.state)  # the ledger has had no place to lie in until now
    if path == work.survey.paths.acme:  # with what a registry wrote into it that got no certificate
        return lambda: shutil.rmtree(path, ignore_errors=True)
    return lambda: remove_empty(made)


def make_storage(work: Work, _step: Step) -> Undo:
    """Make the directory or volume that the images go into."""
    storage = work.survey.wanted.storage
    work.record_storage()
    if isinstance(storage, Directory):
        made = [one for one in (storage.path, *storage.path.parents) if not one.exists()]
        for parent in made[1:]:
            work.record(Kind.DIRECTORY, str(parent))
        make_private(storage.path)
        return lambda: remove_empty(made)
    from regsetup.backends import volumes

    engine, name = work.survey.choice.docker(), storage.name
    volumes.create(engine, name, {"io.regsetup.name": work.survey.wanted.name})
    return lambda: volumes.remove(engine, name)


def write_secret(work: Work, _step: Step) -> Undo:
    """Write ``http.secret``, readable by its owner."""
    return work.write(work.survey.paths.http_secret, work.survey.http_secret.reveal() + "\n", 0o600)


def write_config(work: Work, _step: Step) -> Undo:
    """Write ``config.yml``; it holds ``http.secret``."""
    return work.write(work.survey.paths.config, work.survey.texts["config.yml"], 0o600)


def write_deployment(work: Work, _step: Step) -> Undo:
    """Remember what ``up`` was told."""
    return work.write(work.survey.paths.deployment, work.survey.texts["deployment.yaml"], 0o600)


def add_user(work: Work, step: Step) -> Undo:
    """Add a user to htpasswd; other lines stay as they are."""
    password = work.passwords[step.target]
    path = work.survey.paths.htpasswd
    hashed = hash_password(password.secret, password.cost)
    changed = users.read(path).with_user(step.target, hashed)
    undo = work.write(path, str(changed), users.MODE)
    carry = work.survey.choice.runtime.carry_users
    try:
        carry()
    except RegsetupError:
        undo()
        raise

    def take_back() -> None:
        undo()
        carry()

    return take_back


def certify(work: Work, _step: Step) -> Undo:
    """Make or copy the certificate; the one before stays until the new one has answered."""
    had_one = certificate_files(work.survey.paths).certificate.exists()
    work.record(Kind.DIRECTORY, str(work.survey.paths.certs))
    files = install(work.survey.wanted, work.survey.paths)
    return files.put_back if had_one else files.remove


def forget_certificate(work: Work, _step: Step) -> None:
    """Delete the pair before; from here on there is no way back."""
    certificate_files(work.survey.paths).forget_previous()


DO: Table = {
    (Resource.DIRECTORY, Action.CREATE): make_directory,
    (Resource.STORAGE, Action.CREATE): make_storage,
    (Resource.SECRET, Action.CREATE): write_secret,
    (Resource.CONFIG, Action.WRITE): write_config,
    (Resource.DEPLOYMENT, Action.WRITE): write_deployment,
    (Resource.USER, Action.ADD): add_user,
    (Resource.CERTIFICATE, Action.CREATE): certify,
    (Resource.CERTIFICATE, Action.DISCARD): forget_certificate,
}
