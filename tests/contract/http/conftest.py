"""Both registries behind the same requests: the bundled one, and registry:2 as Debian builds it."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.registry.harness import Client, DockerRegistry, Running

if TYPE_CHECKING:
    from collections.abc import Iterator


SERVERS = ("bundled", "docker-registry")
_results: Counter[tuple[str, str, str]] = Counter()  # module, server, outcome
_otherwise: dict[str, str] = {}  # what registry:2 does, by test


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what both registries did with the same requests."""
    path, _, test = report.nodeid.partition("::")
    server = next((one for one in SERVERS if test.partition("[")[2].startswith(one)), None)
    if "contract/http/" not in path or server is None or not (report.when == "call" or report.skipped):
        return
    reason = getattr(report, "wasxfail", None)
    outcome = "differs" if reason and report.skipped else report.outcome
    _results[path.rpartition("/")[2], server, outcome] += 1
    if outcome == "differs":
        _otherwise[test.partition("[")[0]] = str(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the suite that runs over both, and what registry:2 does otherwise."""
    if not _results:
        return
    terminalreporter.section("the same requests to both registries")
    outcomes = ("passed", "differs", "failed", "skipped")
    terminalreporter.write_line(f"{'':34}{'registry':18}" + "".join(f"{one:>9}" for one in outcomes))
    for module in sorted({module for module, _, _ in _results}):
        for server in SERVERS:
            counts = "".join(f"{_results[module, server, one]:>9}" for one in outcomes)
            terminalreporter.write_line(f"{module:34}{server:18}{counts}")
    for test, reason in _otherwise.items():
        terminalreporter.write_line(f"{test}: {reason}")


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running | DockerRegistry]:
    """One of the two, shared by the session."""
    root = tmp_path_factory.mktemp("contract") / "data"
    root.mkdir()
    if request.param == "bundled":
        with Running.start(root) as running:
            yield running
        return
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    with DockerRegistry.start(root) as theirs:
        yield theirs


@pytest.fixture
def client(server: Running | DockerRegistry, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A connection to it. A test marked ``differs`` must fail on registry:2, for the reason that it names."""
    marker = request.node.get_closest_marker("differs")
    if marker is not None and isinstance(server, DockerRegistry):
        request.applymarker(pytest.mark.xfail(reason=f"registry:2 {marker.args[0]}", strict=True))
    with server.client() as connected:
        yield connected


@pytest.fixture
def repository() -> str:
    """A repository name that nobody used yet."""
    return f"contract/{uuid4().hex}"
