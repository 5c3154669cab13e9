"""pull, push and copy as a person types them: what they say, refuse and show."""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regsetup.cli.pull import BadTarget, Format, _format
from tests.bed.images import image_archive, tar_of
from tests.bed.moving import EMPTY, Shelf
from tests.contract.both import Serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two registries."""
    serve = Serve("bundled", tmp_path_factory.mktemp("registries"), [])
    try:
        yield serve().url.removeprefix("http://"), serve().url.removeprefix("http://")
    finally:
        for one in serve.started:
            one.stop()


@pytest.mark.parametrize(
    ("target", "wanted", "form"),
    [
        ("new", None, Format.OCI),
        ("new/", None, Format.OCI),
        ("directory", None, Format.OCI),
        ("new.tar", None, Format.DOCKER_ARCHIVE),
        ("file.tar", None, Format.DOCKER_ARCHIVE),
        ("new.tar", Format.OCI_ARCHIVE, Format.OCI_ARCHIVE),
        ("new.img", Format.DOCKER_ARCHIVE, Format.DOCKER_ARCHIVE),
        ("new.tar", Format.OCI, Format.OCI),
        ("NEW.TAR", None, Format.DOCKER_ARCHIVE),
        ("new.tar.gz", None, "layers are compressed already"),
        ("new.TGZ", None, "layers are compressed already"),
        ("file", None, "it is a file"),
        ("file.tar", Format.OCI, "it is a file"),
        ("directory", Format.OCI_ARCHIVE, "it is a directory"),
        ("new/", Format.DOCKER_ARCHIVE, "it is a directory"),
    ],
)
def test_the_target_s_name_says_how_it_is_written(
    tmp_path: Path, target: str, wanted: Format | None, form: Format | str
) -> None:
    (tmp_path / "directory").mkdir()
    for name in ("file", "file.tar"):
        (tmp_path / name).touch()
    if isinstance(form, Format):
        assert _format(f"{tmp_path}/{target}", wanted) is form
    else:
        with pytest.raises(BadTarget, match=form):
            _format(f"{tmp_path}/{target}", wanted)


def test_a_story_of_one_image(regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path) -> None:
    here, there = addresses
    shelf = Shelf.multi(tmp_path / "made")
    count = len(shelf.blobs)

    pushed = regsetup.json("push", str(shelf.path), f"{here}/team/app:1")
    assert (pushed["command"], pushed["ok"], pushed["changed"]) == ("push", True, True)
    assert pushed["data"]["digest"] == str(shelf.root)
    assert pushed["data"]["blobs"] == {"moved": count, "there": 0, "mounted": 0, "resumed": 0}
    assert pushed["data"]["repository"] == f"{here}/team/app"
    assert regsetup.json("push", str(shelf.path), f"{here}/team/app:1")["changed"] is False

    pulled = regsetup.json("pull", f"{here}/team/app:1", str(tmp_path / "out"))
    assert pulled["data"] | {"bytes": 0} == {
        "ref": f"{here}/team/app:1",
        "image": f"{here}/team/app:1",
        "digest": str(shelf.root),
        "media_type": "application/vnd.oci.image.index.v1+json",
        "platforms": ["linux/amd64", "linux/arm64"],
        "target": str(tmp_path / "out"),
        "format": "oci",
        "warnings": [],
        "blobs": {"moved": count, "there": 0, "mounted": 0, "resumed": 0},
        "bytes": 0,
    }
    assert regsetup.json("pull", f"{here}/team/app:1", str(tmp_path / "out"))["changed"] is False
    arm = regsetup("pull", f"{here}/team/app:1", str(tmp_path / "a.tar"), "--platform", "linux/arm64").ok()
    assert "4 blobs" not in arm.out
    assert "a.tar (docker-archive)" in arm.out
    assert stat.S_IMODE((tmp_path / "a.tar").stat().st_mode) & 0o600 == 0o600
    digest = arm.out.splitlines()[0]
    by_digest = regsetup.json("pull", f"{here}/team/app@{digest}", str(tmp_path / "out"))
    assert (by_digest["ok"], by_digest["changed"], by_digest["data"]["image"]) == (True, True, None)

    copied = regsetup("copy", f"{here}/team/app:1", f"{there}/new/app").ok()
    assert copied.out.splitlines()[0] == str(shelf.root)
    assert f"{count} blobs copied" in copied.out
    assert f"{there}/new/app:1" in copied.out
    within = regsetup.json("copy", f"{there}/new/app:1", f"{there}/newer/app:2")
    assert within["data"]["blobs"]["mounted"] == count
    assert within["data"]["destination"] == f"{there}/newer/app:2"
    one = regsetup.json("copy", f"{here}/team/app:1", f"{there}/arm/app:1", "--platform", "linux/arm64")
    assert one["data"]["digest"] == digest
    bare = regsetup.json("copy", f"{here}/team/app@{digest}", f"{there}/bare")
    assert bare["data"]["destination"] == f"{there}/bare"
    option = regsetup.json("copy", "team/app:1", f"{there}/option", "--registry", here)
    assert option["ok"], option


def test_what_can_not_be_meant_is_refused(
    regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path
) -> None:
    here, there = addresses
    shelf = Shelf.single(tmp_path / "made", [secrets.token_bytes(50)])
    regsetup("push", str(shelf.path), f"{here}/team/one:1").ok()
    (tmp_path / "secret").write_text("geheim\n")
    password = ("--user", "alice", "--password-file", str(tmp_path / "secret"))
    wrong = f"sha256:{'0' * 64}"
    for arguments, code, exit_code in (
        (("pull", f"{here}/team/one:1", "x", "--platform", "amd64"), "bad-platform", 2),
        (("pull", f"{here}/team/one:1", "x", "--platform", "linux/arm64"), "no-such-platform", 1),
        (("pull", f"{here}/team/one:1", "x", "--platform", ""), "bad-platform", 2),
        (("pull", f"{here}/team/none:1", "x"), "no-such-repository", 1),
        (("pull", f"{here}/team/one:2", "x"), "no-such-image", 1),
        (("copy", f"{here}/team/one:2", f"{there}/a"), "no-such-image", 1),
        (("pull", f"{here}/team/One:1", "x"), "bad-reference", 2),
        (("pull", f"{here}/team/one:1", "x.tgz"), "bad-target", 2),
        (("pull", f"{here}/team/one:1", ""), "bad-target", 2),
        (("pull", f"{here}/team/one:1", "-"), "bad-target", 2),
        (("push", "nothing-here", f"{here}/team/one:1"), "cannot-read", 1),
        (("push", "/dev/null", f"{here}/team/one:1"), "no-image", 1),
        (("push", str(shelf.path), f"{here}/team/one:1@{wrong}"), "other-digest", 1),
        (("push", str(shelf.path), f"{here}/a:1", "--platform", "linux/arm64"), "no-such-platform", 1),
        (("copy", f"{here}/team/one:1", f"{there}/a:1@{wrong}"), "other-digest", 1),
        (("copy", f"{here}/team/one:1", f"{there}/a:1", *password), "whose-user", 2),
        (("copy", f"{here}/team/one:1", f"{there}/a", "--platform", "linux/s390x"), "no-such-platform", 1),
    ):
        done = regsetup(*arguments, "--json")
        (error,) = json.loads(done.out)["errors"]
        assert (error["code"], done.code) == (code, exit_code), arguments
        assert error["cause"] or error["fix"], arguments
    assert not Path("x").exists()


def test_an_archive_takes_no_device_s_place_and_keeps_a_link(
    regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path
) -> None:
    shelf = Shelf.single(tmp_path / "made")
    ref = f"{addresses[0]}/links:1"
    regsetup("push", str(shelf.path), ref).ok()
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "link.tar").symlink_to("image.tar")
    for options in ([], ["--format", "oci-archive"], ["--format", "oci"]):
        (error,) = regsetup.json("pull", ref, str(tmp_path / "pipe.tar"), *options)["errors"]
        assert error["code"] == "bad-target"
    assert (tmp_path / "pipe.tar").is_fifo()
    regsetup("pull", ref, str(tmp_path / "link.tar")).ok()
    assert (tmp_path / "link.tar").is_symlink()
    assert (tmp_path / "image.tar").is_file()


def test_images_of_docker_save_have_no_digest_before_they_are_pushed(
    regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(image_archive("a:1", [tar_of({"a": secrets.token_bytes(9)})]))
    wrong = f"{addresses[0]}/a@sha256:{'0' * 64}"
    (error,) = regsetup.json("push", str(tmp_path / "a.tar"), wrong)["errors"]
    assert error["code"] == "no-image"
    (error,) = regsetup.json(
        "push", str(tmp_path / "a.tar"), f"{addresses[0]}/a", "--platform", "linux/arm64"
    )["errors"]
    assert error["code"] == "no-such-platform"
    assert regsetup("push", str(tmp_path / "a.tar"), f"{addresses[0]}/a", "-q").ok().out.startswith("sha256:")


def test_an_artifact_is_nothing_for_docker_load(
    regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path / "made")
    config = shelf.blob(b"{}", EMPTY)
    document = {"schemaVersion": 2, "config": config, "layers": [shelf.blob(b"chart", "application/x")]}
    shelf.finish(shelf.document(document, "application/vnd.oci.image.manifest.v1+json"))
    ref = f"{addresses[0]}/chart:1"
    regsetup("push", str(shelf.path), ref).ok()
    (error,) = regsetup.json("pull", ref, str(tmp_path / "chart.tar"))["errors"]
    assert error["code"] == "not-for-docker"
    assert not (tmp_path / "chart.tar").exists()
    regsetup("pull", ref, str(tmp_path / "chart.tar"), "--format", "oci-archive").ok()


def test_an_image_with_layers_elsewhere_is_nothing_for_docker_load(
    regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path
) -> None:
    shelf = Shelf.foreign(tmp_path / "made")
    ref = f"{addresses[0]}/foreign:1"
    regsetup("push", str(shelf.path), ref).ok()
    refused = regsetup.json("pull", ref, str(tmp_path / "foreign.tar"))["errors"][0]
    assert (refused["code"], "lie elsewhere" in refused["cause"]) == ("not-for-docker", True)
    assert not (tmp_path / "foreign.tar").exists()
    oci = regsetup.json("pull", ref, str(tmp_path / "foreign.tar"), "--format", "oci-archive")
    assert oci["data"]["digest"] == str(shelf.root)


def test_a_terminal_shows_bars(regsetup: Regsetup, addresses: tuple[str, str], tmp_path: Path) -> None:
    shelf = Shelf.single(tmp_path / "made", [secrets.token_bytes(40 << 20)])
    with regsetup.on_terminal(
        "push", str(shelf.path), f"{addresses[0]}/bars:1", env={"COLUMNS": "100"}
    ) as shown:
        shown.expect("of 2 blobs", seconds=60)
        shown.expect("MB")
        shown.expect("2 blobs uploaded")
        assert shown.wait().code == 0
