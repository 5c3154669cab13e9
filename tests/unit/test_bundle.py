"""A bundle is what was packed or it is refused: every byte, every name, every kind of wrong file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup.backends.engine import EngineError
from regsetup.bundle.format import (
    ABOUT,
    IMAGE,
    KIND,
    SUMS,
    About,
    BundleDamaged,
    BundleTooNew,
    BundleUnsafe,
    ImageInside,
    NotABundle,
    WheelsInside,
    parse_sums,
    sums_text,
)
from regsetup.bundle.reading import BundleUnreadable, read
from regsetup.bundle.wheels import Target, packed
from regsetup.bundle.writing import BundleExists, Image, NothingToBundle, _gathered, create
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite
from regsetup.templating import render
from tests.bed.images import image_archive, tar_of
from tests.bed.run import need

if TYPE_CHECKING:
    from collections.abc import Callable

INSIDE = ImageInside("registry:2", "linux", "amd64")
ARCHIVE = image_archive("registry:2", [tar_of({"a": b"b"})])
NONE = "0" * 64


def put(path: Path) -> Path:
    path.write_bytes(ARCHIVE)
    return path


def silent(_text: str) -> None:
    """Tell nobody."""


def made(path: Path, *, force: bool = False) -> bytes:
    create(path, Image(INSIDE, put), None, silent, force=force)
    return path.read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("bundle") / "good.tar")


def a_tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name) if isinstance(content, bytes) else content
            entry.size = len(content) if isinstance(content, bytes) else 0
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return raw.getvalue()


def a_bundle(more: dict[str, bytes | tarfile.TarInfo], about: bytes | None = None, **sums: str) -> bytes:
    about = about if about is not None else About("0.1.0", None, None).as_json().encode()
    listed = sums_text({ABOUT: hashlib.sha256(about).hexdigest(), **sums}).encode()
    return a_tar({f"{KIND}/{ABOUT}": about, f"{KIND}/{SUMS}": listed, **more})


def refusal(content: bytes, directory: Path) -> RegsetupError:
    path = directory / "bundle.tar"
    path.write_bytes(content)
    image = directory / "image.tar"
    with pytest.raises(RegsetupError) as caught:
        read(path, image)
    return caught.value


def test_what_was_packed_is_read_and_the_image_is_taken_out(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(good)
    found = read(path, tmp_path / "image.tar")
    assert (found.about.image, found.about.wheels) == (INSIDE, None)
    assert found.sizes == {IMAGE: len(ARCHIVE)}
    assert (tmp_path / "image.tar").read_bytes() == ARCHIVE
    assert read(path) == found
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", path, "-C", tmp_path / "out"], check=True)
    check = subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=tmp_path / "out" / KIND, check=False)
    assert check.returncode == 0


def test_the_same_parts_make_the_same_bundle(good: bytes, tmp_path: Path) -> None:
    assert made(tmp_path / "again.tar") == good


def test_a_file_that_is_there_is_replaced_only_if_told(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(BundleExists):
        made(tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"
    assert made(tmp_path / "b.tar", force=True) == good
    with pytest.raises(NothingToBundle):
        create(tmp_path / "c.tar", None, None, silent, force=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError("gone")])
def test_one_that_is_interrupted_leaves_no_file(
    tmp_path: Path, error: type[BaseException] | BaseException
) -> None:
    def interrupted(path: Path) -> Path:
        path.write_bytes(b"half")
        raise error

    (tmp_path / "b.tar").write_text("the one before")
    with pytest.raises((KeyboardInterrupt, EngineError)):
        create(tmp_path / "b.tar", Image(INSIDE, interrupted), None, silent, force=True)
    assert (tmp_path / "b.tar").read_text() == "the one before"
    assert [one.name for one in tmp_path.iterdir()] == ["b.tar"]


def test_a_directory_that_takes_no_scratch_is_told(
    good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(CannotWrite, match="gone"):
        made(tmp_path / "b.tar")


def test_without_room_for_wheels_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "wheels").write_text("in the way")
    with pytest.raises(CannotWrite, match="wheels can't be written"):
        list(_gathered(tmp_path, None, Target(), silent))


def test_a_full_disk_leaves_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "none", tmp_path / "full"], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a tmpfs")
    try:
        with pytest.raises(CannotWrite, match=r"b\.tar can't be written") as caught:
            made(tmp_path / "full/b.tar")
        assert caught.value.cause == "No space left on device"
        assert list((tmp_path / "full").iterdir()) == []
        (tmp_path / "good.tar").write_bytes(made(tmp_path / "good.tar"))
        with pytest.raises(CannotWrite, match=r"image\.tar can't be written"):
            read(tmp_path / "good.tar", tmp_path / "full/image.tar")
    finally:
        subprocess.run(["umount", tmp_path / "full"], check=True)


@given(st.data())
def test_any_damaged_byte_is_refused_or_does_no_harm(good: bytes, data: st.DataObject) -> None:
    """No harm: such as the blank behind the checksum of a tar header, which nobody reads."""
    at = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(1, 255))
    damaged = bytearray(good)
    damaged[at] ^= value
    directory = Path(os.environ.get("TMPDIR", "/tmp")) / f"rtbundle-{os.getpid()}"
    directory.mkdir(exist_ok=True)
    path, image = directory / "b.tar", directory / "image.tar"
    path.write_bytes(damaged)
    try:
        verdict = _verdict(path, image)
        assert verdict in {"taken", "bundle-damaged", "not-a-bundle", "bundle-unsafe", "bundle-too-new"}
        if verdict == "taken":
            assert image.read_bytes() == ARCHIVE
            assert at // 512 * 512 in _headers(good), "what is not a header counts to the last bit"
    finally:
        for one in (path, image):
            one.unlink(missing_ok=True)
        directory.rmdir()


def _verdict(path: Path, image: Path) -> str:
    try:
        found = read(path, image)
    except RegsetupError as error:
        return error.code
    assert found.about.image == INSIDE
    return "taken"


def _headers(content: bytes) -> set[int]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.offset for member in tar}


def test_damage_names_the_file(good: bytes, tmp_path: Path) -> None:
    damaged = good.replace(ARCHIVE, ARCHIVE[:-1] + b"x")
    error = refusal(damaged, tmp_path)
    assert isinstance(error, BundleDamaged)
    assert "image.tar does not have the checksum" in error.message
    assert (
        "bundle.json does not have the checksum"
        in refusal(good.replace(b'"amd64"', b'"arm64"'), tmp_path).message
    )


@pytest.mark.parametrize("keep", [513, 1500, 2500, 6000, -12000])
def test_one_that_is_cut_off_is_refused_and_says_where(good: bytes, tmp_path: Path, keep: int) -> None:
    error = refusal(good[:keep], tmp_path)
    assert isinstance(error, BundleDamaged | NotABundle)
    assert "cut off" in error.message or "missing" in error.message or keep == 513


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("../../etc/passwd", b"x"),
        (f"{KIND}/../../x", b"x"),
        ("/etc/passwd", b"x"),
        ("elsewhere/x", b"x"),
        (f"{KIND}/link", tarfile.SYMTYPE),
        (f"{KIND}/device", tarfile.CHRTYPE),
        (f"{KIND}/unlisted", b"x"),
    ],
)
def test_what_no_bundle_has_is_refused(tmp_path: Path, name: str, entry: bytes) -> None:
    content: bytes | tarfile.TarInfo = entry
    if entry in (tarfile.SYMTYPE, tarfile.CHRTYPE):
        content = tarfile.TarInfo(name)
        content.type, content.linkname = entry, "/etc/passwd"
    error = refusal(a_bundle({name: content}, x=NONE), tmp_path)
    assert isinstance(error, BundleUnsafe)
    assert name.rpartition("/")[2] in error.message


def test_a_long_name_without_its_file_is_damage(tmp_path: Path) -> None:
    named = tarfile.TarInfo(f"{KIND}/{'x' * 150}").tobuf(tarfile.GNU_FORMAT)
    content = a_bundle({}, x=NONE).rstrip(b"\0")
    content += bytes(-len(content) % 512) + named[:-512]
    assert "it is cut off after regsetup-bundle/SHA256SUMS" in refusal(content, tmp_path).message


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    one = hashlib.sha256(b"1").hexdigest()
    two = a_bundle({f"{KIND}/x": b"1"}, x=one)
    with tarfile.open(fileobj=io.BytesIO(two)) as tar:
        last = tar.getmembers()[-1]
    twice = two[: last.offset + 1024] + two[last.offset : last.offset + 1024] + bytes(1024)
    assert isinstance(refusal(twice, tmp_path), BundleUnsafe)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "x is missing" in refusal(a_bundle({}, x=NONE), tmp_path).message
    about = About("0.1.0", None, None).as_json().encode()
    assert "SHA256SUMS is missing" in refusal(a_tar({f"{KIND}/{ABOUT}": about}), tmp_path).message


def test_something_behind_the_end_is_damage(good: bytes, tmp_path: Path) -> None:
    assert "something follows" in refusal(good + b"x", tmp_path).message


@pytest.mark.parametrize(
    ("about", "error"),
    [
        (b"{", BundleDamaged),
        (b"[]", NotABundle),
        (b'{"kind": "other", "version": 1}', NotABundle),
        (json.dumps({"kind": KIND, "version": 2}).encode(), BundleTooNew),
        (json.dumps({"kind": KIND, "version": 1}).encode(), BundleDamaged),
        (
            json.dumps({"kind": KIND, "version": 1, "regsetup": "1", "image": {"a": 1}}).encode(),
            BundleDamaged,
        ),
        (b"x" * (2 << 20), BundleDamaged),
    ],
)
def test_what_the_bundle_says_of_itself_is_checked(tmp_path: Path, about: bytes, error: type) -> None:
    assert isinstance(refusal(a_bundle({}, about), tmp_path), error)


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        (b"", "bundle create"),
        (b"\x1f\x8b" + b"gzip" * 300, "bundle create"),
        (a_tar({"x": b"y"}), "bundle create"),
        (bytes(10240), "bundle create"),
        (ARCHIVE, "--image-archive"),
    ],
)
def test_another_kind_of_file_is_no_bundle(tmp_path: Path, content: bytes, fix: str) -> None:
    error = refusal(content, tmp_path)
    assert isinstance(error, NotABundle)
    assert fix in str(error.fix)


def test_what_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleUnreadable, match="gone"):
        read(tmp_path / "gone")
    with pytest.raises(BundleUnreadable):
        read(tmp_path)


@pytest.mark.parametrize("text", [f"{NONE} x\n", f"{NONE}  x\n{NONE}  x\n", "garbage\n", f"{NONE}  x y\n"])
def test_only_lines_of_sha256sum_are_checksums(text: str) -> None:
    assert parse_sums(Path("b"), sums_text({"a/b.whl": NONE})) == {"a/b.whl": NONE}
    with pytest.raises(BundleDamaged, match="is not a checksum"):
        parse_sums(Path("b"), text)


def test_a_target_tells_python_and_machine() -> None:
    here = "{}.{}".format(*sys.version_info[:2])
    assert Target().inside == WheelsInside(here, platform.machine())
    assert Target().options == ("--only-binary=:all:",)
    other = Target(("manylinux2014_aarch64", "manylinux_2_34_aarch64"), "3.12")
    assert other.inside == WheelsInside("3.12", "aarch64")
    assert " ".join(other.options) == (
        "--only-binary=:all: --platform manylinux2014_aarch64 --platform manylinux_2_34_aarch64 "
        "--python-version 3.12 --implementation cp"
    )


def test_a_wheel_is_made_again_of_what_pip_installed(tmp_path: Path) -> None:
    installed = importlib.metadata.distribution("typer")
    wheel = packed(installed, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert "typer/main.py" in names
    assert not [
        name for name in names if name.endswith((".pyc", "INSTALLER", "direct_url.json")) or ".." in name
    ]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    subprocess.run([*command, tmp_path / "there", wheel], check=True, capture_output=True)
    assert (tmp_path / "there/typer/main.py").exists()
    assert (tmp_path / "there/bin/typer").exists(), "programs are made anew"


# The installer, as far as it comes without wheels.


@pytest.fixture
def installer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run install.sh in a directory of its own, with the test's own programs before the machine's."""
    place, programs = tmp_path / KIND, tmp_path / "programs"
    (place / "wheels").mkdir(parents=True)
    programs.mkdir()
    text = render("install.sh.j2", {"version": "9.9", "python": "3.1", "machine": platform.machine()})
    (place / "install.sh").write_text(text)
    (place / SUMS).write_text(sums_text({"install.sh": hashlib.sha256(text.encode()).hexdigest()}))

    def run(*words: str, **scripts: str) -> subprocess.CompletedProcess[str]:
        for name, script in scripts.items():
            (programs / name.replace("_", ".")).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name.replace("_", ".")).chmod(0o755)
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
        options = ["--prefix", str(tmp_path / "prefix"), "--bin", str(tmp_path / "bin")]
        command = ["sh", str(place / "install.sh"), *(words or options)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_installer_is_clean_and_helps(
    installer: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    subprocess.run([need("shellcheck"), tmp_path / KIND / "install.sh"], check=True)
    done = installer("--help")
    assert done.returncode == 0
    assert "--prefix" in done.stdout
    assert "unknown option --nonsense" in installer("--nonsense").stderr
    assert "--bin needs a directory" in installer("--bin").stderr


def test_the_installer_refuses_what_is_damaged(
    installer: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with (tmp_path / KIND / "install.sh").open("a") as file:
        file.write("# one line more\n")
    done = installer()
    assert done.returncode == 1
    assert "cause install.sh: FAILED" in done.stderr
    assert not (tmp_path / "prefix").exists()


def test_the_installer_refuses_another_machine_and_another_python(
    installer: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = installer(uname="echo pdp11")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"this bundle is for {platform.machine()}, and this machine is pdp11" in done.stderr
    (tmp_path / "programs/uname").unlink()
    done = installer(python3="echo 3.99")
    assert done.returncode == 1
    assert "are for Python 3.1, and none is here" in done.stderr
    assert "python3 is 3.99" in done.stderr
    assert not (tmp_path / "prefix").exists()


def test_the_installer_leaves_nothing_when_it_fails_and_nobodys_program_is_replaced(
    installer: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    works = 'case $1 in -c) echo 3.1 ;; -m) mkdir -p "$4/bin" ;; esac'
    done = installer(python3_1=works)
    assert done.returncode == 1
    assert "pip could not install the wheels" in done.stderr
    assert list((tmp_path / "prefix").iterdir()) == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/regsetup").write_text("somebody's")
    assert "is there already" in installer(python3_1=works).stderr
    (tmp_path / "bin/regsetup").unlink()
    (tmp_path / "bin/regsetup").symlink_to("/opt/other/regsetup")
    assert "leads to /opt/other/regsetup" in installer(python3_1=works).stderr
    assert (tmp_path / "bin/regsetup").readlink() == Path("/opt/other/regsetup")
