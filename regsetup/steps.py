"""What each step of a plan does to the machine, and how it is taken back.

Every thing made is in the ledger before it exists. A method does one step and returns what undoes it, or
None where there is nothing to undo.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup import users
from regsetup.auth.htpasswd import hash_password
from regsetup.certify import certificate_files, install
from regsetup.deployment import Directory, Tls
from regsetup.errors import RegsetupError
from regsetup.host.files import make_private, remove_empty, write_atomic
from regsetup.probe import endpoint
from regsetup.state import Entry, Kind, State, storage_entry
from regsetup.step import Action, Resource, Step
from regsetup.trust import install as trust
from regsetup.trust_here import TrustFile, forget, registry
from regsetup.waiting import READY_TIMEOUT, until_certified, until_it_answers, until_it_serves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regsetup.auth.htpasswd import Password
    from regsetup.backends.base import Runtime
    from regsetup.observe import Survey
    from regsetup.step import Reporter
    from regsetup.trust.base import Client

    Undo = Callable[[], None]
    Guard = Callable[[Survey], None]


@dataclass
class Steps:
    """Does steps on the machine that ``survey`` describes.

    Attributes:
        state: the ledger as it stands now.
        passwords: of the users that the plan adds.
        guard: proves the new container or service while the old one can still come back.
    """

    survey: Survey
    state: State
    passwords: Mapping[str, Password]
    reporter: Reporter
    ready_timeout: float = READY_TIMEOUT
    guard: Guard | None = None

    def do(self, step: Step) -> Undo | None:
        """Do one step; returns what takes it back."""
        return _DO[step.resource, step.action](self, step)

    def _record(self, kind: Kind, target: str) -> None:
        self.save(self.state.with_entry(kind, target))

    def _record_storage(self) -> None:
        kind, target = storage_entry(self.survey.wanted)
        self._record(kind, target)

    def save(self, state: State) -> None:
        """Keep the ledger, on disk as soon as there is a directory for it."""
        self.state = state
        if self.survey.paths.root.is_dir():
            states.write(self.survey.paths.state, state)

    def make_directory(self, step: Step) -> Callable[[], None]:
        """Make a directory that only its owner may enter."""
        path = Path(step.target)
        made = [one for one in (path, *path.parents) if not one.exists()]
        self._record(Kind.DIRECTORY, step.target)
        make_private(path)
        self.save(self.state)  # the ledger has had no place to lie in until now
        if path == self.survey.paths.acme:  # with what a registry wrote into it that got no certificate
            return lambda: shutil.rmtree(path, ignore_errors=True)
        return lambda: remove_empty(made)

    def make_storage(self, _step: Step) -> Callable[[], None]:
        """Make the directory or volume that the images go into."""
        storage = self.survey.wanted.storage
        self._record_storage()
        if isinstance(storage, Directory):
            made = [one for one in (storage.path, *storage.path.parents) if not one.exists()]
            for parent in made[1:]:
                self._record(Kind.DIRECTORY, str(parent))
            make_private(storage.path)
            return lambda: remove_empty(made)
        from regsetup.backends import volumes

        engine, name = self.survey.choice.docker(), storage.name
        volumes.create(engine, name, {"io.regsetup.name": self.survey.wanted.name})
        return lambda: volumes.remove(engine, name)

    def write_secret(self, _step: Step) -> Callable[[], None]:
        """Write ``http.secret``, readable by its owner."""
        return self._write(self.survey.paths.http_secret, self.survey.http_secret.reveal() + "\n", 0o600)

    def write_config(self, _step: Step) -> Callable[[], None]:
        """Write ``config.yml``; it holds ``http.secret``."""
        return self._write(self.survey.paths.config, self.survey.texts["config.yml"], 0o600)

    def write_deployment(self, _step: Step) -> Callable[[], None]:
        """Remember what ``up`` was told."""
        return self._write(self.survey.paths.deployment, self.survey.texts["deployment.yaml"], 0o600)

    def _write(self, path: Path, text: str, mode: int) -> Callable[[], None]:
        before = path.read_bytes() if path.is_file() else None
        self._record(Kind.FILE, str(path))
        write_atomic(path, text, mode=mode)

        def undo() -> None:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, before, mode=mode)

        return undo

    def add_user(self, step: Step) -> Callable[[], None]:
        """Add a user to htpasswd; other lines stay as they are."""
        password = self.passwords[step.target]
        path = self.survey.paths.htpasswd
        hashed = hash_password(password.secret, password.cost)
        changed = users.read(path).with_user(step.target, hashed)
        undo = self._write(path, str(changed), users.MODE)
        carry = self.survey.choice.runtime.carry_users
        try:
            carry()
        except RegsetupError:
            undo()
            raise

        def take_back() -> None:
            undo()
            carry()

        return take_back

    def certify(self, _step: Step) -> Callable[[], None]:
        """Make or copy the certificate; the one before stays until the new one has answered."""
        had_one = certificate_files(self.survey.paths).certificate.exists()
        self._record(Kind.DIRECTORY, str(self.survey.paths.certs))
        files = install(self.survey.wanted, self.survey.paths)
        return files.put_back if had_one else files.remove

    def pull(self, step: Step) -> None:
        """Pull the image; it stays on the engine if a later step fails."""
        from regsetup.backends import images

        self._record(Kind.IMAGE, step.target)
        images.pull(self.survey.choice.docker(), step.target, self.reporter.transferred)

    def load(self, step: Step) -> Undo | None:
        """Load the image from its archive; it stays on the engine if a later step fails, without the name."""
        from regsetup.backends import images

        engine, wanted, before = self.survey.choice.docker(), self.survey.wanted.image, self.survey.seen.image
        if before is None:
            self._record(Kind.IMAGE, wanted)
        images.load(engine, Path(step.target), wanted, self.reporter.transferred)
        return (lambda: images.name(engine, before, wanted)) if before else None

    def create(self, _step: Step) -> Callable[[], None]:
        """Make the container or service; the image is here now, so the spec is worked out anew.

        From here on the images are its own, also where their directory was there before.
        """
        runtime, wanted = self.survey.choice.runtime, self.survey.wanted
        self._record_storage()
        self._record(Kind(runtime.kind), wanted.name)
        forget_volume = self._make_acme_volume()
        runtime.create(wanted, runtime.spec(wanted))

        def undo() -> None:
            runtime.remove()
            forget_volume()

        return undo

    def _make_acme_volume(self) -> Callable[[], None]:
        """Make the volume that an engine elsewhere keeps for a registry with ``--tls acme``."""
        wanted = self.survey.wanted
        if wanted.tls is not Tls.ACME or wanted.machine is None:
            return lambda: None
        from regsetup.backends import container, volumes

        engine, name = self.survey.choice.docker(), container.acme_volume(wanted.name)
        self._record(Kind.KEYS, name)
        if volumes.exists(engine, name):
            return lambda: None
        volumes.create(engine, name, {"io.regsetup.name": wanted.name})
        return lambda: volumes.remove(engine, name)

    def start(self, _step: Step) -> Callable[[], None]:
        """Start it."""
        self.survey.choice.runtime.start()
        return self.survey.choice.runtime.stop

    def _runtime(self, step: Step) -> Runtime:
        """Return the back end that a step is about: a move has two."""
        here, other = self.survey.choice.runtime, self.survey.other
        return other.runtime if other and other.runtime.kind == step.resource else here

    def set_aside(self, step: Step) -> Callable[[], None]:
        """Stop the old one and keep it; half-done, it is taken back at once."""
        runtime = self._runtime(step)
        try:
            runtime.set_aside()
        except RegsetupError:
            runtime.put_back()
            raise
        return runtime.put_back

    def put_back(self, _step: Step) -> None:
        """Bring back what an interrupted run set aside."""
        self.survey.choice.runtime.put_back()

    def remove(self, step: Step) -> None:
        """Remove what an interrupted run did not finish."""
        self._runtime(step).remove()

    def prove(self, _step: Step) -> None:
        """Have the guard look at the new one; what it raises brings the old one back."""
        if self.guard is None:
            raise AssertionError("a plan that proves has somebody who does")
        self.guard(self.survey)

    def tell_client(self, step: Step) -> Callable[[], None]:
        """Make a client of this machine trust the registry; what is left to a person is told."""
        name, _, address = step.target.partition(" ")
        client = next(one for one in self.survey.clients if one.name == name)
        ledger = TrustFile(self.survey.paths.home)
        self._record(Kind.TRUST, address)
        told = registry(self.survey.wanted, self.survey.paths, address)
        try:
            done = trust.install(client, told, ledger)
        except RegsetupError:
            _forget(client, address, ledger)
            raise
        for note in done.notes:
            self.reporter.noted(note)
        return lambda: _forget(client, address, ledger)

    def untell_clients(self, step: Step) -> None:
        """Take back what clients were told of an address that the registry had."""
        for note in forget(self.survey.clients, step.target, self.survey.paths.home):
            self.reporter.noted(note)
        kept = tuple(one for one in self.state.ledger if one != Entry(Kind.TRUST, step.target))
        self.save(replace(self.state, ledger=kept))

    def discard(self, step: Step) -> None:
        """Remove the old one; from here on there is no way back.

        Where it is the other back end's, the ledger says first which of the two counts.
        """
        here, gone = self.survey.choice, self._runtime(step)
        if gone is not here.runtime:
            self.save(replace(self.state, backend=here.runtime.backend))
        gone.discard_aside()
        if gone is not here.runtime:
            self.save(self.state.without(Kind(gone.kind)))
            if here.engine is None:
                self.survey.paths.config.unlink(missing_ok=True)
        if self.survey.wanted.tls is not Tls.OFF:
            certificate_files(self.survey.paths).forget_previous()

    def wait(self, _step: Step) -> None:
        """Wait until it answers, or say why it never will."""
        wanted, runtime = self.survey.wanted, self.survey.choice.runtime
        where = endpoint(wanted, self.survey.paths)
        if wanted.tls is Tls.ACME:
            until_certified(runtime, wanted, where, self.ready_timeout)
        else:
            until_it_answers(runtime, wanted.name, where, self.ready_timeout)
        if self.survey.goal.certificate:
            self._until_it_serves_the_new_certificate()

    def reload(self, _step: Step) -> None:
        """Make it read its certificate again, and hold that it answers with it."""
        seen = self.survey.choice.runtime.current()
        if seen and seen.pid:
            os.kill(seen.pid, signal.SIGHUP)
        self._until_it_serves_the_new_certificate()

    def _until_it_serves_the_new_certificate(self) -> None:
        files = certificate_files(self.survey.paths)
        until_it_serves(self.survey.choice.runtime, self.survey.wanted, files.certificate, self.ready_timeout)

    def forget_certificate(self, _step: Step) -> None:
        """Delete the pair before; from here on there is no way back."""
        certificate_files(self.survey.paths).forget_previous()


_DO: dict[tuple[Resource, Action], Callable[[Steps, Step], Callable[[], None] | None]] = {
    (Resource.DIRECTORY, Action.CREATE): Steps.make_directory,
    (Resource.STORAGE, Action.CREATE): Steps.make_storage,
    (Resource.SECRET, Action.CREATE): Steps.write_secret,
    (Resource.USER, Action.ADD): Steps.add_user,
    (Resource.CERTIFICATE, Action.CREATE): Steps.certify,
    (Resource.CERTIFICATE, Action.DISCARD): Steps.forget_certificate,
    (Resource.TRUST, Action.WRITE): Steps.tell_client,
    (Resource.TRUST, Action.REMOVE): Steps.untell_clients,
    (Resource.CONFIG, Action.WRITE): Steps.write_config,
    (Resource.DEPLOYMENT, Action.WRITE): Steps.write_deployment,
    (Resource.IMAGE, Action.PULL): Steps.pull,
    (Resource.IMAGE, Action.LOAD): Steps.load,
}
for _runtime in (Resource.CONTAINER, Resource.SERVICE):
    _DO |= {
        (_runtime, Action.CREATE): Steps.create,
        (_runtime, Action.START): Steps.start,
        (_runtime, Action.WAIT): Steps.wait,
        (_runtime, Action.RELOAD): Steps.reload,
        (_runtime, Action.SET_ASIDE): Steps.set_aside,
        (_runtime, Action.REMOVE): Steps.remove,
        (_runtime, Action.PROVE): Steps.prove,
        (_runtime, Action.PUT_BACK): Steps.put_back,
        (_runtime, Action.DISCARD): Steps.discard,
    }


def _forget(client: Client, address: str, ledger: TrustFile) -> None:
    trust.remove(client, address, ledger)
