"""rm, killed before each of its changes in turn: the next run gets it done, and no other tag is touched."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.bed.liar import Liar

if TYPE_CHECKING:
    from tests.bed.cli import Regsetup
    from tests.bed.liar import Reply, Request
    from tests.contract.both import Serve
    from tests.contract.calling import Calling
    from tests.contract.filled import Filled

_MOST = 20


class Deadly:
    """Hands requests on to a registry, and kills a process before its n-th change gets there."""

    def __init__(self, address: str, number: int) -> None:
        self.process: subprocess.Popen[str] | None = None
        self._address = address
        self._left = number

    def __call__(self, request: Request) -> Reply:
        if request.method in {"POST", "PUT", "DELETE"}:
            self._left -= 1
            if self._left == 0:
                assert self.process
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.wait()
                return []
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(request.method, request.target, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
            kept = [
                f"{name}: {value}"
                for name, value in answer.getheaders()
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}
            ]
            kept.append(f"Content-Length: {answer.headers.get('Content-Length', len(body))}")
        finally:
            connection.close()
        return "\r\n".join([f"HTTP/1.1 {answer.status} x", *kept, "", ""]).encode() + body


def dies(filled: Filled, regsetup: Regsetup, repository: str, number: int) -> bool:
    """Delete the tag 1 in a process that is killed before its n-th change; tell whether it was."""
    deadly = Deadly(filled.host, number)
    environment = dict(os.environ) | regsetup.environment()
    with Liar(deadly) as line:
        command = [sys.executable, "-m", "regsetup", "rm", f"{line.address}/{repository}:1", "-y"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            deadly.process = process
            out, err = process.communicate(timeout=60)
    assert process.returncode in {0, -signal.SIGKILL}, out + err
    return process.returncode != 0


@pytest.mark.slow
def test_killed_before_any_change_a_tag_goes_with_the_next_run_and_no_other(
    filled: Filled, serve: Serve, regsetup: Regsetup, call: Calling
) -> None:
    deaths, in_between = 0, 0
    for number in count(1):
        assert number < _MOST
        repository = f"app-{number}"
        image = filled.image(repository, "1", "1.0", "latest")
        other = filled.image(repository, "other", layers=(b"other",))
        died = dies(filled, regsetup, repository, number)
        deaths += died
        assert {"1.0", "latest", "other"} <= set(filled.tags(repository))
        assert filled.has(repository, image, other) == [True, True]
        if "1" in filled.tags(repository):
            assert died
            in_between += b"throwaway" in filled.client.get_manifest(repository, "1").content
            call("rm", f"{filled.host}/{repository}:1", "-y").ok()
        assert filled.tags(repository) == ["1.0", "latest", "other"]
        assert filled.has(repository, image, other) == [True, True]
        assert filled.client.get_manifest(repository, "latest").content == image
        if not died:
            break
    assert deaths >= 2
    assert in_between == (serve.kind == "registry2")  # the throwaway stood there, and went
