"""The certificates of one registry on disk: ``ca.crt``, ``tls.crt``, ``tls.key``, and apart ``ca.key``.

``tls.crt`` and ``tls.key`` lead through the link ``pair`` into a directory of their own, so that one rename
swaps both: a server that starts at any moment finds two that belong together, also after a kill or a power
cut. The pair that was there before stays until ``forget_previous``, for ``put_back``. Links are relative:
the directory works from inside a container too. Keys are created 0600.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.auth.certificates import (
    Certificate,
    CertificateError,
    Decision,
    KeyPair,
    Names,
    Renewal,
    choose_names,
    decide,
)
from regsetup.host.files import CannotWrite, sync_directory, write_atomic
from regsetup.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime

_LINK = "pair"
_PREVIOUS = "previous"


class NothingToPutBack(CertificateError):
    """There is no earlier pair to return to."""

    code = "certificate-no-previous"

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} keeps no earlier certificate",
            cause="it was confirmed, or never replaced",
            fix="regsetup cert renew",
        )


class CertificatesHidden(CertificateError):
    """The certificates belong to another user."""

    code = "certificate-hidden"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} can't be read by this user",
            cause="the private keys of a registry are its owner's alone",
            fix="run it as the user who set the registry up: sudo regsetup ...",
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the directory: None for a pair that is absent or that can't be used."""

    ca: Certificate | None
    leaf: Certificate | None


class CertificateFiles:
    """The certificate directory of one registry; created 0700 when first written to.

    The CA's key lies in ``authority``, apart: the server reads ``directory``, and never needs to sign.
    """

    def __init__(self, directory: Path, authority: Path) -> None:
        self.directory = directory
        self.authority = authority
        self._ca_key = authority / "ca.key"
        self.ca_certificate = directory / "ca.crt"
        self.certificate = directory / "tls.crt"
        self.key = directory / "tls.key"

    def find(self) -> Found:
        """Read both pairs; one that is damaged counts as absent.

        Raises:
            CertificatesHidden: they are another user's.
        """
        return Found(_summary(self._ca_pair()), _summary(_read_pair(self.certificate, self.key)))

    def decide(self, hosts: Names, machine: Names, now: datetime) -> Decision:
        """Return whether something is missing, ends soon or lacks a name, and what mends it."""
        found = self.find()
        return decide(choose_names(hosts, machine, found.ca), found.ca, found.leaf, now)

    def renew(self, name: str, hosts: Names, machine: Names, now: datetime) -> Decision:
        """Make a new leaf, and before it a new CA if the one there does not do; returns what was decided.

        Raises:
            CannotWrite: the directory or a file in it can't be written.
        """
        from regsetup.auth import x509

        decision, ca, summary = self.decide(hosts, machine, now), self._ca_pair(), self.find().ca
        if decision.action is Renewal.REPLACE_CA or ca is None:
            ca, summary = x509.new_ca(name, hosts + machine, now), None
            self._write_ca(ca)
        self.install(x509.new_leaf(ca, choose_names(hosts, machine, summary), now))
        return decision

    def install(self, pair: KeyPair) -> None:
        """Swap in ``pair``, one of one's own too; what stood there can be put back.

        Raises:
            CannotWrite: the directory or a file in it can't be written.
        """
        try:
            self._make_directory()
            fresh = self.directory / f"{_LINK}.{secrets.token_hex(4)}"
            fresh.mkdir(mode=0o700)
            write_atomic(fresh / "tls.key", pair.key.reveal(), mode=0o600)
            write_atomic(fresh / "tls.crt", pair.certificate)
            old = self._target(_LINK)
            if old is not None:
                self._point(_PREVIOUS, old)
            self._point(_LINK, fresh.name)
            self._point(self.certificate.name, f"{_LINK}/tls.crt")
            self._point(self.key.name, f"{_LINK}/tls.key")
            self._sweep()
        except OSError as error:
            raise CannotWrite(self.directory, error) from error

    def put_back(self) -> None:
        """Return to the pair that stood before the last ``install``.

        Raises:
            NothingToPutBack: there is none.
            CannotWrite: the directory can't be written.
        """
        previous = self._target(_PREVIOUS)
        if previous is None:
            raise NothingToPutBack(self.directory)
        try:
            self._point(_LINK, previous)
            self.forget_previous()
        except OSError as error:
            raise CannotWrite(self.directory, error) from error

    def remove(self) -> None:
        """Delete every certificate and key, and their directories."""
        for directory in (self.directory, self.authority):
            if directory.exists():
                shutil.rmtree(directory)

    def forget_previous(self) -> None:
        """Delete the pair before: the registry answers with the new one."""
        with suppress(FileNotFoundError):
            (self.directory / _PREVIOUS).unlink()
        self._sweep()

    def _ca_pair(self) -> KeyPair | None:
        return _read_pair(self.ca_certificate, self._ca_key)

    def _write_ca(self, ca: KeyPair) -> None:
        """Key first: killed in between, the two do not match, and the next run replaces both."""
        try:
            self._make_directory()
            self.authority.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(self.directory, error) from error
        write_atomic(self._ca_key, ca.key.reveal(), mode=0o600)
        write_atomic(self.ca_certificate, ca.certificate)

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _target(self, link: str) -> str | None:
        try:
            return str((self.directory / link).readlink())
        except FileNotFoundError:
            return None

    def _point(self, link: str, target: str) -> None:
        """Make ``link`` lead to ``target``, by one rename."""
        temporary = self.directory / f".{link}.{secrets.token_hex(4)}.tmp"
        temporary.symlink_to(target)
        temporary.replace(self.directory / link)
        sync_directory(self.directory)

    def _sweep(self) -> None:
        """Delete what no link leads to: older pairs, and what a kill left."""
        kept = {self._target(_LINK), self._target(_PREVIOUS)}
        for path in self.directory.glob(f"{_LINK}.*"):
            if path.name not in kept:
                shutil.rmtree(path)
        for path in self.directory.glob(".*.tmp"):
            path.unlink()


def _read_pair(certificate: Path, key: Path) -> KeyPair | None:
    try:
        return KeyPair(certificate.read_bytes(), Secret(key.read_text(encoding="ascii")))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    except PermissionError as error:
        raise CertificatesHidden(Path(error.filename)) from error


def _summary(pair: KeyPair | None) -> Certificate | None:
    from regsetup.auth.pem import read_pair

    try:
        return read_pair(pair) if pair else None
    except CertificateError:
        return None
