"""The certificate directory: created once, swapped in one step, put back, and never half of a pair."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import Decision, Names, Renewal
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.host.certificate_files import CertificateFiles, CertificatesHidden, NothingToPutBack
from regsetup.host.files import CannotWrite
from regsetup.host.names import choose, machine_names

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = Names.of(["registry.lan"])
MACHINE = Names.of(["box", "10.0.0.5"])


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "certs", tmp_path / "ca")


def ensure(files: CertificateFiles, name: str, hosts: Names, machine: Names, now: datetime) -> Decision:
    """Do what a run of ``up`` does."""
    decision = files.decide(hosts, machine, now)
    return decision if decision.action is Renewal.KEEP else files.renew(name, hosts, machine, now)


def test_the_first_run_makes_everything_and_the_second_nothing(files: CertificateFiles) -> None:
    assert ensure(files, "registry", HOSTS, MACHINE, NOW).action is Renewal.REPLACE_CA
    before = {path: path.read_bytes() for path in files.directory.rglob("*") if path.is_file()}
    assert ensure(files, "registry", HOSTS, MACHINE, NOW).action is Renewal.KEEP
    assert {path: path.read_bytes() for path in files.directory.rglob("*") if path.is_file()} == before


def test_keys_are_for_their_owner_alone(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    assert (files.authority / "ca.key").stat().st_mode & 0o777 == 0o600
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.directory.stat().st_mode & 0o777 == 0o700


def test_a_new_host_replaces_the_ca_and_a_new_address_does_not(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    moved = Names.of(["box", "10.0.0.9"])
    assert ensure(files, "registry", HOSTS, moved, NOW).action is Renewal.KEEP
    ca = files.find().ca
    assert (
        ensure(files, "registry", Names.of(["new.lan"]), moved, NOW).reason
        == "the CA does not permit new.lan"
    )
    found = files.find()
    assert found.ca != ca
    assert found.leaf is not None
    assert not found.leaf.names.missing(Names.of(["new.lan", "10.0.0.9"]))


def test_a_certificate_that_ends_soon_is_renewed_under_the_same_ca(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW - timedelta(days=800))
    old = files.find()
    decision = ensure(files, "registry", HOSTS, MACHINE, NOW)
    assert (decision.action, decision.reason[:20]) == (Renewal.RENEW_LEAF, "the certificate ends")
    new = files.find()
    assert new.ca == old.ca
    assert new.leaf is not None
    assert new.leaf.days_left(NOW) > 800


def test_put_back_returns_the_old_pair_once(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    old = files.find().leaf
    files.renew("registry", HOSTS, MACHINE, NOW)
    assert files.find().leaf != old
    files.put_back()
    assert files.find().leaf == old
    with pytest.raises(NothingToPutBack):
        files.put_back()


def test_a_confirmed_pair_can_not_be_undone_and_leaves_nothing_behind(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    files.renew("registry", HOSTS, MACHINE, NOW)
    files.forget_previous()
    with pytest.raises(NothingToPutBack):
        files.put_back()
    names = sorted(path.name.partition(".")[0] for path in files.directory.iterdir())
    assert names == ["ca", "pair", "pair", "tls", "tls"]


@pytest.mark.parametrize("damage", ["tls.crt", "tls.key"])
def test_a_damaged_pair_is_made_anew(files: CertificateFiles, damage: str) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    (files.directory / damage).write_bytes(b"\xff damaged")
    assert files.find().leaf is None
    assert ensure(files, "registry", HOSTS, MACHINE, NOW).action is Renewal.RENEW_LEAF


def test_a_ca_key_of_another_ca_is_made_anew_with_its_certificate(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    (files.authority / "ca.key").write_text(new_ca("other", HOSTS, NOW).key.reveal())
    assert files.find().ca is None
    assert ensure(files, "registry", HOSTS, MACHINE, NOW).action is Renewal.REPLACE_CA


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = CertificateFiles(tmp_path / "file" / "certs", tmp_path / "file" / "ca")
    with pytest.raises(CannotWrite, match="file/certs"):
        blocked.install(new_ca("x", HOSTS, NOW))
    with pytest.raises(CannotWrite, match="file/certs"):
        blocked.renew("x", HOSTS, MACHINE, NOW)


def test_a_pair_that_can_not_be_put_back_is_an_error(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    files.renew("registry", HOSTS, MACHINE, NOW)
    (files.directory / "pair").unlink()
    (files.directory / "pair").mkdir()
    with pytest.raises(CannotWrite):
        files.put_back()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_certificates_of_another_user_are_said_to_be_his(files: CertificateFiles) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    files.directory.parent.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(CertificatesHidden) as caught:
            files.find()
    finally:
        os.seteuid(0)
    assert "sudo" in (caught.value.fix or "")


SWAPS = """
import sys
from pathlib import Path
from regsetup.auth.certificates import KeyPair
from regsetup.host.certificate_files import CertificateFiles
from regsetup.secret import Secret

files = CertificateFiles(Path(sys.argv[1]), Path(sys.argv[1]) / "ca")
first, second = (
    KeyPair(Path(name, "crt").read_bytes(), Secret(Path(name, "key").read_text())) for name in sys.argv[2:]
)
print("ready", flush=True)
while True:
    files.install(first)
    files.install(second)
"""


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [1, 3, 8, 20, 50])
def test_killed_at_any_moment_the_two_files_belong_together(
    files: CertificateFiles, tmp_path: Path, milliseconds: int
) -> None:
    ensure(files, "registry", HOSTS, MACHINE, NOW)
    ca = new_ca("registry", HOSTS, NOW)
    for name in ("a", "b"):
        pair = new_leaf(ca, HOSTS, NOW)
        (tmp_path / name).mkdir()
        (tmp_path / name / "crt").write_bytes(pair.certificate)
        (tmp_path / name / "key").write_text(pair.key.reveal())
    args = [sys.executable, "-c", SWAPS, str(files.directory), str(tmp_path / "a"), str(tmp_path / "b")]
    with subprocess.Popen(args, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(milliseconds / 1000)
        child.kill()
    assert files.find().leaf is not None
    files.renew("registry", HOSTS, MACHINE, NOW)
    assert len(list(files.directory.glob("pair.*"))) == 2  # this one and the one before; nothing half-made
    assert not list(files.directory.glob(".*"))


def test_names_of_a_machine_leave_out_what_leads_nowhere() -> None:
    chosen = choose(
        ("Box", "localhost.localdomain", "localhost", "not a name", "box.lan"),
        {
            "lo": ["127.0.0.1", "::1"],
            "eth0": ["192.168.1.7", "fd00::7", "fe80::1%eth0"],
            "docker0": ["172.17.0.1"],
            "br-0123456789ab": ["172.18.0.1"],
            "vethab12": ["169.254.3.3"],
            "br0": ["10.1.1.1"],
        },
    )
    assert chosen.texts == ("box", "box.lan", "192.168.1.7", "fd00::7", "10.1.1.1")


def test_this_machine_has_names_and_none_of_them_is_loopback() -> None:
    assert not any(address.is_loopback for address in machine_names().addresses)
    assert "localhost" not in machine_names().dns
