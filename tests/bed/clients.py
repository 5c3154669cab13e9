"""skopeo, podman and docker as people use them, each with storage and credentials of the test's own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bed.run import need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def ok(self) -> Completed:
        """Return itself if it went well, else fail with what the program said."""
        assert self.code == 0, f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        return self


def run(
    args: list[str], *, env: Mapping[str, str] | None = None, stdin: str | None = None, timeout: float = 120.0
) -> Completed:
    """Run ``args``; standard input is ``input`` or nothing, never the terminal."""
    done = subprocess.run(
        args,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        env=dict(os.environ) | dict(env or {}),
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Skopeo:
    """skopeo with a policy that accepts all and no access to the person's credentials."""

    home: Path

    def __call__(self, *args: str, timeout: float = 120.0) -> Completed:
        self.home.mkdir(parents=True, exist_ok=True)
        return run(
            [need("skopeo"), "--insecure-policy", "--tmpdir", str(self.home), *args],
            env={"HOME": str(self.home), "REGISTRY_AUTH_FILE": str(self.home / "auth.json")},
            timeout=timeout,
        )


@dataclass(frozen=True, slots=True)
class Podman:
    """podman whose images, state and credentials lie below ``home``; /var/lib/containers is not touched."""

    home: Path

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 120.0) -> Completed:
        credentials = self.home / "auth.json"
        if not credentials.exists():  # podman refuses REGISTRY_AUTH_FILE where there is no file
            credentials.write_text("{}")
        return run(
            [
                need("podman"),
                f"--root={self.home}/root",
                f"--runroot={self.home}/run",
                f"--tmpdir={self.home}/tmp",
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
                *args,
            ],
            env={"HOME": str(self.home), "REGISTRY_AUTH_FILE": str(self.home / "auth.json")},
            stdin=stdin,
            timeout=timeout,
        )


@dataclass(frozen=True, slots=True)
class DockerCli:
    """The ``docker`` command with a configuration directory of its own, on the engine at ``url``."""

    home: Path
    url: str | None = None

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 120.0) -> Completed:
        self.home.mkdir(parents=True, exist_ok=True)
        env = {"HOME": str(self.home), "DOCKER_CONFIG": str(self.home / ".docker")}
        return run(
            [need("docker"), *args],
            env=env | ({"DOCKER_HOST": self.url} if self.url else {}),
            stdin=stdin,
            timeout=timeout,
        )
