"""Names, constraints and the decision what to renew: plain values."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.auth.certificates import (
    RENEW_BEFORE,
    BadName,
    Certificate,
    Constraints,
    Names,
    Renewal,
    choose_names,
    decide,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WANTED = Names.of(["registry.lan", "10.0.0.5"])
CA = Certificate(
    subject="O=regsetup,CN=registry CA",
    issuer="O=regsetup,CN=registry CA",
    names=Names(),
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=3649),
    fingerprint="AA",
    key_id="01",
    constraints=Constraints(("registry.lan",), (ipaddress.ip_network("10.0.0.5/32"),)),
)
LEAF = replace(CA, names=WANTED, not_after=NOW + timedelta(days=400), key_id="02", issuer_key_id="01")


def test_names_are_sorted_into_dns_and_addresses_once_each() -> None:
    names = Names.of(["Registry.LAN.", "10.0.0.5", "[fd00::1]", "registry.lan", "10.0.0.5"])
    assert names.texts == ("registry.lan", "10.0.0.5", "fd00::1")
    assert str(names) == "registry.lan, 10.0.0.5, fd00::1"


@pytest.mark.parametrize(
    "text", ["", "a b", "http://x", "x:5000", "10.0.0.256", "-a", "a..b", "ä.lan", "a" * 64, "a*.lan", "a/b"]
)
def test_what_no_certificate_can_hold_is_refused(text: str) -> None:
    with pytest.raises(BadName) as caught:
        Names.of([text])
    assert repr(text) in caught.value.message
    assert caught.value.exit_code == 2


@given(st.ip_addresses())
def test_every_address_is_read_as_an_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not getattr(address, "scope_id", None):
        assert Names.of([str(address)]).addresses == (address,)


@pytest.mark.parametrize(
    ("have", "want", "missing"),
    [
        (["registry.lan"], ["registry.lan"], ()),
        (["registry.lan"], ["other.lan"], ("other.lan",)),
        (["*.lan"], ["registry.lan"], ()),
        (["*.lan"], ["a.registry.lan"], ("a.registry.lan",)),
        (["*.lan"], ["lan"], ("lan",)),
        (["10.0.0.5"], ["10.0.0.5", "10.0.0.6"], ("10.0.0.6",)),
        (["registry.lan"], ["10.0.0.5"], ("10.0.0.5",)),
    ],
)
def test_missing_names_follow_rfc_6125(have: list[str], want: list[str], missing: tuple[str, ...]) -> None:
    assert Names.of(have).missing(Names.of(want)).texts == missing


def test_constraints_permit_a_domain_with_what_ends_in_it_and_refuse_the_rest() -> None:
    constraints = CA.constraints
    assert constraints is not None
    assert not constraints.refused(Names.of(["registry.lan", "a.registry.lan", "10.0.0.5"]))
    refused = constraints.refused(Names.of(["xregistry.lan", "lan", "10.0.0.6", "::1"]))
    assert refused.texts == ("xregistry.lan", "lan", "10.0.0.6", "::1")


def test_a_kind_of_name_without_constraint_is_free() -> None:
    assert not Constraints((), ()).refused(WANTED)


@pytest.mark.parametrize(
    ("ca", "leaf", "wanted", "action", "reason"),
    [
        (CA, LEAF, WANTED, Renewal.KEEP, "400 days left until 2027-12-28"),
        (None, LEAF, WANTED, Renewal.REPLACE_CA, "there is no CA yet"),
        (
            replace(CA, not_after=NOW + RENEW_BEFORE),
            LEAF,
            WANTED,
            Renewal.REPLACE_CA,
            "the CA ends on 2026-12",
        ),
        (CA, LEAF, Names.of(["new.lan"]), Renewal.REPLACE_CA, "the CA does not permit new.lan"),
        (CA, None, WANTED, Renewal.RENEW_LEAF, "no certificate yet"),
        (CA, replace(LEAF, issuer_key_id="03"), WANTED, Renewal.RENEW_LEAF, "from another CA"),
        (
            CA,
            replace(LEAF, names=Names.of(["registry.lan"])),
            WANTED,
            Renewal.RENEW_LEAF,
            "not name 10.0.0.5",
        ),
        (CA, replace(LEAF, not_after=NOW + RENEW_BEFORE), WANTED, Renewal.RENEW_LEAF, "ends on 2026-12-23"),
        (replace(CA, constraints=None), LEAF, Names.of(["new.lan"]), Renewal.RENEW_LEAF, "not name new.lan"),
    ],
)
def test_the_decision_and_its_reason(
    ca: Certificate | None, leaf: Certificate | None, wanted: Names, action: Renewal, reason: str
) -> None:
    decision = decide(wanted, ca, leaf, NOW)
    assert decision.action is action
    assert reason in decision.reason


def test_the_last_day_before_the_warning_is_not_soon() -> None:
    leaf = replace(LEAF, not_after=NOW + RENEW_BEFORE + timedelta(seconds=1))
    assert not leaf.ends_soon(NOW)
    assert leaf.days_left(NOW) == 30
    assert leaf.days_left(leaf.not_after + timedelta(hours=1)) == -1


def test_an_address_that_nobody_asked_for_does_not_replace_the_ca() -> None:
    hosts, machine = Names.of(["registry.lan"]), Names.of(["box", "10.0.0.5", "10.9.9.9"])
    assert choose_names(hosts, machine, None) == hosts + machine
    assert choose_names(hosts, machine, replace(CA, constraints=None)) == hosts + machine
    assert choose_names(hosts, machine, CA).texts == ("registry.lan", "10.0.0.5")
