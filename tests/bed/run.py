"""One test run: its mark, its names, its ports, and waiting with a deadline."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import socket
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = f"rt{os.getpid()}x{secrets.token_hex(2)}"  # in every name and every child's environment of this run
RUN_VARIABLE = "REGSETUP_TEST_RUN"
_numbers = itertools.count(1)


def unique(what: str = "t") -> str:
    """Return a name that no other test of any run uses, such as ``rt4711xab12-web-3``."""
    return f"{RUN}-{what}-{next(_numbers)}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket(_family(host)) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def lan_address() -> str:
    """Return an address of this machine beyond loopback, where an engine insists on TLS. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # RFC 5737: documentation only
        except OSError:
            missing("this machine has no address beyond loopback")
        address: str = sock.getsockname()[0]
        return address


def wait_for(what: str, check: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Poll ``check`` until it is true; the deadline fails the test and says what was waited for."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def port_open(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts connections there."""
    with socket.socket(_family(host)) as sock:
        sock.settimeout(1.0)
        return sock.connect_ex((host, port)) == 0


def in_ci() -> bool:
    """Tell whether this run may not skip: CI=true, as .ci/run sets it."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def missing(what: str) -> NoReturn:
    """Skip the test for want of ``what``; in CI its absence fails the run."""
    if in_ci():
        pytest.fail(f"CI=true, and {what}", pytrace=False)
    pytest.skip(what)


def need(program: str) -> str:
    """Return the path of ``program``, or skip."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed")
    return path
