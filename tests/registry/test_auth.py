"""Basic authentication: who gets in, how long it takes, and what a change of the file does at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import select
import time
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.htpasswd import Cost, hash_password
from regsetup.registry.auth import Authenticator
from regsetup.secret import Secret
from tests.registry.harness import Running, eventually, refuse_to_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")
ALICE, BOB = ("alice", "wonderland-1"), ("bob", "builder-1")


def basic(user: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(user).encode()).decode()


def line(user: tuple[str, str], cost: Cost = Cost.FAST) -> str:
    return f"{user[0]}:{hash_password(Secret(user[1]), cost)}\n"


def replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text("# the people\n\n" + line(ALICE))
    return path


@pytest.fixture
def closed(tmp_path: Path, htpasswd: Path) -> Iterator[Running]:
    with Running.start(tmp_path / "data", htpasswd=htpasswd, realm='say "friend"') as running:
        yield running


def status(running: Running, user: tuple[str, str] | None, path: str = "/v2/") -> int:
    with running.client(user=user) as client:
        return client.get(path).status


def test_only_the_right_password_opens(closed: Running) -> None:
    assert status(closed, ALICE) == 200
    for wrong in (None, ("alice", "Wonderland-1"), ("alice", ""), ("Alice", ALICE[1]), BOB, ("", "")):
        assert status(closed, wrong) == 401


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/_catalog", "/v2/a/manifests/b", "/metrics", "/v2/a/blobs/uploads/"]
)
def test_everything_but_liveness_asks_for_credentials(closed: Running, path: str) -> None:
    with closed.client() as client:
        answer = client.get(path)
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
        assert answer["WWW-Authenticate"] == 'Basic realm="say \\"friend\\""'
        assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert client.get("/").status == client.get("/healthz").status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic YWxpY2U=",
        "Bearer token",
        "Basic YWxpY2U6d29uZGVybGFuZC0xx",
        "",
        "Basic ÿ",
    ],
)
def test_a_header_that_proves_nothing(closed: Running, header: str) -> None:
    with closed.client() as client:
        assert client.ask("GET", "/v2/", headers={"Authorization": header}).status == 401


def test_a_push_without_credentials_leaves_nothing(closed: Running) -> None:
    with closed.client() as client:
        assert client.ask("POST", "/v2/app/blobs/uploads/?digest=sha256:1", b"x" * 100_000).status == 401
    assert not (closed.root / "docker").exists()


def test_changes_of_the_file_count_at_once(closed: Running, htpasswd: Path) -> None:
    assert (status(closed, ALICE), status(closed, BOB)) == (200, 401)
    replace(htpasswd, htpasswd.read_text() + line(BOB))
    assert (status(closed, ALICE), status(closed, BOB)) == (200, 200)
    replace(htpasswd, line(("alice", "changed-1")) + line(BOB))
    assert (status(closed, ALICE), status(closed, ("alice", "changed-1"))) == (401, 200)
    replace(htpasswd, line(BOB))
    assert (status(closed, ("alice", "changed-1")), status(closed, BOB)) == (401, 200)
    htpasswd.unlink()
    assert status(closed, BOB) == 401
    replace(htpasswd, line(BOB))
    assert status(closed, BOB) == 200


def test_a_broken_line_denies_only_its_user_and_is_reported(closed: Running, htpasswd: Path) -> None:
    replace(htpasswd, line(ALICE) + "no colon here\n" + "carol:{SHA}nonsense\n" + line(BOB))
    assert status(closed, ALICE) == status(closed, BOB) == 200
    assert status(closed, ("carol", "nonsense")) == 401
    eventually(lambda: "line 2" in closed.log.read_text() and "line 3" in closed.log.read_text())


def test_the_log_has_names_and_no_passwords(closed: Running) -> None:
    assert status(closed, ALICE) == 200
    assert status(closed, ("alice", "guessed-wrong")) == 401
    eventually(lambda: " alice GET /v2/ 200 " in closed.log.read_text())
    said = closed.log.read_text()
    for secret in ("wonderland", "guessed", "YWxpY2U", "$2y$"):
        assert secret not in said


def test_an_unknown_user_takes_as_long_as_a_wrong_password(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(line(ALICE, Cost.STANDARD))

    def seconds(user: tuple[str, str]) -> float:
        begin = time.perf_counter()
        assert status(running, user) == 401
        return time.perf_counter() - begin

    with Running.start(tmp_path / "data", htpasswd=htpasswd) as running:
        both = [(seconds(("alice", f"wrong-{n}")), seconds((f"nobody{n}", "wrong"))) for n in range(8)]
    known, unknown = (min(times) for times in zip(*both, strict=True))  # in turn: a busy machine delays both
    assert unknown > 0.03  # seconds; bcrypt of cost 10 takes more, and no bcrypt takes one
    assert 0.3 < unknown / known < 3


def test_hashes_of_several_costs_tell_nothing_of_who_is_there(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    broken = "carol:{SHA}nonsense\ndave:$2y$10$short\n"
    htpasswd.write_text(line(ALICE) + broken + line(BOB, Cost.STANDARD))
    with Running.start(tmp_path / "data", htpasswd=htpasswd) as running:
        seconds = {}
        for user in ("alice", "bob", "carol", "dave", "nobody", ""):
            begin = time.perf_counter()
            assert status(running, (user, "wrong")) == 401
            seconds[user] = time.perf_counter() - begin
        assert min(seconds.values()) > 0.03, seconds  # bcrypt of cost 10 takes more, one of cost 5 takes 2 ms
        assert status(running, ALICE) == status(running, BOB) == 200


def test_a_change_within_one_tick_of_the_clock_counts(htpasswd: Path) -> None:
    """All hashes are of one length: another password leaves no trace in the size of the file."""
    authenticator = Authenticator(htpasswd, "Registry")
    try:
        assert asyncio.run(authenticator.check(basic(ALICE))) == "alice"
        old = htpasswd.stat()
        htpasswd.write_text("# the people\n\n" + line(("alice", "changed-1")))
        os.utime(htpasswd, ns=(old.st_atime_ns, old.st_mtime_ns))
        new = htpasswd.stat()
        assert (new.st_ino, new.st_size, new.st_mtime_ns) == (old.st_ino, old.st_size, old.st_mtime_ns)
        assert authenticator.known(basic(ALICE)) is None
        assert asyncio.run(authenticator.check(basic(("alice", "changed-1")))) == "alice"
    finally:
        authenticator.close()


def test_a_verified_credential_is_not_hashed_again(tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(line(ALICE, Cost.STRONG))
    with Running.start(tmp_path / "data", htpasswd=htpasswd) as running, running.client(user=ALICE) as client:
        begin = time.perf_counter()
        assert client.get("/v2/").status == 200
        first = time.perf_counter() - begin
        again = []
        for _ in range(20):
            begin = time.perf_counter()
            assert client.get("/v2/").status == 200
            again.append(time.perf_counter() - begin)
        assert min(again) < first / 10


def test_a_verified_credential_is_forgotten_after_its_time(htpasswd: Path) -> None:
    authenticator = Authenticator(htpasswd, "Registry", remembered=0.5)
    header = basic(ALICE)
    try:
        assert authenticator.known(header) is None
        assert asyncio.run(authenticator.check(header)) == "alice"
        assert authenticator.known(header) == "alice"
        eventually(lambda: authenticator.known(header) is None)
        assert asyncio.run(authenticator.check(header)) == "alice"
        assert authenticator.known(header) == "alice"
    finally:
        authenticator.close()


def test_of_a_verified_credential_nothing_is_kept_but_a_keyed_hash(htpasswd: Path) -> None:
    """Neither the text nor a hash that somebody could make from a list of passwords."""
    one, two = (Authenticator(htpasswd, "Registry") for _ in range(2))
    header = basic(ALICE)
    for authenticator in (one, two):
        assert asyncio.run(authenticator.check(header)) == "alice"
        authenticator.close()
    kept = values(vars(one))
    texts = (header, header.partition(" ")[2], ":".join(ALICE), ALICE[1])
    plain = {hashlib.new(name, text.encode()).digest() for text in texts for name in HASHES}
    assert not any(text.encode() in value for text in texts for value in kept)
    assert not any(digest in value or digest.hex().encode() in value for digest in plain for value in kept)
    (first,), (second,) = one._verified, two._verified
    assert first != second, "the key is each process's own"


def values(of: object) -> list[bytes]:
    """Return every text and every bytes that can be reached from a value."""
    if isinstance(of, str):
        return [of.encode("utf-8", "surrogateescape")]
    if isinstance(of, bytes):
        return [of]
    if isinstance(of, dict):
        return [found for pair in of.items() for part in pair for found in values(part)]
    if isinstance(of, list | tuple | set | frozenset):
        return [found for part in of for found in values(part)]
    return []


def test_bcrypt_keeps_nobody_waiting(tmp_path: Path) -> None:
    """One request after the other on the same loop: those that come later are answered first."""
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(line(ALICE) + "slow:$2y$15$" + "." * 53 + "\n")  # seconds; nobody's password
    with Running.start(tmp_path / "data", htpasswd=htpasswd) as running:
        with running.client(user=ALICE) as client:
            assert client.get("/v2/").status == 200
            slow = running.client(timeout=60)
            connection = slow._connect()
            connection.request("GET", "/v2/", headers={"Authorization": basic(("slow", "wrong"))})
            for _ in range(10):
                assert client.get("/v2/").status == 200
                assert status(running, None, "/") == 200
            assert select.select([connection.sock], [], [], 0)[0] == []
        response = connection.getresponse()
        assert response.status == 401
        slow.close()


def test_without_its_htpasswd_file_it_does_not_start(tmp_path: Path) -> None:
    code, said = refuse_to_start(tmp_path / "data", htpasswd=tmp_path / "missing")
    assert code == 1
    assert "htpasswd-unreadable" in said
    assert "regsetup adduser" in said
