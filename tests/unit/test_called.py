"""How regsetup is typed again: by a person, in a shell of root's, and by sudo, which keeps no variables."""

from __future__ import annotations

import pytest

from regsetup import called
from regsetup.client.errors import from_tls
from regsetup.trust.refusals import explain
from tests.bed.rights import as_nobody

UNKNOWN_CA = "x509: certificate signed by unknown authority"
PLAIN = "http: server gave HTTP response to HTTPS client"
EXPORT = "regsetup trust export | sudo sh"


@pytest.mark.parametrize(
    ("environ", "begins"),
    [
        ({}, "regsetup"),
        ({"REGSETUP_HOME": "/srv/regsetup"}, "regsetup"),
        ({"SUDO_USER": "ann"}, "sudo regsetup"),
        ({"SUDO_USER": "ann", "REGSETUP_HOME": "/srv/a b"}, "sudo REGSETUP_HOME='/srv/a b' regsetup"),
    ],
)
def test_root_types_what_finds_its_registries(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], begins: str
) -> None:
    for name in ("SUDO_USER", "REGSETUP_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert called.regsetup() == begins
    assert (called.trusting(), called.exporting()) == (
        f"{begins} trust install",
        f"{begins} trust export | ssh HOST sudo sh",
    )
    assert (explain(UNKNOWN_CA, "r:1").fix or "").startswith(f"{begins} trust install; ")
    with as_nobody():
        assert called.regsetup() == "regsetup", "a person's registry is not root's"


@pytest.mark.parametrize("said", [UNKNOWN_CA, PLAIN, "Client sent an HTTP request to an HTTPS server."])
def test_a_person_is_sent_to_root_by_the_script_and_never_to_sudo_regsetup(said: str) -> None:
    with as_nobody():
        fixes = [explain(said, "r:1").fix or "", from_tls("r:1", _unverified()).fix or ""]
    for fix in fixes:
        assert EXPORT in fix
        assert "sudo regsetup" not in fix


def _unverified() -> Exception:
    import ssl

    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    return error


def test_commands_get_the_name_of_the_registry_once() -> None:
    text = "sudo REGSETUP_HOME=/srv/regsetup regsetup trust install; regsetup up --name team --host a"
    assert called.named(text, "registry") == text
    assert called.named(text, "team") == text.replace("trust install", "trust install --name team")
