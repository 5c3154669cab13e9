"""What distribution's third major version (``registry:3``) reads otherwise than the second. Pure.

Source: its release notes, https://github.com/distribution/distribution/releases/tag/v3.0.0; tracing: #4270.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_2 = "/etc/docker/registry/config.yml"
CONFIG_3 = "/etc/distribution/config.yml"
# Without a collector at hand every request ends with an error in the log.
QUIET_TRACES = ("OTEL_TRACES_EXPORTER", "none")
_GONE = {
    "REGISTRY_STORAGE_OSS": "the storage driver oss is gone",
    "REGISTRY_STORAGE_SWIFT": "the storage driver swift is gone",
    "REGISTRY_COMPATIBILITY_SCHEMA1": "schema 1 manifests are gone, and their signing with them",
    "REGISTRY_REPORTING": "reports to Bugsnag and New Relic are gone",
    "REGISTRY_REDIS_ADDR": "it is REGISTRY_REDIS_ADDRS now, and a list: [host:6379]",
    "REGISTRY_REDIS_POOL_MAXIDLE": "it is REGISTRY_REDIS_MAXIDLECONNS now",
    "REGISTRY_REDIS_POOL_MAXACTIVE": "it is REGISTRY_REDIS_POOLSIZE now",
    "REGISTRY_REDIS_POOL_IDLETIMEOUT": "it is REGISTRY_REDIS_CONNMAXIDLETIME now",
}


def own_variables(config_path: str, env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return ``env`` with what an image needs besides, told by where it reads its configuration from."""
    traced = any(key.startswith("OTEL_") for key, _ in env)
    return env if config_path != CONFIG_3 or traced else (QUIET_TRACES, *env)


def lost_meaning(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence for each variable that the third major version does not read any more."""
    return tuple(
        f"{key} means nothing to registry:3: {reason}"
        for key in sorted(env)
        for old, reason in _GONE.items()
        if key == old or key.startswith(f"{old}_")
    )
