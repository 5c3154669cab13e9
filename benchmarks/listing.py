"""Measures ``catalog`` and ``tags`` of 1,000 repositories with ten tags each, on both registries in turns.

python -m benchmarks.listing [--rounds 5] [--repositories 1000] [--tags 10] [--directory DIR]

Timed is the whole command, from the start of its process to its end, and the requests alone. Both registries
serve one tree, written as registry:2 would: pushing 10,000 images would take minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.servers import Server, as_installed
from regsetup.client import Endpoint, RegistryClient
from regsetup.contents import listing
from regsetup.reference import Digest

CONFIG = b'{"os":"linux","architecture":"amd64"}'
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(Digest.of(CONFIG)),
            "size": len(CONFIG),
        },
        "layers": [],
    }
).encode()


HEAD = "| registry | `regsetup catalog --tags` | its processor time | the requests alone |\n|---|---|---|---|"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--tags", type=int, default=10)
    parser.add_argument("--directory", type=Path, help="where to write (default: a temporary directory)")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="listing-", dir=given.directory))
    servers = [Server(name, place / "data") for name in ("bundled", "docker-registry")]
    try:
        _fill(place / "data", given.repositories, given.tags)
        for server in servers:
            server.start()
        took: dict[str, list[tuple[float, ...]]] = {server.name: [] for server in servers}
        for _ in range(given.rounds):
            for server in servers:
                took[server.name].append((*_command(server, given), _requests(server, given)))
    finally:
        for server in servers:
            if server.process:
                server.stop()
        shutil.rmtree(place)
    print(HEAD)
    for name, pairs in took.items():
        print(f"| {name} | " + " | ".join(_shown(column) for column in zip(*pairs, strict=True)) + " |")


def _shown(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} - {max(seconds):.2f})"


def _fill(root: Path, repositories: int, tags: int) -> None:
    """Write the tree of distribution's filesystem driver, with one image under every tag."""
    top = root / "docker/registry/v2"
    for content in (CONFIG, MANIFEST):
        digest = Digest.of(content)
        blob = top / "blobs/sha256" / digest.hex[:2] / digest.hex
        blob.mkdir(parents=True)
        (blob / "data").write_bytes(content)
    manifest, config = Digest.of(MANIFEST), Digest.of(CONFIG)
    for number in range(repositories):
        repository = top / "repositories" / f"team-{number % 10}" / f"app-{number:04}"
        links = {
            f"_layers/sha256/{config.hex}": config,
            f"_manifests/revisions/sha256/{manifest.hex}": manifest,
        }
        for tag in range(tags):
            links[f"_manifests/tags/1.{tag}/current"] = manifest
            links[f"_manifests/tags/1.{tag}/index/sha256/{manifest.hex}"] = manifest
        for name, target in links.items():
            (repository / name).mkdir(parents=True)
            (repository / name / "link").write_text(str(target))


def _command(server: Server, given: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds from the start of the process to its end, and its processor time."""
    environment = as_installed()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "regsetup", "catalog", "--tags"]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--registry", f"http://127.0.0.1:{server.port}"],
        capture_output=True,
        check=True,
        env=environment,
    )
    took = time.perf_counter() - begin
    assert done.stdout.count(b"\n") == given.repositories * given.tags
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _requests(server: Server, given: argparse.Namespace) -> float:
    begin = time.perf_counter()
    with RegistryClient(Endpoint(f"http://127.0.0.1:{server.port}")) as client:
        found = dict(listing.tags(client, listing.repositories(client)))
    took = time.perf_counter() - begin
    assert sum(map(len, found.values())) == given.repositories * given.tags
    return took


if __name__ == "__main__":
    main()
