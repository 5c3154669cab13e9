"""Variables that mean something to a container only."""

from __future__ import annotations

import pytest

from regsetup.backends.variables import ignored


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("REGISTRY_HTTP_ADDR", "--bind and --port"),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "--cert and --key"),
        ("REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL", "--tls acme"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "--data"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "--read-only"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "--realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", "--user"),
        ("REGISTRY_PROXY_REMOTEURL", "--mirror-of"),
        ("REGISTRY_LOG_LEVEL", "only a container reads it"),
    ],
)
def test_a_setting_of_ours_that_does_the_same_is_named(key: str, said: str) -> None:
    (sentence,) = ignored([(key, "x")])
    assert sentence.startswith(f"--env {key} means nothing to the bundled registry: ")
    assert said in sentence


def test_what_a_process_reads_by_itself_is_not_spoken_of() -> None:
    assert ignored([("HTTPS_PROXY", "http://proxy:3128"), ("TZ", "UTC")]) == ()
