"""A container as Kubernetes objects: Deployment, Service, PersistentVolumeClaim and Secrets.

Images go into a claim, for a directory of this machine is none of the cluster's. One replica, replaced only
after it has ended: two registries on one disk don't know of each other's uploads. Hashes and keys are
Secrets; the users' is mounted as a directory, so that a changed one is seen without a restart. What a
registry gets from Let's Encrypt lies in the claim; its probes only connect, for a cluster's name no host.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regsetup.backends import container as containers
from regsetup.deployment import is_loopback
from regsetup.errors import UsageError
from regsetup.templating import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regsetup.backends.container import Container

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035 label, as a Service's name must be
_QUANTITY = re.compile(r"[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?")


class NotForKubernetes(UsageError):
    """A name or size that Kubernetes does not take."""

    code = "not-for-kubernetes"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What only Kubernetes asks for: a namespace (None: the caller's) and how much the claim is for."""

    namespace: str | None
    size: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What the Secrets hold: texts of files by name; None where there is no such Secret."""

    config: str
    htpasswd: str | None
    certificates: Mapping[str, str] | None


def check(name: str, cluster: Cluster) -> None:
    """Refuse what the cluster would refuse later.

    Raises:
        NotForKubernetes: name, namespace or size.
    """
    for flag, text in (("--name", name), ("--namespace", cluster.namespace)):
        if text is not None and not _LABEL.fullmatch(text):
            raise NotForKubernetes(
                f"{flag}: {text!r} can't be a name in Kubernetes",
                cause="small letters, digits and '-', at most 63, beginning with a letter (RFC 1035)",
            )
    if not _QUANTITY.fullmatch(cluster.size):
        raise NotForKubernetes(f"--size: {cluster.size!r} is no size", fix="give it as in 20Gi or 500Mi")


def host_names(name: str, cluster: Cluster) -> tuple[str, ...]:
    """Return the Service's names inside the cluster (DNS for Services and Pods)."""
    namespace = cluster.namespace or "default"
    return (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local")


def text(container: Container, contents: Contents, cluster: Cluster) -> str:
    """Return all objects in one file."""
    where = {mount.target: mount for mount in container.mounts}
    others = (containers.DATA, containers.AUTH, containers.CERTS, containers.ACME)
    config = next(target for target in where if target not in others)
    return render(
        "kubernetes.yaml.j2",
        {
            "name": container.name,
            "namespace": cluster.namespace,
            "size": cluster.size,
            "image": container.image,
            "port": container.port,
            "service_port": container.publish.port,
            "service_type": "ClusterIP" if is_loopback(container.publish.host) else "LoadBalancer",
            "scheme": container.scheme.upper(),
            "environment": container.env,
            "annotations": {**dict(container.labels), "io.regsetup.config": _digest(contents)},
            "config": contents.config,
            "config_path": config,
            "htpasswd": contents.htpasswd,
            "auth_path": containers.AUTH,
            "certificates": contents.certificates,
            "certs_path": containers.CERTS,
            "data_path": containers.DATA,
            "acme_path": containers.ACME if containers.ACME in where else None,
            "interval": containers.HEALTH_INTERVAL,
            "timeout": containers.HEALTH_TIMEOUT,
            "retries": containers.HEALTH_RETRIES,
        },
    )


def _digest(contents: Contents) -> str:
    """A file mounted by itself is not seen to change, so another digest makes another pod."""
    read_at_start = json.dumps([contents.config, dict(contents.certificates or {})])
    return hashlib.sha256(read_at_start.encode()).hexdigest()[:12]
