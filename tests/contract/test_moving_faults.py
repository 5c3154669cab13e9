"""Moving images where things go wrong: registries that lie, damaged sources, full disks, kills and Ctrl-C."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.libtrust import BadSignature
from regsetup.client import (
    AnswerCut,
    Credentials,
    DigestMismatch,
    Endpoint,
    NotFound,
    RegistryClient,
    TooManyRequests,
    TooSlow,
    UnexpectedAnswer,
)
from regsetup.client.api import SIGNED_SCHEMA1
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite, Locked, locked
from regsetup.image import layout
from regsetup.image.document import OCI_MANIFEST, OldSchema
from regsetup.image.files import DamagedImage, Directory
from regsetup.image.layout_writer import LayoutWriter, NotALayout
from regsetup.image.writing import NoSpace
from regsetup.reference import Digest
from regsetup.secret import Secret
from regsetup.transfer.source import OtherDigest
from regsetup.transfer.watch import Fate
from tests.bed.liar import Liar, Request, reply
from tests.bed.moving import Shelf, copied, fetched, pushed
from tests.bed.run import missing, wait_for
from tests.contract.both import Serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bed.cli import Regsetup
    from tests.bed.liar import Reply

TARGETS = ("out", "out.tar")
BIG = 3 << 20  # bytes: three pieces


class Honest:
    """Serves a layout's image as registry ``team/app``; tests make it lie."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def __call__(self, request: Request) -> Reply:
        if request.path == "/v2/":
            return reply(200, b"{}")
        kind, _, name = request.path.removeprefix("/v2/team/app/").partition("/")
        digest = self.shelf.root if name == "1" else Digest.parse(name) if ":" in name else None
        if digest is None or not self.shelf.file(digest).exists():
            return reply(404)
        content = self.shelf.file(digest).read_bytes()
        if kind == "manifests":
            media_type = json.loads(content)["mediaType"]
            return reply(200, content, Content_Type=media_type, Docker_Content_Digest=str(digest))
        return self.blob(request, digest, content)

    def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
        if "range" not in request.headers:
            return reply(200, content)
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return reply(206, content[start:], Content_Range=span)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """One image with one large layer."""
    return Shelf.single(tmp_path / "made", [os.urandom(BIG)])


def asked(handler: Callable[[Request], Reply], call: Callable[[RegistryClient], object]) -> list[Request]:
    with Liar(handler) as server:
        credentials = Credentials("alice", Secret("geheim"))
        with RegistryClient(Endpoint(server.url, credentials=credentials), 3.0, patience=1.5) as client:
            call(client)
    return server.requests


def files(place: Path) -> set[str]:
    """Return all that stands below a directory, without the source and directories."""
    found = (path.relative_to(place) for path in place.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != "made"}


def whole(place: Path) -> None:
    """Hold that whatever stands under a final name is whole."""
    for path in place.glob("blobs/sha256/[0-9a-f]*"):
        assert Digest.of(path.read_bytes()).hex == path.name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lie", ["other", "shorter", "longer", "endless"])
