"""What variables of the container (``--env``) mean to the bundled registry. Pure.

Its process gets them, so that ``HTTPS_PROXY`` works, but it is told by flags: what registry:2 and 3 read as
configuration is not read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A prefix of the variable, the more exact first, and the setting that says the same.
_SAID = (
    ("REGISTRY_HTTP_ADDR", "--bind and --port say where it listens"),
    ("REGISTRY_HTTP_TLS_LETSENCRYPT", "a container can do that: --backend docker --tls acme"),
    ("REGISTRY_HTTP_TLS_", "--cert and --key do that"),
    ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "--data does that"),
    ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "--read-only does that"),
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING", "--upload-ttl does that"),
    ("REGISTRY_STORAGE_DELETE", "it always deletes, unless --read-only is given"),
    ("REGISTRY_AUTH_HTPASSWD_REALM", "--realm does that"),
    ("REGISTRY_AUTH", "--user, --auth and --no-auth say who may enter"),
    ("REGISTRY_PROXY_REMOTEURL", "--mirror-of does that"),
)


def ignored(env: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a sentence for each variable that a container would read, and the bundled registry does not."""
    return tuple(
        f"--env {key} means nothing to the bundled registry: {_instead(key)}"
        for key, _ in env
        if key.startswith("REGISTRY_")
    )


def _instead(key: str) -> str:
    return next((said for prefix, said in _SAID if key.startswith(prefix)), "only a container reads it")
