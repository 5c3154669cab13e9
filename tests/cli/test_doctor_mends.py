"""A registry that runs, broken in one way after the other: the doctor names it, and its command mends it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.bed.clients import run
from tests.bed.run import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow
UNASKED = {"clock-free"}  # of the machine that the tests run on


@dataclass
class Patient:
    """A bundled registry with TLS, users and clients that trust it through files of the test's own."""

    regsetup: Regsetup
    place: Path
    port: int

    @property
    def root(self) -> Path:
        return self.regsetup.home / "registry"

    @property
    def daemon_json(self) -> Path:
        return self.place / "daemon.json"

    def findings(self, **env: str) -> dict[str, str]:
        """Return the commands by the codes."""
        found = self.regsetup.json("doctor", env=env)["data"]["findings"]
        assert all(one["cause"] and one["fix"] for one in found), found
        return {one["code"]: one["fix"] for one in found if one["code"] not in UNASKED}


@pytest.fixture
def patient(regsetup: Regsetup, tmp_path: Path) -> Patient:
    port = free_port("0.0.0.0")
    regsetup.place.mkdir(parents=True, exist_ok=True)
    given = ("--bind", "0.0.0.0", "--host", "127.0.0.9", "--port", str(port), "--user", "ann")
    ours = ("--daemon-json", str(tmp_path / "daemon.json"), "--certs-d", str(tmp_path / "certs.d"))
    regsetup("up", "--backend", "embedded", "-y", "--no-check", "--daemon", "never", *given, *ours).ok()
    return Patient(regsetup, tmp_path, port)


def mend(patient: Patient, command: str) -> None:
    """Type the command, as far as it is one."""
    words = shlex.split(command.partition(", ")[0].partition(";")[0])
    if words[0] == "regsetup":
        patient.regsetup(*(word.replace("NAME", "eve") for word in words[1:])).ok()
    else:
        run(words).ok()


def expose(patient: Patient) -> None:
    (patient.root / "auth" / "htpasswd").chmod(0o644)


def spoil_users(patient: Patient) -> None:
    with (patient.root / "auth" / "htpasswd").open("a") as file:
        file.write("no colon\n")


def lose_users(patient: Patient) -> None:
    (patient.root / "auth" / "htpasswd").unlink()


def lose_certificate(patient: Patient) -> None:
    shutil.rmtree(patient.root / "certs")


def kill(patient: Patient) -> None:
    identity = patient.regsetup.json("status")["data"]["id"]
    pid = int(str(identity).split()[-1])
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not patient.regsetup.json("status")["data"].get("running", False))


def lose_trust(patient: Patient) -> None:
    shutil.rmtree(patient.place / "certs.d")


@pytest.mark.parametrize(
    ("code", "harm"),
    [
        ("users-exposed", expose),
        ("users-line", spoil_users),
        ("users-missing", lose_users),
        ("certificate-missing", lose_certificate),
        ("registry-down", kill),
        ("trust-missing", lose_trust),
    ],
)
def test_what_is_broken_is_named_and_its_command_mends_it(
    patient: Patient, code: str, harm: Callable[[Patient], None]
) -> None:
    assert patient.findings() == {}
    harm(patient)
    found = patient.findings()
    assert list(found) == [code]
    assert patient.regsetup("doctor").code == 3
    mend(patient, found[code])
    assert patient.findings() == {}


def test_what_only_a_person_can_mend_is_named_with_the_place(patient: Patient) -> None:
    patient.daemon_json.write_text('{"insecure-registries": [')
    assert str(patient.daemon_json) in json.dumps(patient.regsetup.json("doctor"))
    patient.daemon_json.write_text('{"insecure-registries": [" x:1"]}')
    assert patient.findings() == {"daemon-json-blank-entry": f"take it out of {patient.daemon_json}"}
    patient.daemon_json.write_text(
        '{"insecure-registries": ["127.0.0.9:5000"]}'.replace("5000", str(patient.port))
    )
    assert "insecure-beside-tls" in patient.findings()
    patient.daemon_json.unlink()
    assert list(patient.findings(HTTPS_PROXY="http://ann:secret@proxy:3128")) == []
    assert list(patient.findings(DOCKER_CONTEXT="nope")) == ["bad-docker-context"]
    assert patient.findings() == {}