def test_a_blob_that_is_not_what_it_should_be_is_not_kept(
    shelf: Shelf, tmp_path: Path, target: str, lie: str
) -> None:
    class Lying(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            if len(content) < BIG:
                return super().blob(request, digest, content)
            if lie == "endless":
                return self.without_end(content)
            changed = {"other": b"x" + content[1:], "shorter": content[:-1], "longer": content + b"x"}[lie]
            return reply(200, changed)

        def without_end(self, content: bytes) -> Iterator[bytes]:
            yield reply(200, b"", length=1 << 40)
            while True:
                yield content

    with pytest.raises((DigestMismatch, UnexpectedAnswer)):
        asked(Lying(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / target))
    (wrong,) = (one.hex for one in shelf.blobs if shelf.file(one).stat().st_size == BIG)
    assert not {name for name in files(tmp_path) if wrong in name or name.endswith(".tar")}
    whole(tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_cut_connection_is_taken_up_where_it_was_cut(shelf: Shelf, tmp_path: Path, target: str) -> None:
    class Cutting(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            answer = super().blob(request, digest, content)
            assert isinstance(answer, bytes)
            head = answer.index(b"\r\n\r\n") + 4
            return [answer[: head + (1 << 20) + 7]]  # and closes

    def call(client: RegistryClient) -> None:
        tree, watch = fetched(client, "team/app", "1", tmp_path / target, docker=False)
        assert watch.fates == {Fate.MOVED: 2}
        assert watch.bytes == tree.size

    ranges = [one.headers["range"] for one in asked(Cutting(shelf), call) if "range" in one.headers]
    assert len(ranges) >= 2
    assert pushed_again(tmp_path / target) == shelf.root


def pushed_again(path: Path) -> Digest:
    from regsetup.transfer.source import choose, opened

    with opened(path) as source:
        image = choose(source, None, None, compress=False).image
        for blob in image.blobs:  # type: ignore[union-attr]
            layout.verify(source, blob)
        return image.root.part.digest  # type: ignore[union-attr]


def test_one_that_always_cuts_is_given_up_and_what_came_is_kept(shelf: Shelf, tmp_path: Path) -> None:
    class Cutting(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            if len(content) < BIG or "range" not in request.headers:
                answer = super().blob(request, digest, content)
                assert isinstance(answer, bytes)
                return [answer[: (2 << 20) + 400]]
            return [reply(206, b"", length=5, Content_Range="bytes 1048576-2097151/3145728")]

    with pytest.raises((AnswerCut, UnexpectedAnswer)):
        asked(Cutting(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
    whole(tmp_path / "out")
    with pytest.raises((AnswerCut, UnexpectedAnswer)):
        asked(Cutting(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out.tar"))
    assert not {name for name in files(tmp_path) if "out.tar" in name}


def test_a_registry_that_drips_is_given_up_and_what_came_is_taken_up(shelf: Shelf, tmp_path: Path) -> None:
    class Dripping(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            answer = super().blob(request, digest, content)
            assert isinstance(answer, bytes)
            return answer if len(content) < BIG else self.drops(answer)

        def drops(self, answer: bytes) -> Iterator[bytes]:
            yield answer[: 1 << 20]
            for at in range(1 << 20, (1 << 20) + 1000):
                yield answer[at : at + 1]
                time.sleep(0.02)

    for target in TARGETS:
        with pytest.raises(TooSlow, match="sends too slowly"):
            asked(Dripping(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / target))  # noqa: B023
    assert {name for name in files(tmp_path) if "out.tar" in name or "index" in name} == set()
    (partial,) = (tmp_path / "out").glob("blobs/sha256/.*.partial")
    kept = partial.stat().st_size
    assert kept > 1 << 19
    requests = asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
    assert f"bytes={kept}-" in [one.headers.get("range") for one in requests]
    whole(tmp_path / "out")


def test_a_copy_from_a_registry_that_drips_is_given_up(
    shelf: Shelf, registries: list[RegistryClient]
) -> None:
    class Dripping(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            answer = super().blob(request, digest, content)
            assert isinstance(answer, bytes)
            return answer if len(content) < BIG else self.drops(answer)

        def drops(self, answer: bytes) -> Iterator[bytes]:
            for at in range(1000):
                yield answer[at : at + 1]
                time.sleep(0.02)

    for there in registries:
        with pytest.raises(TooSlow):
            asked(
                Dripping(shelf),
                lambda client: copied(client, "team/app", "1", there, "app", tag="1", referrers=False),  # noqa: B023
            )
        assert there.head_manifest("app", "1") is None


def test_what_an_interrupted_run_left_is_completed(shelf: Shelf, tmp_path: Path) -> None:
    (digest,) = (one for one in shelf.blobs if shelf.file(one).stat().st_size == BIG)
    content = shelf.file(digest).read_bytes()
    partial = tmp_path / "out/blobs/sha256" / f".{digest.hex}.partial"
    partial.parent.mkdir(parents=True)
    small = sum(shelf.file(one).stat().st_size for one in shelf.blobs) - BIG

    def pull(client: RegistryClient) -> None:
        _, watch = fetched(client, "team/app", "1", tmp_path / "out")
        seen.append((watch.fates[Fate.RESUMED], watch.bytes))

    seen: list[tuple[int, int]] = []
    for left in (content[: 2 << 20], content, b"x" * 100, content + b"x"):
        partial.write_bytes(left)
        partial.with_name(digest.hex).unlink(missing_ok=True)
        asked(Honest(shelf), pull)
        assert not partial.exists()
        whole(tmp_path / "out")
    assert seen == [(1, (1 << 20) + small), (1, 0), (0, BIG), (0, BIG)]


def test_a_blob_that_was_damaged_meanwhile_is_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    def call(client: RegistryClient) -> None:
        fetched(client, "team/app", "1", tmp_path / "out")
        (tmp_path / "out" / layout.blob_name(min(shelf.blobs))).write_bytes(b"damaged")
        other = tmp_path / "out" / layout.blob_name(max(shelf.blobs))
        other.write_bytes(b"x" * other.stat().st_size)
        _, watch = fetched(client, "team/app", "1", tmp_path / "out")
        assert watch.fates == {Fate.MOVED: 2}

    asked(Honest(shelf), call)
    whole(tmp_path / "out")


def test_a_busy_registry_is_waited_for_and_one_that_stays_busy_is_not(shelf: Shelf, tmp_path: Path) -> None:
    answers = [reply(429, Retry_After="1"), reply(503), reply(500)]

    class Busy(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            return answers.pop() if answers else super().blob(request, digest, content)

    asked(Busy(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
    assert not answers
    answers += [reply(429, Retry_After="3600")] * 9
    with pytest.raises(TooManyRequests, match="asked too often"):
        asked(Busy(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out.tar"))


def test_a_registry_that_asks_for_a_minute_gets_it(regsetup: Regsetup, shelf: Shelf, tmp_path: Path) -> None:
    """A minute is what registries that count requests ask for; who moves gigabytes has it."""
    asked_to_wait = threading.Event()

    def busy(request: Request) -> Reply:
        if "/manifests/" in request.path:
            asked_to_wait.set()
            return reply(429, Retry_After="60")
        return Honest(shelf)(request)

    with Liar(busy) as server:
        ref = f"{server.address}/team/app:1"
        words = [sys.executable, "-m", "regsetup", "pull", ref, str(tmp_path / "out")]
        environment = dict(os.environ) | regsetup.environment()
        with subprocess.Popen(words, stderr=subprocess.PIPE, env=environment) as process:
            try:
                assert asked_to_wait.wait(30)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1.5)
            finally:
                process.kill()


def test_credentials_do_not_follow_a_blob_to_another_host(shelf: Shelf, tmp_path: Path) -> None:
    honest = Honest(shelf)
    with Liar(honest) as storage:

        class Elsewhere(Honest):
            def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
                return reply(307, Location=f"{storage.url}{request.target}")

        ours = asked(Elsewhere(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
        with pytest.raises(UnexpectedAnswer):
            asked(
                lambda request: reply(307, Location=request.target),
                lambda client: fetched(client, "team/app", "1", tmp_path / "round"),
            )
    assert ours
    assert storage.requests
    assert all("authorization" not in one.headers for one in storage.requests)
    whole(tmp_path / "out")


def test_a_manifest_that_is_another_or_gone_is_refused(tmp_path: Path) -> None:
    shelf = Shelf.multi(tmp_path / "made")
    child = json.loads(shelf.file(shelf.root).read_bytes())["manifests"][0]["digest"]
    shelf.file(Digest.parse(child)).write_bytes(b"{}")
    honest = Honest(shelf)

    def lying(request: Request) -> Reply:
        if request.path.endswith(child):
            return reply(200, b"{}", Content_Type="application/vnd.oci.image.manifest.v1+json")
        return honest(request)

    with pytest.raises(DigestMismatch):
        asked(lying, lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
    shelf.file(Digest.parse(child)).unlink()
    with pytest.raises(NotFound):
        asked(honest, lambda client: fetched(client, "team/app", "1", tmp_path / "out"))
    assert files(tmp_path) == set()


def test_schema_1_is_verified_and_refused(tmp_path: Path, shelf: Shelf) -> None:
    serve = Serve("registry2", tmp_path, [])
    try:
        with RegistryClient(Endpoint(serve().url)) as client:
            pushed(client, "team/app", Shelf.docker(tmp_path / "old").path, tag="1")
            signed = client.get_manifest("team/app", "1", accept=()).content
    finally:
        for one in serve.started:
            one.stop()
    for content, kind in ((signed, OldSchema), (signed.replace(b'"amd64"', b'"arm64"'), BadSignature)):
        answer = reply(200, content, Content_Type=SIGNED_SCHEMA1)
        with pytest.raises(kind):
            asked(functools.partial(same, answer), lambda client: fetched(client, "a", "1", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def same(answer: bytes, request: Request) -> bytes:
    return answer


# Into registries


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[list[RegistryClient]]:
    """One of each kind."""
    started = []
    for kind in ("registry2", "bundled"):
        (tmp_path / kind).mkdir()
        started.append(Serve(kind, tmp_path / kind, []))
    clients = [RegistryClient(Endpoint(one().url)) for one in started]
    yield clients
    for client in clients:
        client.close()
    for one in started:
        one.started[0].stop()


def test_a_damaged_source_is_named_and_nothing_is_tagged(
    registries: list[RegistryClient], tmp_path: Path
) -> None:
    for number, client in enumerate(registries):
        shelf = Shelf.single(tmp_path / f"made-{number}", [os.urandom(BIG)])
        (digest,) = (one for one in shelf.blobs if shelf.file(one).stat().st_size == BIG)
        shelf.file(digest).write_bytes(os.urandom(BIG))
        with pytest.raises(DamagedImage) as caught:
            pushed(client, "team/app", shelf.path, tag="1")
        assert str(digest) in str(caught.value.cause)
        shelf.file(digest).write_bytes(b"short")
        with pytest.raises(DamagedImage):
            pushed(client, "team/app", shelf.path, tag="1")
        shelf.file(digest).unlink()
        with pytest.raises(DamagedImage) as caught:
            pushed(client, "team/app", shelf.path, tag="1")
        assert "is missing" in str(caught.value.cause)
        assert client.head_manifest("team/app", "1") is None


def test_an_upload_that_did_not_arrive_whole_is_begun_again(shelf: Shelf) -> None:
    uploads: list[Request] = []
    number = itertools.count()

    def forgetful(request: Request) -> bytes:
        if request.method == "HEAD":
            return reply(404)
        if request.method == "POST":
            return reply(202, Location=f"/v2/team/app/blobs/uploads/{len(uploads)}")
        if request.method == "DELETE":
            return reply(204)
        if "/blobs/uploads/" in request.path:
            uploads.append(request)
            return reply(400 if next(number) < lost else 201)
        return reply(201)

    lost = 1
    asked(forgetful, lambda client: pushed(client, "team/app", shelf.path, tag="1"))
    assert len(uploads) == len(shelf.blobs) + 1
    assert {Digest.of(one.body) for one in uploads} == shelf.blobs
    lost = 1000
    with pytest.raises(UnexpectedAnswer):
        asked(forgetful, lambda client: pushed(client, "team/app", shelf.path, tag="1"))


def test_a_layer_that_is_not_the_configuration_s_is_refused(
    registries: list[RegistryClient], tmp_path: Path
) -> None:
    from tests.bed.images import image_archive, tar_of

    plain = tar_of({"a": b"right"})
    good = image_archive("app:1", [plain])
    (tmp_path / "bad.tar").write_bytes(good.replace(b"right", b"wrong"))
    for compress in (True, False):
        with pytest.raises(DamagedImage, match="is damaged"):
            pushed(registries[0], "team/app", tmp_path / "bad.tar", tag="1", compress=compress)


class Unreliable(Honest):
    """Gives the large blob not as it should: another, shorter, longer, or cut too often."""

    def __init__(self, shelf: Shelf, how: str) -> None:
        super().__init__(shelf)
        self.how = how

    def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
        if len(content) < BIG:
            return super().blob(request, digest, content)
        answer = super().blob(request, digest, content)
        assert isinstance(answer, bytes)
        match self.how:
            case "other":
                return reply(200, content[:-1] + bytes([content[-1] ^ 1]))
            case "shorter":
                return reply(200, content[:-1])
            case "longer":
                return reply(200, content + b"x")
            case "drips":
                return [answer[:100_000]]
            case "ends":
                return [] if "range" in request.headers else [answer[:1_500_000]]
            case _:
                return [answer[:1_500_000]]  # and closes


def copy_to(target: RegistryClient) -> Callable[[RegistryClient], object]:
    return functools.partial(
        copied, repository="team/app", what="1", target=target, to="team/app", tag="1", referrers=False
    )


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("other", "digest-mismatch"),
        ("shorter", "digest-mismatch"),
        ("longer", "unexpected-answer"),
        ("drips", "answer-cut"),
        ("ends", "answer-cut"),
    ],
)
def test_a_copy_from_a_registry_that_lies_does_not_arrive(
    registries: list[RegistryClient], shelf: Shelf, how: str, code: str
) -> None:
    (wrong,) = (one for one in shelf.blobs if shelf.file(one).stat().st_size == BIG)
    for target in registries[: 1 if code == "answer-cut" else 2]:  # which waits
        with pytest.raises(RegsetupError) as caught:
            asked(Unreliable(shelf, how), copy_to(target))
        assert caught.value.code == code
        assert target.head_manifest("team/app", "1") is None
        if how != "longer":  # its beginning is the blob
            assert target.head_blob("team/app", wrong) is None


def test_a_copy_goes_on_where_its_source_was_cut(registries: list[RegistryClient], shelf: Shelf) -> None:
    for target in registries:
        ranges = [one.headers.get("range") for one in asked(Unreliable(shelf, "cuts"), copy_to(target))]
        assert any(ranges)
        assert target.get_manifest("team/app", "1").digest == shelf.root


def test_a_file_that_becomes_shorter_while_it_is_sent_is_named(shelf: Shelf) -> None:
    (digest,) = (one for one in shelf.blobs if shelf.file(one).stat().st_size == BIG)

    def answer(request: Request) -> bytes:
        if request.method == "POST":
            os.truncate(shelf.file(digest), 5)
            return reply(202, Location="/v2/team/app/blobs/uploads/1")
        return reply(404 if request.method == "HEAD" else 201)

    with pytest.raises(DamagedImage) as caught:
        asked(answer, lambda client: pushed(client, "team/app", shelf.path, tag="1"))
    assert "early" in str(caught.value.cause)


def test_names_in_an_archive_that_are_none_lead_nowhere(tmp_path: Path) -> None:
    shelf = Shelf.single(tmp_path / "made", [b"layer"], name="reg.example/team/app:1")
    Shelf(shelf.path).finish({"digest": str(shelf.root)} | {"mediaType": OCI_MANIFEST, "size": 5}, "No:Name:")
    from regsetup.transfer.source import choose

    source = choose(Directory(shelf.path), "reg.example/team/app:1", None, compress=True)
    assert source.repositories("reg.example") == ("team/app",)


def test_a_digest_can_not_be_chosen(registries: list[RegistryClient], shelf: Shelf) -> None:
    from regsetup.reference import Reference
    from regsetup.transfer.push import Goal
    from regsetup.transfer.source import choose
    from regsetup.transfer.watch import Silence, Watch

    found = choose(Directory(shelf.path), None, None, compress=True)
    goal = Goal(registries[0], "team/app")
    wrong = Reference("x", "team/app", None, Digest.of(b"x"))
    with pytest.raises(OtherDigest):
        found.push(goal, wrong, Watch(Silence()), compress=True)
    right = Reference("x", "team/app", None, shelf.root)
    assert found.push(goal, right, Watch(Silence()), compress=True) == (shelf.root, True)
    assert registries[0].get_manifest("team/app", shelf.root).digest == shelf.root


# Into files


def test_a_directory_of_other_things_is_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(NotALayout, match="other things"):
        asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / "mine"))
    assert files(tmp_path) == {"mine/letter.txt"}
    (tmp_path / "out").mkdir()
    with (
        locked(tmp_path / "out/.regsetup.lock"),
        pytest.raises(Locked),
        LayoutWriter.opened(tmp_path / "out", None, timeout=0.2),
    ):
        pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_no_half_file_has_a_name(shelf: Shelf, small_disk: Path) -> None:
    with pytest.raises(CannotWrite, match="can't be written"):
        asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", small_disk / "out"))
    whole(small_disk / "out")
    assert not (small_disk / "out/index.json").exists()
    with pytest.raises(NoSpace, match="no room"):
        asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", small_disk / "out.tar"))
    assert not list(small_disk.glob("*out.tar*"))
    with pytest.raises(CannotWrite):
        asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", small_disk / "no/where.tar"))


@pytest.mark.parametrize("target", TARGETS)
def test_free_space_is_asked_for_before_anything_is_written(
    shelf: Shelf, small_disk: Path, regsetup: Regsetup, target: str
) -> None:
    with Liar(Honest(shelf)) as server:
        said = regsetup.json("pull", f"{server.address}/team/app:1", str(small_disk / target))
    (error,) = said["errors"]
    assert (said["ok"], error["code"]) == (False, "no-space")
    assert re.fullmatch(r"it takes 3,1\d\d,\d{3} bytes more, and 2,097,152 are free", error["cause"])
    assert str(small_disk) in error["fix"]
    assert list(small_disk.iterdir()) == []
    assert not [one for one in server.requests if "/blobs/" in one.path and one.method == "GET"]


def test_what_an_earlier_run_left_needs_no_space_again(
    shelf: Shelf, small_disk: Path, regsetup: Regsetup
) -> None:
    directory = small_disk / "out/blobs/sha256"
    directory.mkdir(parents=True)
    (layer,) = (path for path in shelf.path.glob("blobs/sha256/*") if path.stat().st_size >= BIG)
    (directory / f".{layer.name}.partial").write_bytes(layer.read_bytes()[: BIG // 2])
    with Liar(Honest(shelf)) as server:
        said = regsetup.json("pull", f"{server.address}/team/app:1", str(small_disk / "out"))
    assert [error["code"] for error in said["errors"]] == ["no-space"]
    subprocess.run(["mount", "-o", "remount,size=3300k", str(small_disk)], check=True)
    with Liar(Honest(shelf)) as server:
        said = regsetup.json("pull", f"{server.address}/team/app:1", str(small_disk / "out"))
    assert said["ok"]
    whole(small_disk / "out")


@pytest.mark.slow
def test_killed_at_any_point_no_half_file_has_a_name_and_the_next_run_completes_it(
    shelf: Shelf, tmp_path: Path
) -> None:
    with Liar(Honest(shelf)) as server:
        for target in TARGETS:
            command = [sys.executable, "-m", "tests.bed.moving_killer", server.url, str(tmp_path / target)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert int(done.stdout) > 8, "deaths"


@pytest.mark.parametrize("target", TARGETS)
def test_control_c_leaves_what_can_be_resumed_and_of_a_file_nothing(
    regsetup: Regsetup, shelf: Shelf, tmp_path: Path, target: str
) -> None:
    ended = threading.Event()

    class Stalling(Honest):
        def blob(self, request: Request, digest: Digest, content: bytes) -> Reply:
            if len(content) < BIG:
                return super().blob(request, digest, content)
            return self.slowly(content)

        def slowly(self, content: bytes) -> Iterator[bytes]:
            yield reply(200, content[: 2 << 20], length=BIG)
            ended.wait(60)

    with Liar(Stalling(shelf)) as server:
        command = [
            sys.executable,
            "-m",
            "regsetup",
            "pull",
            f"{server.address}/team/app:1",
            str(tmp_path / target),
        ]
        environment = dict(os.environ) | regsetup.environment()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            written = ".*.unfinished" if target.endswith(".tar") else "out/blobs/sha256/.*.partial"
            try:
                wait_for(
                    "a megabyte", lambda: any(one.stat().st_blocks > 2000 for one in tmp_path.glob(written))
                )
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
                ended.set()
    assert process.returncode == 1, out + err
    kept = "nothing is half-done" if target.endswith(".tar") else f"what came is kept in {tmp_path / target}"
    assert err.startswith(f"error: interrupted; {kept}\n")
    left = {name for name in files(tmp_path) if not name.startswith("person")}
    if target.endswith(".tar"):
        assert left == set()
    else:
        assert any(name.endswith(".partial") for name in left)
        assert not any(name.endswith(("index.json", ".lock")) for name in left)
        asked(Honest(shelf), lambda client: fetched(client, "team/app", "1", tmp_path / target))
        assert pushed_again(tmp_path / target) == shelf.root


@pytest.mark.parametrize("command", [["push"], ["copy", "--no-referrers"]])
def test_control_c_while_a_registry_takes_its_time_gives_nothing_a_name(
    regsetup: Regsetup, shelf: Shelf, command: list[str]
) -> None:
    came, ended = threading.Event(), threading.Event()

    def stalling(request: Request) -> bytes:
        if request.method == "HEAD":
            return reply(404)
        if request.method == "POST":
            return reply(202, Location="/v2/team/app/blobs/uploads/1")
        if request.method == "PUT":
            came.set()
            ended.wait(60)
        return reply(200, b"{}")

    with Liar(Honest(shelf)) as source, Liar(stalling) as target:
        given = str(shelf.path) if command == ["push"] else f"{source.address}/team/app:1"
        words = [sys.executable, "-m", "regsetup", *command, given, f"{target.address}/team/app:1"]
        environment = dict(os.environ) | regsetup.environment()
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                assert came.wait(30)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
                ended.set()
    assert (process.returncode, out) == (1, ""), err
    assert re.match("error: interrupted", err)
    assert "Traceback" not in err
    assert not [one for one in target.requests if "/manifests/" in one.path and one.method == "PUT"]
