"""The proof on real registries, and on registries that are not what they should be."""

from __future__ import annotations

import functools
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.htpasswd import Cost, Htpasswd, hash_password
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.reference import Digest
from regsetup.secret import Secret
from regsetup.smoke import Check, Outcome, forget, holds, prove
from regsetup.smoke.image import make_image
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.liar import Request
    from tests.bed.registry import RegistryProcess
    from tests.contract.both import Serve, Served

    Start = Callable[..., RegistryProcess]

ALICE = Credentials("alice", Secret("geheim"))
NAMES = [
    "api-version",
    "anonymous-refused",
    "wrong-password-refused",
    "login",
    "push",
    "head",
    "pull-by-tag",
    "pull-by-digest",
    "delete",
    "nothing-left",
]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(str(Htpasswd().with_user("alice", hash_password(ALICE.password, Cost.FAST))))
    return path


def outcomes(checks: tuple[Check, ...]) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in checks}


def files(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*")}


def catalog(running: Served | RegistryProcess, credentials: Credentials | None = None) -> list[str]:
    with RegistryClient(Endpoint(running.url, credentials=credentials)) as client:
        return list(client.catalog())


def test_a_registry_with_users_holds_every_check_and_nothing_is_left(serve: Serve, users: Path) -> None:
    running = serve(htpasswd=users)
    seen: list[Check] = []
    checks = prove(
        Endpoint(running.url, credentials=ALICE),
        expects_auth=True,
        progress=seen.append,
        cleanup=functools.partial(forget, running.data),
    )
    assert outcomes(checks) == dict.fromkeys(NAMES, Outcome.OK)
    assert list(checks) == seen
    assert holds(checks)
    assert all(check.ok and check.detail and 0 < check.seconds < 5 for check in checks)
    assert catalog(running, ALICE) == []
    assert not [path for path in running.data.rglob("*") if path.is_file()]
    with RegistryClient(Endpoint(running.url, credentials=ALICE)) as client:
        client.put_blob("a", b"the registry still works")


def test_an_open_registry_that_should_be_open_holds(serve: Serve) -> None:
    running = serve()
    checks = prove(Endpoint(running.url), expects_auth=False, cleanup=functools.partial(forget, running.data))
    skipped = dict.fromkeys(NAMES[1:4], Outcome.SKIPPED)
    assert outcomes(checks) == dict.fromkeys(NAMES, Outcome.OK) | skipped
    assert holds(checks)
    assert {check.detail for check in checks[1:4]} == {"it has no users"}


def test_an_open_registry_that_should_be_closed_fails(serve: Serve) -> None:
    running = serve()
    checks = prove(Endpoint(running.url, credentials=ALICE), expects_auth=True)
    ended = outcomes(checks)
    assert (ended["anonymous-refused"], ended["wrong-password-refused"]) == (Outcome.FAILED, Outcome.FAILED)
    assert not holds(checks)
    error = checks[1].error
    assert error is not None
    assert (error.code, error.exit_code) == ("registry-open", 3)
    assert error.cause == "GET /v2/ without a password answers 200, not 401"


def test_a_wrong_password_fails_the_login_and_what_builds_on_it_is_not_run(serve: Serve, users: Path) -> None:
    running = serve(htpasswd=users)
    wrong = Credentials("alice", Secret("falsch"))
    checks = prove(Endpoint(running.url, credentials=wrong), expects_auth=True)
    ended = outcomes(checks)
    assert [ended[name] for name in NAMES[:3]] == [Outcome.OK] * 3
    assert ended["login"] is Outcome.FAILED
    assert [ended[name] for name in NAMES[4:]] == [Outcome.NOT_RUN] * 6
    assert checks[4].detail == "login did not hold"
    assert not any(check.ok for check in checks[3:])
    assert "falsch" not in json.dumps([check.as_dict() for check in checks])


def test_without_a_password_the_rest_is_skipped_with_the_reason(serve: Serve, users: Path) -> None:
    running = serve(htpasswd=users)
    checks = prove(Endpoint(running.url), expects_auth=True)
    ended = outcomes(checks)
    assert [ended[name] for name in NAMES[:3]] == [Outcome.OK] * 3
    assert {(check.outcome, check.detail) for check in checks[3:]} == {
        (Outcome.SKIPPED, "no password of any user is known here")
    }
    assert holds(checks)
    assert not checks[4].ok


def test_users_where_none_are_expected_fail_the_push(serve: Serve, users: Path) -> None:
    checks = prove(Endpoint(serve(htpasswd=users).url), expects_auth=False)
    assert outcomes(checks)["push"] is Outcome.FAILED
    assert checks[4].error is not None
    assert checks[4].error.code == "unauthorized"


def test_where_nothing_answers_only_the_first_check_is_run() -> None:
    port = free_port()
    checks = prove(Endpoint(f"http://127.0.0.1:{port}", credentials=ALICE), expects_auth=True)
    assert [check.outcome for check in checks] == [Outcome.FAILED] + [Outcome.NOT_RUN] * 9
    assert checks[0].as_dict()["error"] == {
        "code": "registry-unreachable",
        "message": f"127.0.0.1:{port} refuses the connection",
        "cause": "nothing listens there",
        "fix": "regsetup status; regsetup up starts it",
    }


def test_storage_that_is_elsewhere_keeps_the_name_and_no_content(serve: Serve) -> None:
    running = serve()
    checks = prove(Endpoint(running.url), expects_auth=False)
    assert checks[-1].ok
    assert "its name may stay in the catalog" in checks[-1].detail
    with RegistryClient(Endpoint(running.url)) as client:
        assert [list(client.tags(name)) for name in client.catalog()] in ([], [[]])


def test_deletes_that_are_off_fail_and_what_was_pushed_is_removed_on_disk(
    registry_process: Start, tmp_path: Path
) -> None:
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    running = registry_process(data=tmp_path / "data", settings={"storage": storage})
    checks = prove(Endpoint(running.url), expects_auth=False, cleanup=functools.partial(forget, running.data))
    ended = outcomes(checks)
    assert ended["delete"] is Outcome.FAILED
    assert checks[8].error is not None
    assert checks[8].error.code == "unsupported"
    assert ended["nothing-left"] is Outcome.OK
    assert catalog(running) == []


def test_deletes_that_are_off_leave_something_elsewhere_and_that_is_said(
    registry_process: Start, tmp_path: Path
) -> None:
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    running = registry_process(settings={"storage": storage})
    checks = prove(Endpoint(running.url), expects_auth=False)
    assert outcomes(checks)["nothing-left"] is Outcome.FAILED
    assert "still lists regsetup-check/" in checks[-1].detail


class Stop(BaseException):
    """What SIGINT raises, but for pytest."""


@pytest.mark.parametrize("after", ["login", "push", "delete", "nothing-left"])
def test_interrupted_after_any_check_nothing_is_left(serve: Serve, after: str) -> None:
    running = serve()

    def interrupt(check: Check) -> None:
        if check.name == after:
            raise Stop

    with pytest.raises(Stop):
        prove(
            Endpoint(running.url),
            expects_auth=False,
            progress=interrupt,
            cleanup=functools.partial(forget, running.data),
        )
    assert catalog(running) == []
    assert not [path for path in running.data.rglob("*") if path.is_file()]


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03])
def test_a_real_interrupt_at_any_moment_leaves_nothing(serve: Serve, after: float) -> None:
    running = serve()
    script = (
        "import functools, sys; from pathlib import Path; from regsetup.client import Endpoint\n"
        "from regsetup.smoke import forget, prove\n"
        "print('go', flush=True)\n"
        "prove(Endpoint(sys.argv[1]), expects_auth=False,"
        " cleanup=functools.partial(forget, Path(sys.argv[2])))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, running.url, running.data],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        time.sleep(after)  # the moment is the point; whatever it hits, nothing may be left
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert catalog(running) == []
    assert not [path for path in running.data.rglob("*") if path.is_file()]


def test_a_pull_through_cache_is_not_pushed_to(registry_process: Start, tmp_path: Path) -> None:
    upstream = registry_process()
    cache = registry_process(data=tmp_path / "cache", settings={"proxy": {"remoteurl": upstream.url}})
    checks = prove(Endpoint(cache.url), expects_auth=False, no_pushes="it is a cache")
    assert outcomes(checks)["api-version"] is Outcome.OK
    assert holds(checks)
    assert {check.detail for check in checks[4:]} == {"it is a cache"}
    assert not holds(prove(Endpoint(cache.url), expects_auth=False))


def test_a_web_server_is_no_registry() -> None:
    with Liar(lambda _: reply(200, b"<html>", Docker_Distribution_Api_Version="")) as server:
        checks = prove(Endpoint(server.url), expects_auth=False)
    assert checks[0].error is not None
    assert checks[0].error.code == "proof-failed"
    assert "API version ''" in checks[0].error.message


class Forgetful:
    """A registry in memory that changes one answer."""

    def __init__(self, spoil: Callable[[Request, bytes], bytes | None]) -> None:
        self._content: dict[str, bytes] = {}
        self._spoil = spoil

    def __call__(self, request: Request) -> bytes:
        right = self._answer(request)
        wrong = self._spoil(request, right)
        return right if wrong is None else wrong

    def _answer(self, request: Request) -> bytes:
        key = request.path.rpartition("/")[2]
        match request.method:
            case "POST":
                return reply(202, Location="/v2/upload/1")
            case "PATCH":
                self._content["upload"] = self._content.get("upload", b"") + request.body
                return reply(202, Location="/v2/upload/1")
            case "PUT":
                return self._put(request, key)
            case "DELETE":
                if self._content.pop(key, None) == self._content.get("check"):
                    self._content.pop("check", None)
                return reply(202)
        if key == "list":
            return reply(404) if "check" not in self._content else reply_json({"tags": ["check"]})
        if request.path == "/v2/":
            return reply_json({})
        return self._get(request, key)

    def _put(self, request: Request, key: str) -> bytes:
        if "digest=" in request.target:
            body = self._content.pop("upload", b"") + request.body
        else:
            body = self._content[key] = request.body
        digest = str(Digest.of(body))
        self._content[digest] = body
        return reply(201, Docker_Content_Digest=digest)

    def _get(self, request: Request, key: str) -> bytes:
        body = self._content.get(key)
        if body is None:
            return reply(404)
        headers = {
            "Docker_Content_Digest": str(Digest.of(body)),
            "Content_Type": "application/vnd.oci.image.manifest.v1+json",
        }
        if request.method == "HEAD":
            return reply(200, b"", length=len(body), **headers)
        return reply(200, body, length=len(body), **headers)


def spoiled(spoil: Callable[[Request, bytes], bytes | None]) -> dict[str, Outcome]:
    with Liar(Forgetful(spoil)) as server:
        checks = prove(Endpoint(server.url), expects_auth=False)
    return outcomes(checks)


def test_the_registry_in_memory_holds_when_nothing_is_spoiled() -> None:
    assert set(spoiled(lambda *_: None).values()) == {Outcome.OK, Outcome.SKIPPED}


def test_a_blob_that_was_never_pushed_and_is_there_fails_the_push() -> None:
    def spoil(request: Request, right: bytes) -> bytes | None:
        return reply(200, length=1) if request.method == "HEAD" and "/blobs/" in request.path else None

    assert spoiled(spoil)["push"] is Outcome.FAILED


def test_a_manifest_of_another_size_fails_the_head() -> None:
    def spoil(request: Request, right: bytes) -> bytes | None:
        if request.method == "HEAD" and request.path.endswith("/manifests/check") and b" 200 " in right:
            return right.replace(b"Content-Length: ", b"Content-Length: 1")
        return None

    ended = spoiled(spoil)
    assert (ended["head"], ended["pull-by-tag"]) == (Outcome.FAILED, Outcome.OK)


def test_a_blob_of_another_size_fails_the_head() -> None:
    pushed = False

    def spoil(request: Request, right: bytes) -> bytes | None:
        nonlocal pushed
        pushed |= request.method == "PUT"
        if pushed and request.method == "HEAD" and "/blobs/" in request.path and b" 200 " in right:
            return reply(200, length=1)
        return None

    ended = spoiled(spoil)
    assert (ended["head"], ended["pull-by-tag"]) == (Outcome.FAILED, Outcome.OK)


@pytest.mark.parametrize("part", ["/manifests/sha256:", "/blobs/sha256:"])
def test_damaged_content_fails_the_pull(part: str) -> None:
    def spoil(request: Request, right: bytes) -> bytes | None:
        if request.method == "GET" and part in request.path and b" 200 " in right:
            return right[:-1] + bytes([right[-1] ^ 1])
        return None

    assert spoiled(spoil)["pull-by-digest"] is Outcome.FAILED


def test_another_manifest_under_the_tag_fails_the_pull() -> None:
    def spoil(request: Request, right: bytes) -> bytes | None:
        other = b"{}"
        if request.method == "GET" and request.path.endswith("/manifests/check") and b" 200 " in right:
            return reply(200, other, Docker_Content_Digest=str(Digest.of(other)))
        return None

    ended = spoiled(spoil)
    assert (ended["pull-by-tag"], ended["pull-by-digest"]) == (Outcome.FAILED, Outcome.OK)


def test_another_media_type_fails_the_pull() -> None:
    def spoil(request: Request, right: bytes) -> bytes | None:
        return right.replace(b"manifest.v1+json", b"manifest.v1+xxxx") if request.method == "GET" else None

    assert spoiled(spoil)["pull-by-tag"] is Outcome.FAILED


def test_a_delete_that_deletes_nothing_fails() -> None:
    def keep(request: Request) -> bytes:
        return reply(202) if request.method == "DELETE" else memory(request)

    memory = Forgetful(lambda *_: None)
    with Liar(keep) as server:
        ended = outcomes(prove(Endpoint(server.url), expects_auth=False))
    assert (ended["delete"], ended["nothing-left"]) == (Outcome.FAILED, Outcome.FAILED)


def test_a_cleanup_that_fails_is_a_failed_check(serve: Serve, tmp_path: Path) -> None:
    running = serve()
    (tmp_path / "file").write_text("")
    checks = prove(
        Endpoint(running.url), expects_auth=False, cleanup=functools.partial(forget, tmp_path / "file")
    )
    assert checks[-1].outcome is Outcome.FAILED
    assert checks[-1].error is not None
    assert checks[-1].error.code == "not-cleaned"


def test_a_cleanup_that_cleans_elsewhere_is_noticed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    checks = prove(
        Endpoint(serve().url),
        expects_auth=False,
        cleanup=functools.partial(forget, tmp_path / "elsewhere"),
    )
    assert checks[-1].outcome is Outcome.FAILED
    assert "still lists regsetup-check/" in checks[-1].detail


def test_the_tiny_image_is_valid_and_like_no_other() -> None:
    one, other = make_image(), make_image()
    assert set(one.digests).isdisjoint(other.digests)
    assert one.repository != other.repository
    config = json.loads(one.config)
    with tarfile.open(fileobj=io.BytesIO(one.layer), mode="r:gz") as layer:
        assert layer.getnames() == ["regsetup-check"]
    assert len(config["rootfs"]["diff_ids"]) == 1
    assert sum(map(len, (one.manifest, *one.blobs))) < 1500
