"""Platforms: one spelling, and what runs where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.image.platform import BadPlatform, Platform, choose, fitness, here

NAMES = st.sampled_from(["amd64", "arm", "arm64", "386", "s390x", "riscv64", "x86_64", "aarch64", "armhf"])
VARIANTS = st.sampled_from(["", "v1", "v2", "v3", "v5", "v6", "v7", "v8", "7", "softfloat"])
VERSIONS = st.sampled_from(["", "10.0", "10.0.17763.1", "10.0.20348", "10.0.20348.2700"])
PLATFORMS = st.builds(
    Platform.of, st.sampled_from(["linux", "windows", "Linux"]), NAMES, VARIANTS, version=VERSIONS
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armv6l", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
        ("Windows(10.0.20348.2700)/x86_64", "windows(10.0.20348.2700)/amd64"),
    ],
)
def test_every_spelling_becomes_one(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/arm/v7/", "a()/b", "a(1/b", "(1)/b"],
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(BadPlatform, match="not a platform"):
        Platform.parse(text)


@given(PLATFORMS)
def test_parse_and_print_are_inverse(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform


@given(PLATFORMS)
def test_a_platform_fits_itself_best(platform: Platform) -> None:
    assert fitness(platform, platform) == 100


@given(PLATFORMS, PLATFORMS)
def test_two_that_fit_each_other_are_one(one: Platform, other: Platform) -> None:
    if fitness(one, other) is not None and fitness(other, one) is not None:
        assert one == other


@given(PLATFORMS, st.lists(st.none() | PLATFORMS, max_size=8))
def test_what_is_chosen_fits_and_nothing_fits_better(
    wanted: Platform, offered: list[Platform | None]
) -> None:
    number = choose(wanted, offered)
    fits = [fit for one in offered if (fit := fitness(wanted, one)) is not None]
    if number is None:
        assert not fits
    else:
        assert fitness(wanted, offered[number]) == max(fits)
        assert offered[number] not in offered[:number]


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v6"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64"),
        ("linux/amd64", ["windows/amd64", "unknown/unknown"], None),
        ("windows/amd64", ["windows(10.0.1)/amd64", "windows(10.0.2)/amd64"], "windows(10.0.1)/amd64"),
        (
            "windows(10.0.2)/amd64",
            ["windows(10.0.1)/amd64", "windows(10.0.2.9)/amd64"],
            "windows(10.0.2.9)/amd64",
        ),
        ("windows(10.0.2)/amd64", ["windows(10.0.20)/amd64", "windows/amd64"], None),
    ],
)
def test_older_variants_run_and_newer_do_not(wanted: str, offered: list[str], chosen: str | None) -> None:
    platforms = [Platform.parse(one) for one in offered]
    number = choose(Platform.parse(wanted), platforms)
    assert (None if number is None else str(platforms[number])) == chosen


def test_a_document_without_platform_has_none() -> None:
    assert Platform.read({"os": "linux", "architecture": "arm64", "variant": "v8"}) == Platform(
        "linux", "arm64"
    )
    windows = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}
    assert str(Platform.read(windows)) == "windows(10.0.17763.1)/amd64"
    assert str(Platform.read(windows | {"os.version": "a/b"})) == "windows/amd64"
    documents: list[object] = [None, [], {}, {"os": "linux"}, {"os": 1, "architecture": "x"}, {"os": ""}]
    assert [Platform.read(one) for one in documents] == [None] * len(documents)
    assert not Platform("unknown", "unknown").known


def test_this_machine_runs_linux() -> None:
    assert here().os == "linux"
    assert fitness(here(), Platform.parse(str(here()))) == 100
