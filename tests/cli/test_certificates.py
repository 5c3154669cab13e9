"""Certificates that end: status and check warn in time, and say when it is too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import BACKDATE, LEAF_LIFETIME, RENEW_BEFORE, Names
from regsetup.certify import certificate_files
from regsetup.deployment import Paths
from tests.bed.run import free_port, wait_for

if TYPE_CHECKING:
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
