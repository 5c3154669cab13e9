"""The two commands at the top of README.md: a fresh clone, Python, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.bed.clients import run
from tests.bed.processes import end_marked
from tests.bed.run import free_port

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_readme_begins_with_two_commands_one_for_the_registry_one_for_the_tests() -> None:
    up, test = COMMANDS
    assert up.endswith(" .venv/bin/regsetup up")
    assert test.endswith(" .venv/bin/pytest")


def test_ci_runs_the_tests_by_the_command_of_the_readme() -> None:
    words = COMMANDS[1].rpartition("&& ")[2]
    assert re.search(rf"^ *{re.escape(words)} ", (ROOT / ".ci/run").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_the_first_command_brings_a_registry_up_in_a_fresh_clone(tmp_path: Path) -> None:
    clone, port = tmp_path / "clone", free_port()
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, files.split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    # the Python under test as python3, from outside its virtual environment
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(Path(sys.base_exec_prefix, "bin", Path(sys.executable).name))
    env = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PIP_CACHE_DIR": str(Path.home() / ".cache/pip"),
        "REGSETUP_HOME": str(tmp_path / "regsetup"),
        "REGSETUP_PORT": str(port),
        "DOCKER_HOST": f"unix://{tmp_path}/no-engine-here",
    }
    try:
        run(["/bin/sh", "-c", f"cd {clone} && {COMMANDS[0]}"], env=env, timeout=600).ok()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=10) as answer:
            assert answer.status == 200
    finally:
        end_marked(str(tmp_path))
