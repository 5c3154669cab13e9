"""Measures the bundled registry beside Debian's docker-registry, in one run, in turns.

python -m benchmarks.run [--rounds 5] [--only pull push ...] [--directory DIR] [--peer PROGRAM] > table.md

Every workload runs on the one, then on the other, then the other way round, and again: so a busy moment of
the machine meets both, and neither is always the second. What is shown is the median with minimum and
maximum, and the ratio of the medians, above 1 where the bundled registry is better. What a push stored is
deleted before the next, so that pages of memory are used again: on a virtual machine the first touch of a
page costs more than all that either server does with it. Under TLS the client asks for ciphers in the order
of Go's clients.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load, workloads
from benchmarks.load import Target
from benchmarks.servers import Server

if TYPE_CHECKING:
    import ssl

NAMES = ("bundled", "docker-registry")
GROUPS = ["pull", "push", "requests", "p99", "auth", "tls", "skopeo", "memory"]
QUARTER = 256 << 20  # bytes
SECONDS = 1.5  # that requests are asked for
HEAD = (
    "| workload | bundled | docker-registry | ratio | CPU s a GiB, bundled / theirs |\n|---|---|---|---|---|"
)
MEMORY_HEAD = (
    "| | start to first 200 | idle MiB | peak, push of 2 GiB | peak, 64 pulls |\n|---|---|---|---|---|"
)
Run = Callable[[Target, workloads.Content], float]


@dataclass
class Side:
    """One server with what was pushed to it."""

    server: Server
    target: Target
    results: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """What is measured: ``run`` returns seconds, or something a second if ``higher`` is better."""

    group: str
    name: str
    run: Run
    unit: str = "s"
    higher: bool = False
    gibibytes: float = 0.0  # for processor time a GiB


def pulling(path_of: str, connections: int) -> Run:
    return lambda target, content: load.pull(target, getattr(content, path_of), connections)


def pushing(connections: int) -> Run:
    return lambda target, _: load.push(target, QUARTER, connections)


def asking(method: str, path: str, connections: int) -> Run:
    def run(target: Target, content: workloads.Content) -> float:
        wanted = content.small if path == "small" else path
        return load.requests(target, method, wanted, connections, SECONDS)[0]

    return run


def plain() -> list[Workload]:
    found = [
        Workload("pull", f"pull 256 MiB, {n} at once", pulling("blob", n), gibibytes=n / 4) for n in (1, 8)
    ]
    found += [Workload("push", f"push 256 MiB, {n} at once", pushing(n), gibibytes=n / 4) for n in (1, 4)]
    for name, method, path in (
        ("GET /v2/", "GET", "/v2/"),
        ("GET manifest", "GET", workloads.MANIFEST),
        ("HEAD manifest", "HEAD", workloads.MANIFEST),
    ):
        found += [
            Workload("requests", f"{name}, {n} connections", asking(method, path, n), "req/s", higher=True)
            for n in (1, 8, 64)
        ]
    small = asking("GET", "small", 8)
    found.append(Workload("requests", "GET blob of 10 KiB, 8 connections", small, "req/s", higher=True))
    found.append(Workload("p99", "p99 of GET manifest while 2 push and 1 pulls", workloads.busy, "ms"))
    return found


def authenticated(cost: int) -> list[Workload]:
    name = f"GET manifest, Basic auth, bcrypt {cost}, 8 connections"
    return [Workload("auth", name, asking("GET", workloads.MANIFEST, 8), "req/s", higher=True)]


def encrypted() -> list[Workload]:
    return [
        Workload("tls", "TLS pull 256 MiB", pulling("blob", 1), gibibytes=0.25),
        Workload("tls", "TLS pull 256 MiB, 4 at once", pulling("blob", 4), gibibytes=1),
        Workload("tls", "TLS push 256 MiB", pushing(1), gibibytes=0.25),
    ]


def compare(
    directory: Path,
    found: list[Workload],
    rounds: int,
    peer: str,
    login: Path | None = None,
    tls: tuple[Path, Path] | None = None,
    trust: ssl.SSLContext | None = None,
) -> list[str]:
    """Run workloads on both; return the lines of a table."""
    sides = []
    for name in NAMES:
        root = directory / name
        root.mkdir()
        server = Server(name, root, htpasswd=login, tls=tls, peer=peer)
        server.start()
        sides.append(Side(server, Target(server.port, workloads.USER if login else None, trust)))
    try:
        contents = [workloads.fill(side.target) for side in sides]
        kept = [side.server.blobs() for side in sides]
        for workload in found:
            turns = list(zip(sides, contents, kept, strict=True))
            for number in range(rounds):
                for side, content, needed in turns if number % 2 == 0 else reversed(turns):
                    before = side.server.cpu()
                    value = workload.run(side.target, content)
                    side.results.setdefault(workload.name, []).append(value)
                    side.cpu.setdefault(workload.name, []).append(side.server.cpu() - before)
                    for pushed in side.server.blobs() - needed:
                        pushed.unlink()
            say(line(workload, *sides))
        return [line(workload, *sides) for workload in found]
    finally:
        for side in sides:
            side.server.stop()
            shutil.rmtree(side.server.root)


def line(workload: Workload, ours: Side, theirs: Side) -> str:
    """Return one row of the table."""
    mine, other = ours.results[workload.name], theirs.results[workload.name]
    ratio = statistics.median(mine) / statistics.median(other)
    if not workload.higher:
        ratio = 1 / ratio
    cpu = ""
    if workload.gibibytes:
        spent = [statistics.median(side.cpu[workload.name]) / workload.gibibytes for side in (ours, theirs)]
        cpu = f"{spent[0]:.2f} / {spent[1]:.2f} ({spent[0] / spent[1]:.2f})" if spent[1] else ""
    cells = (workload.name, spread(mine, workload), spread(other, workload), f"**{ratio:.2f}**", cpu)
    return f"| {' | '.join(cells)} |"


def spread(values: list[float], workload: Workload) -> str:
    digits = 0 if workload.unit == "req/s" else 3 if workload.unit == "s" else 1
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {workload.unit} ({low:.{digits}f} - {high:.{digits}f})"


def copies(directory: Path, rounds: int, peer: str) -> list[str]:
    """skopeo copy of a 200 MB image, in and out; every round another image."""
    servers = []
    for name in NAMES:
        root = directory / f"copy-{name}"
        root.mkdir()
        servers.append(Server(name, root, peer=peer))
        servers[-1].start()
    times: dict[tuple[str, str], list[float]] = {}
    try:
        for number in range(rounds):
            layout = workloads.layout(directory / f"layout-{number}", 200_000_000)
            for server in servers if number % 2 == 0 else reversed(servers):
                remote = f"docker://127.0.0.1:{server.port}/copy:{number}"
                out = directory / "out"
                copy_in = ["--dest-tls-verify=false", f"oci:{layout}:image", remote]
                times.setdefault((server.name, "in"), []).append(skopeo(copy_in))
                copy_out = ["--src-tls-verify=false", remote, f"oci:{out}:image"]
                times.setdefault((server.name, "out"), []).append(skopeo(copy_out))
                shutil.rmtree(out)
            shutil.rmtree(layout)
    finally:
        for server in servers:
            server.stop()
            shutil.rmtree(server.root)
    found = []
    for way in ("in", "out"):
        workload = Workload("skopeo", f"skopeo copy of 200 MB, {way}", pushing(0))
        sides = [Side(server, Target(0), {workload.name: times[server.name, way]}) for server in servers]
        found.append(line(workload, sides[0], sides[1]))
        say(found[-1])
    return found


def skopeo(arguments: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(["skopeo", "copy", "-q", *arguments], check=True)
    return time.perf_counter() - begin


def memory(directory: Path, rounds: int, peer: str) -> list[str]:
    """Start, and resident memory: idle, after a push of 2 GiB, while 64 pull."""
    rows = []
    for name in NAMES:
        starts, idles, pushes, pulls = [], [], [], []
        for number in range(rounds):
            root = directory / f"memory-{name}-{number}"
            root.mkdir()
            server = Server(name, root, peer=peer)
            starts.append(server.start() * 1000)
            target = Target(server.port)
            idles.append(server.resident())
            if number == 0:
                server.forget_peak()
                load.push(target, 2 << 30, 1)
                pushes.append(server.resident(peak=True))
                content = workloads.fill(target)
                server.forget_peak()
                load.pull(target, content.blob, 64)
                pulls.append(server.resident(peak=True))
            server.stop()
            shutil.rmtree(root)
        middle = [statistics.median(values) for values in (starts, idles, pushes, pulls)]
        rows.append("| {} | {:.0f} ms | {:.0f} | {:.0f} | {:.0f} |".format(name, *middle))
        say(rows[-1])
    return rows


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=GROUPS, choices=GROUPS)
    parser.add_argument("--directory", default=None, help="where the data goes; its disk is measured too")
    parser.add_argument("--peer", default="docker-registry", help="the registry to measure beside")
    options = parser.parse_args()
    if "OPENSSL_CONF" not in os.environ:  # read when ssl is imported
        os.environ["OPENSSL_CONF"] = str(Path(__file__).with_name("go.cnf"))
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.run", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        rows = [
            row
            for section in sections(directory, options.only, options.rounds, options.peer)
            for row in section
        ]
        version = subprocess.run([options.peer, "--version"], capture_output=True, text=True, check=True)
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(version.stdout, HEAD, *rows, sep="\n")
        if "memory" in options.only:
            print("", MEMORY_HEAD, *memory(directory, options.rounds, options.peer), sep="\n")


def sections(directory: Path, only: list[str], rounds: int, peer: str) -> list[list[str]]:
    found = []
    chosen = [workload for workload in plain() if workload.group in only]
    if chosen:
        found.append(compare(directory, chosen, rounds, peer))
    for cost in (5, 10) if "auth" in only else ():
        htpasswd = workloads.htpasswd(directory / f"htpasswd-{cost}", cost)
        found.append(compare(directory, authenticated(cost), rounds, peer, login=htpasswd))
    if "tls" in only:
        pair, trust = workloads.certificate(directory)
        found.append(compare(directory, encrypted(), rounds, peer, tls=pair, trust=trust))
    if "skopeo" in only:
        found.append(copies(directory, rounds, peer))
    return found


if __name__ == "__main__":
    main()
