"""Lets the Docker SDK speak through ``ssh``, without paramiko: each connection is one of ``host.ssh``.

The SDK's own way (docker-py 7.1, ``use_ssh_client``) needs paramiko installed even so, knows no timeouts and
drops what ssh says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import docker
import urllib3
from docker.transport.basehttpadapter import BaseHTTPAdapter

from regsetup.host import ssh

if TYPE_CHECKING:
    from regsetup.host.process import Dialed

_URL = "http+docker://ssh"  # what the SDK itself calls it; any name does
_VERSION = "1.24"  # for the first question, which needs none
_WORDS_TIMEOUT = 2.0  # seconds for an ssh that has closed the connection to end


class SshAdapter(BaseHTTPAdapter):
    """Opens connections for requests, and remembers the last."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._last: Dialed | None = None
        adapter = self

        class Connection(urllib3.connection.HTTPConnection):
            def connect(self) -> None:
                dialed = adapter.dial()
                dialed.sock.settimeout(timeout)
                self.sock = dialed.sock

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        self._pool = Pool("localhost", maxsize=10)
        super().__init__()

    def dial(self) -> Dialed:
        """Start one more ``ssh``."""
        self._last = ssh.connect(self._address)
        return self._last

    def last_words(self) -> str | None:
        """Return what the ``ssh`` that was started last said, if it has ended."""
        return self._last.last_words(_WORDS_TIMEOUT) if self._last else None

    def get_connection(self, _url: Any, _proxies: Any = None) -> urllib3.HTTPConnectionPool:
        """See ``requests.adapters.HTTPAdapter``."""
        return self._pool

    def request_url(self, request: Any, _proxies: Any) -> str:
        """See ``requests.adapters.HTTPAdapter``: a path alone, for there is no proxy."""
        return str(request.path_url)

    def close(self) -> None:
        """Close every connection, which ends every ``ssh``."""
        self._pool.close()
        super().close()


def client(adapter: SshAdapter, timeout: float) -> docker.DockerClient:
    """Return a client of the engine that ``adapter`` reaches, with the API version that both know.

    Raises:
        requests.RequestException: no answer; ``adapter.last_words`` says why.
        ProgramMissing: there is no ssh.
    """
    answer = _made(adapter, _VERSION, timeout).api.version(api_version=False)
    return _made(adapter, str(answer["ApiVersion"]), timeout)


def _made(adapter: SshAdapter, version: str, timeout: float) -> docker.DockerClient:
    # A socket's address is not looked at before it is used, and it is not used: the adapter stands in for it.
    made = docker.DockerClient(base_url="unix:///ssh", version=version, timeout=timeout)  # type: ignore[arg-type]
    made.api.mount("http+docker://", adapter)
    return made
