"""What engines say, explained by its cause; the texts are from real engines and from the issues cited."""

from __future__ import annotations

import pytest

from regsetup.trust.refusals import Refusal, explain

SAID = (
    # engine 20.10
    ("engine-wants-tls", 'Get "https://10.0.0.5:5000/v2/": http: server gave HTTP response to HTTPS client'),
    ("engine-unknown-ca", 'Get "https://r.lan:5000/v2/": x509: certificate signed by unknown authority'),
    ("engine-wrong-name", 'Get "https://r.lan/v2/": x509: certificate is valid for other.lan, not r.lan'),
    (
        "engine-wrong-name",
        "x509: cannot validate certificate for 10.0.0.5 because it doesn't contain any IP SANs",
    ),
    (
        "engine-unauthorized",
        "login attempt to http://r.lan:5000/v2/ failed with status: 401 Unauthorized",
    ),
    ("engine-unauthorized", "unauthorized: authentication required"),
    ("engine-unauthorized", 'Get "http://127.0.0.1:5000/v2/": no basic auth credentials'),
    ("engine-unknown-name", "dial tcp: lookup nowhere.invalid on 10.0.0.1:53: no such host"),
    ("engine-unreachable", 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'),
    (
        "engine-unreachable",
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
    ),
    ("engine-unreachable", "dial tcp 10.9.9.9:5000: i/o timeout"),
    # newer engines, with more words around
    (
        "engine-unknown-ca",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    ),
    (
        "engine-wants-tls",
        'failed to do request: Head "https://r.lan/v2/a/b": http: server gave HTTP response to HTTPS client',
    ),
    ("engine-wrong-name", "x509: certificate relies on legacy Common Name field, use SANs instead"),
    ("engine-certificate-time", "x509: certificate has expired or is not yet valid: current time 2024-01-01"),
    ("engine-proxy", "proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused"),
    ("engine-uses-plain-http", "Error response from daemon: Client sent an HTTP request to an HTTPS server."),
    ("engine-refused", "toomanyrequests: slow down"),
)


@pytest.mark.parametrize(("code", "said"), SAID)
def test_every_known_text_is_explained_by_its_cause(code: str, said: str) -> None:
    error = explain(said, "r.lan:5000")
    assert error.code == code
    assert error.message.startswith("r.lan:5000: ")
    assert error.cause is not None
    assert said in error.cause, "the engine's own words are kept"
    assert error.fix


def test_each_kind_has_a_code_of_its_own() -> None:
    kinds: list[type[Refusal]] = [Refusal, *Refusal.__subclasses__()]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.code for kind in kinds} == {code for code, _ in SAID}, "every kind has an example above"
