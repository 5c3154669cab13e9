"""The contract of a back end, held by the service on a machine with systemd: root's, and a user's.

This checkout's own tests run there, at the same path as here, and count for coverage here.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from coverage import Coverage

from tests.bed.hosts import PYTHON, ROOT
from tests.bed.run import unique

if TYPE_CHECKING:
    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]
VENV = "/opt/tests"
CONTRACT = "tests/contract/test_runtime.py tests/contract/test_systemd.py"


@pytest.fixture(scope="module")
def host(host_factory: HostFactory, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A machine with a user, this checkout, and what its tests need."""
    host = host_factory("embedded")
    host("useradd", "--create-home", "alice").ok()
    place = tmp_path_factory.mktemp("tools") / "site-packages"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    options = ["--only-binary=:all:", f"--python-version={PYTHON}", f"--target={place}"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", *options, *needs]
    subprocess.run(pip, check=True, capture_output=True)
    (place / "checkout.pth").write_text(f"{ROOT}\n")  # services find it, too
    host("python3", "-m", "venv", "--without-pip", VENV).ok()
    host.copy(place, f"{VENV}/lib/python{PYTHON}")
    for part in ("regsetup", "templates", "tests", "pyproject.toml"):
        host.copy(ROOT / part, str(ROOT))
    for directory in (ROOT, *ROOT.parents):
        host("chmod", "a+rx", str(directory)).ok()
    return host


def as_alice(host: Host, script: str, *, timeout: float = 180.0) -> Completed:
    """Run a script in a session of hers, as after a login; the session ends with it."""
    return host("su", "-l", "alice", "-c", script, timeout=timeout)


def pytest_command(selection: str, data: str) -> str:
    """Return the shell command that runs the tests there and leaves coverage in ``data``."""
    options = "-q -p no:cacheprovider -m 'not engine' -k systemd --cov=regsetup --cov-report="
    return f"cd {ROOT} && COVERAGE_FILE={data} {VENV}/bin/python3 -B -m pytest {options} {selection}"


def bring_coverage(host: Host, data: str) -> None:
    """Put it beside this run's own, which is combined at the end."""
    if (coverage := Coverage.current()) is None:
        return
    here = Path(str(coverage.get_option("run:data_file"))).absolute()
    host_data = here.with_name(f".coverage.{unique('host')}")
    container = str(host.container.id)
    subprocess.run(["docker", "cp", f"{container}:{data}", str(host_data)], check=True, capture_output=True)


def test_the_contract_holds_under_roots_systemd(host: Host) -> None:
    data = "/var/tmp/coverage-root"
    host.sh(pytest_command(f"{CONTRACT} tests/contract/test_kill.py", data), timeout=900).ok()
    bring_coverage(host, data)


def test_the_contract_holds_under_a_users_systemd(host: Host) -> None:
    data = "/var/tmp/coverage-alice"
    as_alice(host, pytest_command(CONTRACT, data), timeout=900).ok()
    bring_coverage(host, data)
