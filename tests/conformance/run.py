"""Runs OCI's own conformance suite against the bundled registry: ``python -m tests.conformance.run PROGRAM``.

The program is the suite as its README builds it: release 1.1 (``go test -c``) or the development version
(``go build``). It gets the variables of both, and is run against four registries; every test that a setting
can turn on is on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from regsetup.auth.htpasswd import Cost, hash_password
from regsetup.secret import Secret
from tests.registry.harness import Running
from tests.registry.test_tls import make

USER, PASSWORD = "conformance", "not-a-secret"
_COUNTS = re.compile(
    r"(?:(\d+) (Passed|Failed|Skipped)\b|^ *(Pass|FAIL|Error|Skip|Disabled)\.+: +(\d+)$)", re.MULTILINE
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def variables(port: int, *, tls: bool, users: bool, results: Path, **more: str) -> dict[str, str]:
    found = {
        "OCI_ROOT_URL": f"{'https' if tls else 'http'}://localhost:{port}",
        "OCI_NAMESPACE": "conformance/repo1",
        "OCI_CROSSMOUNT_NAMESPACE": "conformance/repo2",
        "OCI_TEST_PULL": "1",
        "OCI_TEST_PUSH": "1",
        "OCI_TEST_CONTENT_DISCOVERY": "1",
        "OCI_TEST_CONTENT_MANAGEMENT": "1",
        "OCI_AUTOMATIC_CROSSMOUNT": "1",
        "OCI_REPORT_DIR": str(results),
        "OCI_REGISTRY": f"localhost:{port}",
        "OCI_TLS": "enabled" if tls else "disabled",
        "OCI_REPO1": "conformance/repo1",
        "OCI_REPO2": "conformance/repo2",
        "OCI_VERSION": "dev",
        "OCI_RESULTS_DIR": str(results),
        **more,
    }
    return found | ({"OCI_USERNAME": USER, "OCI_PASSWORD": PASSWORD} if users else {})


def counted(output: str) -> dict[str, int]:
    """Return how many checks passed, failed and were skipped, as either suite says it."""
    counts: dict[str, int] = {}
    for number, word, other, otherwise in _COUNTS.findall(_COLOURS.sub("", output)):
        kind = {"pass": "passed", "fail": "failed", "erro": "failed"}.get(
            (word or other).lower()[:4], "skipped"
        )
        counts[kind] = counts.get(kind, 0) + int(number or otherwise)
    return counts


def one(program: Path, name: str, directory: Path, environment: dict[str, str]) -> bool:
    """Run the suite once; say how it went, and what it said if it failed."""
    done = subprocess.run(
        [program], cwd=directory, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    counts = counted(done.stdout)
    good = done.returncode == 0 and counts.get("passed", 0) > 0 and not counts.get("failed")
    if not good:
        sys.stderr.write(done.stdout + done.stderr)
    summary = ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in ("passed", "failed", "skipped"))
    sys.stdout.write(f"{name}: {summary}\n")
    return good


def main(program: Path) -> int:
    good = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        htpasswd = directory / "htpasswd"
        htpasswd.write_text(f"{USER}:{hash_password(Secret(PASSWORD), Cost(5))}\n")
        cert, key = make(directory, "localhost")
        closed = {"htpasswd": htpasswd}
        cases: list[tuple[str, dict[str, Any], bool, dict[str, str]]] = [
            ("open", {}, False, {}),
            ("open, blobs deleted first", {}, False, {"OCI_DELETE_MANIFEST_BEFORE_BLOBS": "0"}),
            ("users", closed, False, {"OCI_CACHE_AUTH": "false"}),
            (
                "users, TLS, sparse manifests",
                {**closed, "tls_cert": cert, "tls_key": key, "allow_sparse": True},
                True,
                {"SSL_CERT_FILE": str(cert), "OCI_DATA_SPARSE": "true"},
            ),
        ]
        for number, (title, settings, tls, more) in enumerate(cases):
            results = directory / f"results{number}"
            results.mkdir()
            with Running.start(directory / f"data{number}", **settings) as running:
                users = "htpasswd" in settings
                environment = variables(running.port, tls=tls, users=users, results=results, **more)
                good.append(one(program, title, results, environment))
    return 0 if all(good) else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.conformance.run PROGRAM")
    sys.exit(main(Path(sys.argv[1]).resolve()))
