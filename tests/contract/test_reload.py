"""A registry that is still starting is not told to read its certificate again: the signal would end it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.deployment import Deployment, Directory, Paths, Tls
from regsetup.step import Action, Resource, Step
from regsetup.steps import do
from tests.bed.run import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_reload_waits_for_one_that_is_starting(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "registry")
    names, now = Names.of(["127.0.0.1"]), datetime.now(UTC)
    pair = new_leaf(new_ca("test", names, now), names, now)
    paths.certs.mkdir(parents=True)
    (paths.certs / "tls.crt").write_bytes(pair.certificate)
    (paths.certs / "tls.key").write_text(pair.key.reveal())
    (paths.certs / "tls.key").chmod(0o600)
    wanted = Deployment(
        name="registry", storage=Directory(tmp_path / "data"), port=free_port(), tls=Tls.SELF_SIGNED
    )
    command = [sys.executable, "-m", "regsetup", "serve", "--no-auth", "--port", str(wanted.port)]
    files = ["--cert", str(paths.certs / "tls.crt"), "--key", str(paths.certs / "tls.key")]
    with subprocess.Popen(
        [*command, *files, "--data", str(tmp_path / "data")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            runtime = SimpleNamespace(
                kind="service",
                current=lambda: SimpleNamespace(pid=process.pid),
                failure=lambda: None if process.poll() is None else "it ended",
                logs=lambda tail: (),
            )
            survey = SimpleNamespace(choice=SimpleNamespace(runtime=runtime), wanted=wanted, paths=paths)
            work = cast("Any", SimpleNamespace(survey=survey, ready_timeout=20.0))
            assert do(work, Step(Action.RELOAD, Resource.SERVICE, "registry", "a new certificate")) is None
            assert process.poll() is None
        finally:
            process.terminate()
