"""``regsetup serve``: its amounts mean something, and reach the registry that runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bed.run import free_port
from tests.registry.harness import Client, eventually, image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow

SERVE = (sys.executable, "-m", "regsetup", "serve", "--no-auth")


@pytest.mark.parametrize(
    ("flag", "text"), [("--min-free", "lots"), ("--upload-ttl", "3"), ("--immutable-tags", "a,,b")]
)
def test_what_is_no_amount_is_refused(regsetup: Regsetup, flag: str, text: str) -> None:
    done = regsetup("serve", flag, text, "--data", str(regsetup.place / "data"))
    assert done.code == 2
    assert f"{flag}: '{text}' is not possible here" in done.err


def test_a_registry_that_can_not_begin_leaves_no_directory(regsetup: Regsetup) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = regsetup("serve", "--port", port, "--name", "other")
        assert (done.code, "is in use" in done.err) == (1, True)
        assert not regsetup.home.exists()
        mine = regsetup.place / "data"
        mine.mkdir(parents=True)
        assert regsetup("serve", "--port", port, "--data", str(mine)).code == 1
        assert mine.is_dir(), "it was there before"


def test_its_flags_reach_the_registry(tmp_path: Path) -> None:
    port = free_port()
    more = ("--allow-sparse", "--min-free", "900TiB", "--upload-ttl", "1h", "--port", str(port))
    server = subprocess.Popen([*SERVE, "--data", str(tmp_path / "data"), *more], stderr=subprocess.DEVNULL)
    try:
        with Client("127.0.0.1", port) as client:
            eventually(lambda: answers(client))
            assert client.ask("POST", "/v2/app/blobs/uploads/").status == 503, "less than 900 TiB is free"
            assert client.push_manifest("app", "sparse", image(b"missing")).status == 503
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    server = subprocess.Popen(
        [*SERVE, "--data", str(tmp_path / "data"), "--allow-sparse", "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client("127.0.0.1", port) as client:
            eventually(lambda: answers(client))
            assert client.push_manifest("app", "sparse", image(b"missing")).status == 201
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def test_up_says_what_may_be_written(regsetup: Regsetup) -> None:
    """The settings lead to the bundled registry by themselves, reach it, and are remembered."""
    port = free_port()
    up = ("up", "--port", str(port))
    first, second = image(b"1"), image(b"2")
    rules = ("--immutable-tags", "v*", "--immutable-tags", "[0-9]*", "--min-free", "1MiB")
    done = regsetup(*up, *rules).ok()
    assert "only it has --immutable-tags, --min-free" in done.out
    try:
        with Client("127.0.0.1", port) as client:
            client.push_blob("app", b"1")
            client.push_blob("app", b"2")
            assert client.push_manifest("app", "v1", first).status == 201
            assert client.push_manifest("app", "v1", second).status == 409
            assert client.push_manifest("app", "latest", second).status == 201
        assert "no changes" in regsetup(*up).ok().out, "what was said is remembered"
        regsetup(*up, "--read-only").ok()
        with Client("127.0.0.1", port) as client:
            assert client.push_manifest("app", "latest", first).status == 405
            assert client.get("/v2/app/manifests/v1").status == 200
        regsetup(*up, "--no-read-only").ok()
        with Client("127.0.0.1", port) as client:
            assert client.push_manifest("app", "latest", first).status == 201
    finally:
        regsetup("teardown", "--purge", "-y").ok()


def answers(client: Client) -> bool:
    try:
        return client.get("/v2/").status == 200
    except OSError:
        client.close()
        return False
