"""Brings a backup back: verified first, swapped in by renames, kept if the registry then passes its check.

Order: everything is unpacked and verified beside what serves; the old registry is stopped; the files are
swapped; ``up`` does its work from the restored settings; the proof; and only then the old files are deleted.
On any failure the files are swapped back and the old registry is brought up again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regsetup import state as states
from regsetup import teardown
from regsetup.backends.choice import choose, reopen
from regsetup.backup.format import SETTINGS, BackupDamaged
from regsetup.backup.make import no_collection
from regsetup.backup.place import find
from regsetup.backup.reading import opened
from regsetup.backup.settle import settle
from regsetup.backup.swap import Swap, discard, recover
from regsetup.backup.unpack import Unpacked, as_tar, into_directory, settings_of, stage_settings, verified
from regsetup.certify import certificate_files
from regsetup.deploy import Deployed, deploy_locked
from regsetup.deployment import Paths, Tls
from regsetup.errors import RegsetupError
from regsetup.host import signals
from regsetup.load import load
from regsetup.prove import prove_here
from regsetup.state import Kind, State, exclusive, storage_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from regsetup.backends.choice import Choice
    from regsetup.backup.format import Header
    from regsetup.backup.place import Place
    from regsetup.backup.reading import Reader
    from regsetup.backup.unpack import Told
    from regsetup.deploy import Passwords
    from regsetup.load import Loaded
    from regsetup.smoke import Check
    from regsetup.step import Reporter


_STAYS = "so a volume stays until the next restore or teardown --purge: docker volume ls"


class NotRestored(RegsetupError):
    """The restored registry did not pass its check; what was there before is back."""

    code = "not-restored"

    def __init__(self, cause: str) -> None:
        super().__init__(
            "the restored registry did not pass its check; what was there before is back",
            cause=cause,
            fix="regsetup restore --dry-run verifies the backup; regsetup doctor looks at this machine",
        )


class Interrupted(RegsetupError):
    """The user stopped it; what was there before is back."""

    code = "interrupted"

    def __init__(self) -> None:
        super().__init__(
            "interrupted; what was there before is back",
            fix="the same command again starts from the beginning",
        )


@dataclass(frozen=True, slots=True)
class Voice:
    """Who is told and asked meanwhile.

    Attributes:
        told: is called with bytes verified and in all.
        checked: is called with each check of the proof.
        ask: returns passwords, should the backup have no users where some are needed.
    """

    reporter: Reporter
    told: Told
    checked: Callable[[Check], None]
    ask: Passwords


@dataclass(slots=True)
class Restored:
    """What a restore did, or with ``dry_run`` would do.

    Attributes:
        notes: what a person should know, a sentence each.
    """

    header: Header
    unpacked: Unpacked
    deployed: Deployed | None = None
    checks: tuple[Check, ...] = ()
    notes: list[str] = field(default_factory=list)


def check(path: Path, told: Told) -> Restored:
    """Verify a backup and change nothing.

    Raises:
        RegsetupError: names what is damaged.
    """
    with opened(path) as reader:
        return Restored(reader.header, verified(reader, told))


def restore(
    path: Path,
    flags: Mapping[str, object],
    home: Path,
    voice: Voice,
) -> Restored:
    """Restore a backup.

    Args:
        flags: settings that win over the backup's: ``name``, ``data``, ``port``, ``host``, ``backend``, ...

    Raises:
        RegsetupError: what was there before serves as before.
    """
    with opened(path) as reader:
        header = reader.header
        settings = settings_of(reader)
    flags = {**flags, "name": flags.get("name") or header.name}
    paths = Paths(home, str(flags["name"]))
    with exclusive(paths) as made, no_collection(paths):
        recover(paths)
        try:
            loaded = settle(settings, flags, header, paths)
        except RegsetupError:
            check(path, voice.told)  # damage explains more than a setting that makes no sense
            raise
        return _Restore(path, paths, loaded, settings, made, voice).run()


@dataclass(slots=True)
class _Restore:
    """One restore, by the one who holds the registry's locks."""

    path: Path
    paths: Paths
    loaded: Loaded
    settings: dict[str, bytes]
    made: list[Path]
    voice: Voice
    before: State | None = None

    def run(self) -> Restored:
        choice = choose(self.loaded.deployment, self.paths, states.read(self.paths.state))
        place, self.loaded = find(self.loaded, choice, self.paths)
        self.before = states.read(self.paths.state)
        with contextlib.ExitStack() as end:
            try:
                found = self._unpack(choice, place)
                done = Restored(found[0], found[1])
                swap = self._swap(choice, place, done, end)
            except BaseException as error:
                with signals.ignored(), self._noted(_STAYS):
                    place.clear(choice, self.paths)
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted from error
                raise
            swap.keep()
            with self._noted(_STAYS):
                place.forget_old_volume(choice, self.paths)
        return done

    def _unpack(self, choice: Choice, place: Place) -> tuple[Header, Unpacked]:
        """Verify everything, and have it beside what serves."""
        discard(self.paths, place.directory)
        with opened(self.path) as reader:
            if place.directory is not None:
                found = into_directory(reader, place.directory, self.voice.told)
            else:
                found = self._fill(choice, place, reader)
            header = reader.header
        if found.settings != self.settings:
            raise BackupDamaged(self.path, SETTINGS, "it reads differently each time")
        self.paths.root.mkdir(mode=0o700, exist_ok=True)
        stage_settings(found.settings, self.paths.root, own=self.loaded.deployment.tls is Tls.OWN)
        return header, found

    def _fill(self, choice: Choice, place: Place, reader: Reader) -> Unpacked:
        from regsetup.backends import images, volumes

        engine, wanted, found = choice.docker(), self.loaded.deployment, Unpacked()
        if images.find(engine, wanted.image) is None:
            images.pull(engine, wanted.image, self.voice.reporter.transferred)
        volumes.fill(engine, place.fresh or "", wanted.image, as_tar(reader, self.voice.told, found))
        return found

    def _swap(self, choice: Choice, place: Place, done: Restored, end: contextlib.ExitStack) -> Swap:
        """Stop the old one, swap, bring the new one up and prove it; or do all of that backwards.

        Nobody can interrupt what comes after, until ``end``: the new one counts, and the old one may go.
        """
        old = choice.runtime.current()
        swap = Swap.plan(self.paths, place.directory)
        try:
            choice.runtime.stop()
            self._record(choice, place)
            swap.do()
            self._prove(done)
            done.notes += _notes(done, self.paths, self.settings)
            end.enter_context(signals.ignored())
        except BaseException:
            with signals.ignored():
                self._take_back(swap, choice, running=bool(old and old.running))
            raise
        return swap

    def _prove(self, done: Restored) -> None:
        done.deployed = self._deploy(self.loaded)
        found = done.deployed.survey
        done.checks = prove_here(found.wanted, self.paths, found.choice, self.voice.checked)
        failed = [one.error.message for one in done.checks if one.error]
        if failed:
            raise NotRestored("; ".join(failed))

    def _deploy(self, loaded: Loaded) -> Deployed:
        return deploy_locked(self.made, loaded, self.paths, self.voice.ask, self.voice.reporter)

    def _record(self, choice: Choice, place: Place) -> None:
        """Write everything into the ledger that the swap brings, before it does."""
        engine = choice.engine.address if choice.engine else None
        state = self.before or State.new(self.paths.name, choice.runtime.backend, engine)
        for one in reversed(place.made[1:]):
            state = state.with_entry(Kind.DIRECTORY, str(one))
        state = state.with_entry(*storage_entry(self.loaded.deployment))
        files = (self.paths.deployment, self.paths.http_secret, self.paths.htpasswd)
        for one in (*files, self.paths.root / "own.crt", self.paths.root / "own.key"):
            state = state.with_entry(Kind.FILE, str(one))
        states.write(self.paths.state, state)

    def _take_back(self, swap: Swap, choice: Choice, *, running: bool) -> None:
        """Swap back, and bring the old one up again if it ran."""
        state = states.read(self.paths.state)
        up = f"regsetup up --name {self.paths.name}"
        with self._noted(f"then: {up}"):
            (reopen(self.paths, state) if state else choice).runtime.stop()
        swap.undo()
        if self.before is None:
            self._take_away()
            return
        states.write(self.paths.state, self.before)
        if running:
            self.voice.reporter.noted("bringing back what was there before")
            with self._noted(f"then: {up}"):
                self._deploy(load({"name": self.paths.name}, {}, None, self.paths.home, cwd=self.paths.root))

    @contextlib.contextmanager
    def _noted(self, advice: str) -> Iterator[None]:
        """Go on, and tell what did not work and what to do about it."""
        try:
            yield
        except RegsetupError as trouble:
            self.voice.reporter.noted(f"{trouble.message}; {advice}")

    def _take_away(self) -> None:
        """Remove what was made of nothing; there was no registry before."""
        removal = teardown.look(self.paths)
        teardown.remove(removal, self.paths)
        self.made.extend(teardown.purge(removal, self.paths))


def _notes(done: Restored, paths: Paths, settings: dict[str, bytes]) -> list[str]:
    """Say what is otherwise than it was on the machine of the backup."""
    notes = [f"{path} was damaged when it was backed up, and is not there" for path in done.unpacked.damaged]
    if done.deployed is None or done.deployed.survey.goal.certificate is None:
        return notes
    files = certificate_files(paths)
    leaf = files.find().leaf
    was = f"{', '.join(done.header.hosts) or 'loopback'} on {done.header.machine}"
    now = str(leaf.names) if leaf else "nothing"
    same = files.ca_certificate.is_file() and files.ca_certificate.read_bytes() == settings.get(
        "certs/ca.crt"
    )
    how = (
        "the same CA signed a new one, so clients notice nothing"
        if same
        else "its CA did not permit that and was replaced: regsetup trust export, for each client"
    )
    return [*notes, f"the certificate was for {was}; this one names {now}: {how}"]
