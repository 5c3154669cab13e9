"""Errors that people paste: what clients, engines and registries print, and what each is explained by."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from regsetup.doctor import explain, machine_errors, registry_errors
from regsetup.doctor.explain import address_in
from regsetup.doctor.machine_errors import Explained
from regsetup.trust import refusals


def _sections() -> dict[str, list[str]]:
    """Read the texts, one a line, by the code that stands in brackets above them."""
    found: dict[str, list[str]] = {}
    for line in (Path(__file__).parents[1] / "bed" / "pasted_errors.txt").read_text().splitlines():
        if line.startswith("[") and line.endswith("]"):
            code = line.strip("[]")
        elif line and not line.startswith("#"):
            found.setdefault(code, []).append(line)
    return found


TEXTS = _sections()
OTHERS = [*TEXTS.pop("unexplained"), "", " \n "]


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in TEXTS.items() for text in texts])
def test_a_pasted_error_is_explained(code: str, text: str) -> None:
    error = explain(text)
    assert error.code == code
    assert error.cause
    assert error.fix
    wrapped = text.replace(" ", "\n  ")
    assert explain(wrapped).code == code, "a terminal may have broken it"


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_not_known_is_not_explained(text: str) -> None:
    error = explain(text)
    assert (error.code, error.message) == ("unexplained", "this error is not known to regsetup")
    assert error.fix == "regsetup doctor looks at the whole machine"


def test_of_a_log_what_stands_at_its_end_is_explained_and_quoted() -> None:
    """Read whole, two megabytes took minutes."""
    said = 'Error: Get "https://r.lan:5000/v2/": x509: certificate signed by unknown authority'
    log = "dial tcp 10.0.0.5:5000: connect, and again\n" * 50_000 + said + "\nbye" * 500
    begun = time.monotonic()
    error = explain(log)
    assert time.monotonic() - begun < 5
    assert error.code == "engine-unknown-ca"
    assert error.message.startswith("r.lan:5000: ")
    assert said in (error.cause or "")
    assert len(error.cause or "") < 1000


def test_every_explanation_has_an_example() -> None:
    kinds = {*machine_errors.KINDS, *registry_errors.FIRST, *registry_errors.KINDS}
    assert kinds == set(Explained.__subclasses__())
    assert {kind.code for kind in (*kinds, *refusals.KNOWN)} == set(TEXTS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x509: certificate is valid for a.lan, 127.0.0.1, not b.lan", "b.lan"),
        ("x509: cannot validate certificate for 10.0.0.5 because it doesn't contain any IP SANs", "10.0.0.5"),
        ("no alternative certificate subject name matches target host name 'b.lan'", "b.lan"),
        ("no alternative certificate subject name matches target ipv4 address '10.0.0.5'", "10.0.0.5"),
        ("Certificate for <b.lan> doesn't match any of the subject alternative names: [a.lan]", "b.lan"),
        ("No subject alternative names matching IP address 10.0.0.5 found", "10.0.0.5"),
        ("No subject alternative DNS name matching b.lan found", "b.lan"),
        ("Hostname mismatch, certificate is not valid for 'b.lan'. (_ssl.c:1006)", "b.lan"),
        ("x509: certificate is not valid for any names, but wanted to match b.lan", "b.lan"),
    ],
)
def test_the_name_that_the_certificate_lacks_stands_in_the_command(text: str, name: str) -> None:
    assert (explain(text).fix or "").startswith(f"regsetup up --host {name},")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ('Get "https://r.lan:5000/v2/": EOF', "r.lan:5000"),
        ('Get \\"http://r.lan/v2/\\": EOF', "r.lan"),
        ("dial tcp 10.0.0.5:5000: connect: connection refused", "10.0.0.5:5000"),
        ("dial tcp [fd00::1]:5000: i/o timeout", "[fd00::1]:5000"),
        ("lookup r.lan: no such host", "r.lan"),
        ("no such host", None),
    ],
)
def test_the_address_is_taken_from_the_text(text: str, address: str | None) -> None:
    assert address_in(text) == address
    assert (address or "the registry") in explain(f"{text} connect: connection refused").message
