"""Measures push, pull and copy of a whole image beside ``skopeo copy``, in one run, in turns.

python -m benchmarks.moving [--rounds 5] [--size 500] [--layers 10] [--directory DIR] > table.md

Both are the commands as people run them: start, end and the writing of the disk are in the time. A registry
that is pushed to is empty each time. The memory is the peak of regsetup's process.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.servers import Server, as_installed
from benchmarks.workloads import CONFIG, IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NAMES = ("docker-registry", "bundled")
GZIPPED = "application/vnd.oci.image.layer.v1.tar+gzip"
HEAD = (
    "| | registry | regsetup | skopeo copy | ratio | CPU s, regsetup / skopeo | peak MiB |\n"
    "|---|---|---|---|---|---|---|"
)
TITLES = {"oci": "OCI layout", "docker-archive": "docker-archive"}
SKOPEO = ("skopeo", "--insecure-policy", "copy", "-q")


@dataclass
class Measured:
    """Seconds of wall and processor time of one kind of move, and the peak of memory."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: float = 0.0


@dataclass(frozen=True)
class Bench:
    """Where all of it happens."""

    place: Path
    results: dict[tuple[str, str, str], Measured] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=as_installed)

    def run(self, move: str, registry: str, tool: str, command: list[str]) -> None:
        """Run a command and note what it took."""
        measured = self.results.setdefault((move, registry, tool), Measured())
        home = self.place / "home"
        home.mkdir(exist_ok=True)
        environment = self.environment | {"HOME": str(home), "REGSETUP_HOME": str(home / "regsetup")}
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        measured.wall.append(time.perf_counter() - begin)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}")
        measured.cpu.append(used.ru_utime + used.ru_stime)
        measured.peak = max(measured.peak, used.ru_maxrss / 1024)


def image(directory: Path, plain: Iterable[bytes], level: int) -> None:
    """Write an OCI layout with an image of these layers, gzipped."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    found, ids = [], []
    for layer in plain:
        ids.append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
        found.append(blob(gzip.compress(layer, level, mtime=0), GZIPPED))
    rootfs = {"type": "layers", "diff_ids": ids}
    config = blob(json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode(), CONFIG)
    document = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": found}
    named = {"org.opencontainers.image.ref.name": "image"}
    entry = blob(json.dumps(document).encode(), IMAGE) | {"annotations": named}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def noise(layers: int, size: int) -> Iterator[bytes]:
    """Yield layers that no compression makes smaller."""
    for number in range(layers):
        with tar() as (target, made):
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = size // layers
            target.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        yield made.getvalue()


def programs(layers: int, size: int) -> Iterator[bytes]:
    """Yield layers of what stands in /usr/lib and /usr/bin of this machine."""
    found = (path for top in ("/usr/lib", "/usr/bin") for path in sorted(Path(top).rglob("*")))
    files = (path for path in found if path.is_file() and not path.is_symlink())
    for _ in range(layers):
        with tar() as (target, made):
            while made.tell() < size // layers and (path := next(files, None)):
                target.add(path, str(path).lstrip("/"))
        yield made.getvalue()


@contextlib.contextmanager
def tar() -> Iterator[tuple[tarfile.TarFile, io.BytesIO]]:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as target:
        yield target, made


def in_child(work: Callable[[], None]) -> None:
    """Do it in a process of its own: a program's peak of memory counts from that of who starts it."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@dataclass(frozen=True)
class Move:
    """One kind of move: what it is called, and the arguments of each tool."""

    name: str
    ours: list[str]
    theirs: list[str]


def emptied(server: Server) -> Server:
    server.stop()
    shutil.rmtree(server.root)
    server.root.mkdir()
    server.start()
    return server


def measure(bench: Bench, name: str, number: int, make: Callable[[], Move]) -> None:
    """Run a move with each tool; who begins changes from round to round."""
    for tool in ("regsetup", "skopeo") if number % 2 else ("skopeo", "regsetup"):
        move = make()
        ours = [sys.executable, "-m", "regsetup", *move.ours, "-q"]
        bench.run(move.name, name, tool, ours if tool == "regsetup" else [*SKOPEO, *move.theirs])
        for left in ("out", "out.tar"):
            path = bench.place / left
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def one_round(bench: Bench, servers: dict[str, Server], number: int) -> None:
    place = bench.place
    to, fro = "--dest-tls-verify=false", "--src-tls-verify=false"

    def push(server: Server, source: str, kind: str) -> Move:
        ref = f"127.0.0.1:{emptied(server).port}/bench/image:1"
        theirs = [to, f"{kind}:{place / source}{':image' if kind == 'oci' else ''}", f"docker://{ref}"]
        return Move(f"push, {TITLES[kind]}", ["push", str(place / source), ref], theirs)

    def pull(server: Server, target: str, kind: str) -> Move:
        ref = f"127.0.0.1:{server.port}/bench/image:1"
        theirs = [fro, f"docker://{ref}", f"{kind}:{place / target}:bench/image:1"]
        return Move(f"pull, {TITLES[kind]}", ["pull", ref, str(place / target)], theirs)

    def copy(server: Server, other: Server) -> Move:
        ref = f"127.0.0.1:{server.port}/bench/image:1"
        ref_to = f"127.0.0.1:{emptied(other).port}/bench/image:1"
        theirs = [to, fro, "--all", f"docker://{ref}", f"docker://{ref_to}"]
        return Move(f"copy, to {other.name}", ["copy", ref, ref_to], theirs)

    for name, server in servers.items():
        other = next(one for one in servers.values() if one is not server)
        measure(bench, name, number, functools.partial(push, server, "saved.tar", "docker-archive"))
        measure(bench, name, number, functools.partial(push, server, "layout", "oci"))
        measure(bench, name, number, functools.partial(pull, server, "out", "oci"))
        measure(bench, name, number, functools.partial(pull, server, "out.tar", "docker-archive"))
        measure(bench, name, number, functools.partial(copy, server, other))


def report(bench: Bench, write: Callable[[str], object]) -> None:
    """Print the table."""
    write(HEAD + "\n")
    for (move, registry, tool), ours in bench.results.items():
        theirs = bench.results.get((move, registry, "skopeo"))
        if tool != "regsetup" or theirs is None:
            continue
        ratio = statistics.median(theirs.wall) / statistics.median(ours.wall)
        cpu = f"{statistics.median(ours.cpu):.2f} / {statistics.median(theirs.cpu):.2f}"
        cells = (move, registry, spread(ours.wall), spread(theirs.wall), f"**{ratio:.2f}**", cpu)
        write(f"| {' | '.join(cells)} | {ours.peak:.0f} |\n")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} - {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=500, help="MiB")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="moving-") as name:
        bench = Bench(Path(name))
        size = options.size << 20
        in_child(lambda: image(bench.place / "layout", noise(options.layers, size), 0))
        in_child(lambda: image(bench.place / "programs", programs(options.layers, size * 2 // 5), 1))
        saved = [f"oci:{bench.place}/programs:image", f"docker-archive:{bench.place}/saved.tar:bench/image:1"]
        subprocess.run([*SKOPEO, *saved], check=True)
        servers = {one: Server(one, bench.place / one) for one in NAMES}
        for server in servers.values():
            server.root.mkdir()
            server.start()
        try:
            for number in range(options.rounds):
                one_round(bench, servers, number)
                report(bench, sys.stderr.write)
        finally:
            for server in servers.values():
                server.stop()
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{platform.python_version()}, {os.cpu_count()} cores, load {load}\n")
    report(bench, sys.stdout.write)


if __name__ == "__main__":
    main()
