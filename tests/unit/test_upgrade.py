"""What an upgrade compares, and what it says of registry:3."""

from __future__ import annotations

from regsetup.backends.distribution import CONFIG_2, CONFIG_3, lost_meaning, own_variables
from regsetup.contents.inventory import Inventory, Trouble
from regsetup.reference import Digest
from regsetup.safeguard import ContentLost, lost

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def test_a_tag_that_is_gone_is_lost_and_one_that_moved_is_not() -> None:
    before = Inventory(tags={("a", "1"): ONE, ("a", "2"): ONE, ("b", "1"): ONE})
    after = Inventory(tags={("a", "1"): TWO, ("b", "1"): ONE, ("new", "1"): TWO})
    assert lost(before, after) == ("a:2",)
    assert lost(before, before) == ()


def test_damage_counts_only_if_it_is_new() -> None:
    old, new = Trouble("a", "1", "not there"), Trouble("a", str(TWO), "not there")
    assert lost(Inventory(troubles=[old]), Inventory(troubles=[old])) == ()
    assert lost(Inventory(troubles=[old]), Inventory(troubles=[old, new])) == (f"a {TWO}: not there",)


def test_of_much_that_is_lost_some_is_named_and_the_rest_counted() -> None:
    cause = ContentLost(tuple(f"a:{n}" for n in range(8))).cause or ""
    assert cause.splitlines() == ["a:0", "a:1", "a:2", "a:3", "a:4", "and 3 more"]
    assert "more" not in (ContentLost(("a:1",)).cause or "")


def test_traces_are_off_in_registry_3_unless_somebody_collects_them() -> None:
    env = (("REGISTRY_LOG_LEVEL", "info"),)
    assert own_variables(CONFIG_2, env) == env
    assert own_variables(CONFIG_3, env) == (("OTEL_TRACES_EXPORTER", "none"), *env)
    traced = (*env, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"))
    assert own_variables(CONFIG_3, traced) == traced


def test_variables_that_registry_3_does_not_read_are_named_with_what_came_instead() -> None:
    assert lost_meaning({"REGISTRY_LOG_LEVEL": "info", "REGISTRY_REDIS_ADDRS": "[h:1]"}) == ()
    (gone,) = lost_meaning({"REGISTRY_STORAGE_SWIFT_AUTHURL": "x"})
    assert "driver swift is gone" in gone
    (renamed,) = lost_meaning({"REGISTRY_REDIS_ADDR": "h:1"})
    assert "REGISTRY_REDIS_ADDRS" in renamed
