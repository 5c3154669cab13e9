"""A real sshd on this machine, and the ssh of a person whose settings lead there by the name ``build1``."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bed.run import free_port, missing, need, port_open, wait_for

ALIAS = "build1"
URL = f"ssh://root@{ALIAS}"


@dataclass
class Sshd:
    """Keys, settings and process below ``home``; who logs in has DOCKER_HOST as ``engine`` says."""

    home: Path
    engine: str
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        if os.geteuid() != 0:
            missing("an sshd that lets root in needs root")
        self.home.mkdir()
        Path("/run/sshd").mkdir(exist_ok=True)  # compiled in: where it goes without rights
        self.port = free_port()
        for name in ("host", "person", "stranger"):
            key = ["-q", "-t", "ed25519", "-N", "", "-f", str(self.home / name)]
            subprocess.run([need("ssh-keygen"), *key], check=True)
        (self.home / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.home}/host\n"
            f"AuthorizedKeysFile {self.home}/person.pub\nStrictModes no\nUsePAM no\n"
            f"PidFile none\nSetEnv DOCKER_HOST={self.engine}\n"
        )
        with (self.home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [need("sshd"), "-D", "-e", "-f", str(self.home / "sshd_config")], stderr=log
            )
        wait_for("sshd", lambda: port_open(self.port))

    def stop(self) -> None:
        """End it, and so every connection that is still to come."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def way(self, *, known: bool = True, key: str = "person", port: int | None = None) -> dict[str, str]:
        """Return an environment whose ``ssh build1`` comes here.

        By a program before ssh on PATH, for ssh takes its settings from passwd's home directory, not HOME's.

        Args:
            known: whether the host's key is known.
            key: the one shown, ``person`` or ``stranger``.
            port: another than the one it listens on.
        """
        place = self.home / f"{key}-{known}-{port}"
        place.mkdir(exist_ok=True)
        public = (self.home / "host.pub").read_text()
        (place / "known_hosts").write_text(f"[127.0.0.1]:{port or self.port} {public}" if known else "")
        (place / "config").write_text(
            f"Host {ALIAS}\n  HostName 127.0.0.1\n  Port {port or self.port}\n"
            f"  IdentityFile {self.home}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {place}/known_hosts\n  GlobalKnownHostsFile none\n"
        )
        program = place / "ssh"
        program.write_text(f'#!/bin/sh\nexec {need("ssh")} -F {place}/config "$@"\n')
        program.chmod(0o755)
        return {"PATH": f"{place}:{os.environ['PATH']}"}
