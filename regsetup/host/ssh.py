"""The system's own ``ssh``: the way to an engine on another machine, and what its refusals mean.

A connection is one `docker system dial-stdio` over there, as Docker's command line does it (docker/cli,
cli/connhelper). ~/.ssh/config, the agent and known_hosts hold. Nobody is asked anything: where ssh would ask,
for a password or about an unknown host key, it refuses.
"""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from regsetup.errors import RegsetupError
from regsetup.host.process import ProgramMissing, ProgramTimeout, dial, run

if TYPE_CHECKING:
    from regsetup.host.process import Dialed

CONNECT_TIMEOUT = 10  # seconds until TCP and the greeting are done (ssh_config(5) ConnectTimeout)
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": str(CONNECT_TIMEOUT),
    "ServerAliveInterval": "15",  # seconds; with the count below a dead link is noticed within 45 s
    "ServerAliveCountMax": "3",
}
_REASONS = {  # what ssh or the shell over there says -> what to do, {host} as in the address
    "host key verification failed": "compare the key's fingerprint, then accept it once: ssh {host} true",
    "remote host identification has changed": "find out why; then: ssh-keygen -R {host}, and ssh {host} true",
    "permission denied": "ssh-copy-id {host}, or ssh-add KEY; ssh {host} true must not ask for a password",
    "not found": "install the docker command over there; it must be on the PATH of ssh {host} docker version",
    "could not resolve hostname": "ssh {host} true shows the same; mend the name, or ~/.ssh/config",
    "connection refused": "start sshd over there, or give its port: ssh://USER@HOST:PORT",
}


class SshFailed(RegsetupError):
    """``ssh`` did not reach the engine's machine, or could not reach the engine from there."""

    code = "ssh-failed"

    def __init__(self, address: str, said: str) -> None:
        host = _destination(urlsplit(address))
        known = (fix for words, fix in _REASONS.items() if words in said.lower())
        super().__init__(
            f"the engine at {address} is not reached by ssh",
            cause=said or "ssh said nothing",
            fix=next(known, "ssh {host} docker version must succeed without a question").format(host=host),
        )


def command(address: str) -> list[str]:
    """Return the command whose input and output are a connection to the engine at ``ssh://[USER@]HOST...``.

    A path in the address is the engine's socket over there.

    Raises:
        ValueError: the address has no host, or a port that is none.
    """
    url = urlsplit(address)
    if not url.hostname:
        raise ValueError("an address such as ssh://USER@HOST")
    options = [word for key, value in _OPTIONS.items() for word in ("-o", f"{key}={value}")]
    user = ["-l", url.username] if url.username else []
    port = ["-p", str(url.port)] if url.port else []
    there = ["--host", f"unix://{shlex.quote(url.path)}"] if url.path.strip("/") else []
    return ["ssh", "-T", *options, *user, *port, "--", url.hostname, "docker", *there, "system", "dial-stdio"]


def connect(address: str) -> Dialed:
    """Start a connection to the engine at ``address``.

    Raises:
        ProgramMissing: there is no ssh.
    """
    return dial(command(address))


def real_name(host: str) -> str:
    """Return ``host`` as others than ssh know it: an alias of ~/.ssh/config has another name behind it."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return _configured(host)
    return host


def _configured(host: str) -> str:
    try:
        shown = run(["ssh", "-G", "--", host], timeout=CONNECT_TIMEOUT).out
    except (ProgramMissing, ProgramTimeout):
        return host
    names = [line.partition(" ")[2] for line in shown.splitlines() if line.startswith("hostname ")]
    return names[0] if names else host


def _destination(url: SplitResult) -> str:
    port = f"-p {url.port} " if url.port else ""
    return f"{port}{url.username}@{url.hostname}" if url.username else f"{port}{url.hostname}"
