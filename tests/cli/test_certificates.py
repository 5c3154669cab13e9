"""Certificates that end: status and check warn in time, and say when it is too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import BACKDATE, LEAF_LIFETIME, RENEW_BEFORE, Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.certify import certificate_files
from regsetup.deployment import Paths
from tests.bed.run import free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow
SECONDS = timedelta(minutes=10)


@pytest.fixture
def secured(regsetup: Regsetup) -> Regsetup:
    """A bundled registry with TLS on loopback."""
    regsetup(
        "up", "--backend", "embedded", "--tls", "self-signed", "--port", str(free_port()), "--no-check"
    ).ok()
    return regsetup


def age(secured: Regsetup, left: timedelta) -> None:
    """Give it a certificate of the same CA with that much time left."""
    files = certificate_files(Paths(secured.home, "registry"))
    made = datetime.now(UTC) - LEAF_LIFETIME + BACKDATE + left
    assert files.renew("registry", Names.of(["localhost", "127.0.0.1"]), Names(), made)
    assert files.find().leaf is not None


def test_status_and_check_warn_from_30_days_before_the_end(secured: Regsetup) -> None:
    age(secured, RENEW_BEFORE + SECONDS)
    assert secured.json("status")["data"]["warnings"] == []
    age(secured, RENEW_BEFORE - SECONDS)
    for command in ("status", "check"):
        said = secured.json(command)
        assert (said["ok"], said["errors"]) == (True, []), said
        assert [one["code"] for one in said["data"]["warnings"]] == ["certificate-ends-soon"]
    shown = secured("status").ok()
    assert "warning: the certificate ends in 29 days" in shown.err
    assert "regsetup cert renew" in shown.err
    assert secured("status", "-q").ok().err == ""
    assert "warning: the certificate ends in 29 days" in secured("check").ok().err
    assert secured.json("cert", "status")["errors"][0]["code"] == "certificate-ends-soon"
    assert secured("cert", "renew").ok()
    assert secured.json("status")["data"]["warnings"] == []


def test_an_expired_certificate_fails_the_check_and_renewal_mends_it(secured: Regsetup) -> None:
    age(secured, -timedelta(days=2))
    assert "the certificate has ended" in secured("status").err
    wait_for("the registry to serve it, and the check to see it", lambda: secured("check").code == 3)
    assert "warning: the certificate has ended" in secured("check").err
    assert secured.json("up", "--no-check")["changed"], "up renews by itself"
    assert secured.json("check")["ok"]


def test_a_certificate_of_ones_own_is_read_again_when_somebody_renewed_it(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    """As certbot does: the same link, another file; its deploy hook is `regsetup cert renew`."""
    ca = new_ca("ours", Names.of(["localhost"]), datetime.now(UTC))
    files = {"cert": tmp_path / "fullchain.pem", "key": tmp_path / "privkey.pem"}

    def obtain(number: int) -> None:
        pair = new_leaf(ca, Names.of(["localhost"]), datetime.now(UTC))
        for name, content in {"cert": pair.certificate, "key": pair.key.reveal().encode()}.items():
            archived = tmp_path / f"{name}{number}.pem"
            archived.touch(mode=0o600)
            archived.write_bytes(content)
            files[name].unlink(missing_ok=True)
            files[name].symlink_to(archived)

    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    obtain(1)
    port = ("--host", "localhost", "--port", str(free_port()), "--no-check")
    own = ("--cert", str(files["cert"]), "--key", str(files["key"]))
    unknown = f"does not know who signed {files['cert']}; each client needs that CA"
    assert unknown in regsetup("up", "--backend", "embedded", *port, *own).ok().out
    regsetup.env["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")  # the CA that everybody knows
    assert unknown not in regsetup("up", *port).ok().out
    assert regsetup.json("check", env={"SSL_CERT_FILE": ""})["ok"]
    before = regsetup.json("cert", "status")["data"]["certificate"]["fingerprint"]
    assert regsetup.json("cert", "renew")["errors"][0]["code"] == "own-certificate"
    obtain(2)
    pid = regsetup.json("status")["data"]["id"]
    assert regsetup.json("cert", "renew")["ok"]
    assert regsetup.json("cert", "status")["data"]["certificate"]["fingerprint"] != before
    assert regsetup.json("status")["data"]["id"] == pid, "it was not restarted"
