"""What the benchmarks push first, and the workloads that are more than one request."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import ssl
import statistics
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import load
from regsetup.auth.htpasswd import Cost, hash_password
from regsetup.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.load import Target

MANIFEST = "/v2/bench/image/manifests/latest"
USER = ("bench", "a-password-of-the-benchmark")
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
BLOB = 256 << 20  # bytes
SMALL = 10 << 10  # bytes


@dataclass(frozen=True)
class Content:
    """Paths of what is there."""

    blob: str
    small: str


def fill(target: Target) -> Content:
    """Push a large blob, a small one and a manifest of both."""
    large = store(target, load.PIECE * (BLOB // len(load.PIECE)))
    small = store(target, os.urandom(SMALL))
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": small,
                "size": SMALL,
            },
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": large, "size": BLOB}
            ],
        }
    ).encode()
    answer = target.ask("PUT", MANIFEST, manifest, **{"Content-Type": IMAGE})
    assert answer.status == 201, answer
    return Content(f"/v2/bench/image/blobs/{large}", f"/v2/bench/image/blobs/{small}")


def store(target: Target, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answer = target.ask("POST", "/v2/bench/image/blobs/uploads/")
    location = load.relative(answer.headers["Location"])
    answer = target.ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)
    assert answer.status == 201, answer
    return digest


def busy(target: Target, content: Content) -> float:
    """Return the 99th percentile in milliseconds of manifest requests while others move much data."""
    end = threading.Event()

    def others(call: object) -> None:
        while not end.is_set():
            call()  # type: ignore[operator]

    calls = [lambda: load.push(target, 64 << 20, 1)] * 2 + [lambda: load.pull(target, content.blob, 1)]
    threads = [threading.Thread(target=others, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        _, latencies = load.requests(target, "GET", MANIFEST, 1, 4)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return statistics.quantiles(latencies, n=100)[98] * 1000


def htpasswd(path: Path, cost: int) -> Path:
    path.write_text(f"{USER[0]}:{hash_password(Secret(USER[1]), Cost(cost))}\n")
    return path


def certificate(directory: Path) -> tuple[tuple[Path, Path], ssl.SSLContext]:
    """Return certificate and key for localhost, and a context that trusts them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = directory / "tls.crt", directory / "tls.key"
    pair[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    pair[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return pair, ssl.create_default_context(cafile=str(pair[0]))


def layout(directory: Path, size: int) -> Path:
    """Write an OCI layout with one image of four layers that no compression makes smaller."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = []
    for _ in range(4):
        content = os.urandom(size // 4)
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        layers.append({"mediaType": LAYER, "digest": f"sha256:{digest}", "size": len(content)})
    ids = [layer["digest"] for layer in layers]
    rootfs = {"type": "layers", "diff_ids": ids}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
    config_digest = hashlib.sha256(config).hexdigest()
    (blobs / config_digest).write_bytes(config)
    described = {"mediaType": CONFIG, "digest": f"sha256:{config_digest}", "size": len(config)}
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE, "config": described, "layers": layers}
    ).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    (blobs / digest).write_bytes(manifest)
    named = {"org.opencontainers.image.ref.name": "image"}
    entry = {"mediaType": IMAGE, "digest": f"sha256:{digest}", "size": len(manifest), "annotations": named}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory
