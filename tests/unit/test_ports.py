"""Whose port it is: real sockets, and a process without rights to prove what it can't see."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from regsetup.host.ports import (
    LAST_PORT,
    AddressNotHere,
    NoFreePort,
    PortInUse,
    PortNeedsRoot,
    check,
    first_unprivileged,
    free_port,
    owner,
)
from tests.bed.rights import as_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")
needs_privileged_ports = pytest.mark.skipif(
    os.geteuid() != 0 or first_unprivileged() < 1024, reason="anyone may open every port here"
)


@contextmanager
def listening(host: str, *, v6only: bool = True, port: int = 0) -> Iterator[int]:
    """Hold a port as a server does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        server.bind((host, port))
        server.listen()
        yield server.getsockname()[1]


@contextmanager
def held_by_sleep(port: int) -> Iterator[int]:
    """Hold a port on 127.0.0.1 by another process than the test's own."""
    with socket.create_server(("127.0.0.1", port)) as server:
        port, descriptor = server.getsockname()[1], server.fileno()
        holder = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    with holder:
        yield port
        holder.kill()


def me() -> str:
    return f"(pid {os.getpid()})"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_held_port_names_the_process_that_holds_it(host: str) -> None:
    with listening(host) as port:
        assert (owner(host, port) or "").endswith(me())
    assert owner(host, port) is None


def test_a_wildcard_listener_holds_every_address_of_its_family() -> None:
    with listening("0.0.0.0") as port:
        assert (owner("127.0.0.1", port) or "").endswith(me())
        assert owner("::1", port) is None


def test_a_listener_on_one_address_stands_in_the_way_of_the_wildcard() -> None:
    with listening("127.0.0.1") as port:
        assert (owner("0.0.0.0", port) or "").endswith(me())


def test_a_dual_stack_listener_holds_ipv4_too() -> None:
    with listening("::", v6only=False) as port:
        assert (owner("127.0.0.1", port) or "").endswith(me())


def test_another_loopback_address_is_free() -> None:
    with listening("127.0.0.1") as port:
        assert owner("127.0.0.2", port) is None


def test_connections_that_linger_after_a_server_left_do_not_hold_its_port() -> None:
    with listening("127.0.0.1") as port:
        server = socket.create_server(("127.0.0.1", 0))
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first and is left in TIME_WAIT
        client.close()
        server.close()
    assert owner("127.0.0.1", port) is None


def test_a_port_that_is_bound_but_not_listened_on_is_taken_by_another_process() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        expected = "another process" if os.geteuid() == 0 else "a process of another user"
        assert owner("127.0.0.1", port) == expected


@needs_root
def test_without_rights_the_owner_is_a_process_of_another_user() -> None:
    with held_by_sleep(0) as port:
        assert (owner("127.0.0.1", port) or "").startswith("sleep (pid ")
        with as_nobody():
            assert owner("127.0.0.1", port) == "a process of another user"


@needs_privileged_ports
def test_a_privileged_port_counts_as_free_since_an_engine_would_open_it() -> None:
    port = free_port("127.0.0.1", 700)
    assert port < first_unprivileged()
    with as_nobody():
        assert owner("127.0.0.1", port) is None


@needs_privileged_ports
def test_a_privileged_port_that_is_held_is_seen_without_rights() -> None:
    with held_by_sleep(free_port("127.0.0.1", 720)) as port, as_nobody():
        assert owner("127.0.0.1", port) == "a process of another user"


@needs_privileged_ports
def test_who_opens_a_privileged_port_himself_needs_root() -> None:
    with as_nobody(), pytest.raises(PortNeedsRoot, match=r"127\.0\.0\.1:700 can't be opened") as caught:
        check("127.0.0.1", 700)
    assert caught.value.cause == "ports below 1024 are root's"
    check("127.0.0.1", 700)  # root may


def test_check_says_nothing_about_a_port_that_is_taken() -> None:
    with listening("127.0.0.1") as port:
        check("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressNotHere, match=f"{host} is not an address of this machine"):
        owner(host, 5000)


def test_the_next_free_port_skips_a_taken_one() -> None:
    with listening("127.0.0.1") as port:
        free = free_port("127.0.0.1", port - 1)
        assert free > port
        assert owner("127.0.0.1", free) is None


def test_above_the_last_port_there_is_none() -> None:
    with pytest.raises(NoFreePort, match=f"no free port above {LAST_PORT}"):
        free_port("127.0.0.1", LAST_PORT)


def test_the_error_names_the_owner_and_what_to_type() -> None:
    error = PortInUse("::1", 5000, "nginx (pid 812)", 5001)
    assert error.as_dict() == {
        "code": "port-in-use",
        "message": "[::1]:5000 is already used by nginx (pid 812)",
        "cause": None,
        "fix": "regsetup up --port 5001, or stop nginx (pid 812)",
    }
