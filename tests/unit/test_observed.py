"""A spec's hash: equal settings, equal hash; and the differences in words."""

from __future__ import annotations

import json
import string

from hypothesis import given
from hypothesis import strategies as st

from regsetup.observed import Spec

SETTINGS = st.dictionaries(
    st.sampled_from(["port", "bind", "image", "env A"]), st.text(string.printable, max_size=10)
)


@given(SETTINGS)
def test_the_hash_does_not_depend_on_order(settings: dict[str, str]) -> None:
    turned = dict(reversed(settings.items()))
    assert Spec(settings).hash == Spec(turned).hash
    assert Spec(settings) == Spec(turned)


@given(SETTINGS, SETTINGS)
def test_two_specs_have_one_hash_only_if_nothing_changed(one: dict[str, str], two: dict[str, str]) -> None:
    changes = Spec(one).changes_from(Spec(two))
    assert (Spec(one).hash == Spec(two).hash) is (one == two) is (changes == ())


@given(SETTINGS)
def test_a_spec_reads_as_it_is_written(settings: dict[str, str]) -> None:
    text = Spec(settings).as_json()
    assert "\n" not in text
    assert json.loads(text) == settings
    assert len(Spec(settings).hash) == 12


def test_changes_are_named_old_to_new_in_order() -> None:
    before, after = Spec({"port": "5000", "bind": "a"}), Spec({"port": "5001", "tls": "off", "bind": "a"})
    assert after.changes_from(before) == ("port 5000 -> 5001", "tls unset -> off")
    assert before.changes_from(after) == ("port 5001 -> 5000", "tls off -> unset")
