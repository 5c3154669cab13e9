"""Archives as files by name: what is refused, and that any bytes are read or refused with a reason."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite
from regsetup.image import docker_archive, layout
from regsetup.image.archive import Archive, UnsafeArchive
from regsetup.image.docker_archive import identity
from regsetup.image.document import BadManifest, Part
from regsetup.image.files import CannotRead, DamagedImage, Directory, NoImage, read_small
from regsetup.image.layout import NoSuchImage, pick
from regsetup.reference import Digest
from tests.bed.images import image_archive, tar_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def tar(*members: tarfile.TarInfo, content: bytes = b"x" * 10) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return target.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def opened(path: Path, content: bytes) -> Archive:
    path.write_bytes(content)
    return Archive.at(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([member("/etc/passwd")], "leads outside"),
        ([member("../x")], "leads outside"),
        ([member("a/../../x")], "leads outside"),
        ([member("a"), member("a")], "two files named 'a'"),
        ([member("a"), member("./b/../a")], "two files named 'a'"),
        ([member("a"), member("a", tarfile.SYMTYPE, "b")], "two files named 'a'"),
        ([member("a", tarfile.SYMTYPE, "/etc/shadow")], "outside"),
        ([member("a/b", tarfile.SYMTYPE, "../../x")], "leads outside"),
        ([member("a/b", tarfile.LNKTYPE, "../x")], "leads outside"),
        ([member("null", tarfile.CHRTYPE)], "neither file, directory nor link"),
        ([member("disk", tarfile.BLKTYPE)], "neither file, directory nor link"),
        ([member("pipe", tarfile.FIFOTYPE)], "neither file, directory nor link"),
    ],
)
def test_what_no_honest_tool_writes_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], reason: str
) -> None:
    with pytest.raises(UnsafeArchive, match=reason):
        opened(tmp_path / "bad.tar", tar(member("good"), *members))


def test_links_within_are_followed_once(tmp_path: Path) -> None:
    content = tar(
        member("a/layer.tar"),
        member("b/layer.tar", tarfile.SYMTYPE, "../a/layer.tar"),
        member("c/layer.tar", tarfile.LNKTYPE, "a/layer.tar"),
        member("d/layer.tar", tarfile.SYMTYPE, "../b/layer.tar"),
        member("e", tarfile.SYMTYPE, "e"),
        member("a", tarfile.DIRTYPE),
    )
    with opened(tmp_path / "a.tar", content) as archive:
        for name in ("a/layer.tar", "./b/layer.tar", "c/layer.tar"):
            assert read_small(archive, name, 100) == b"x" * 10
        assert [archive.size(name) for name in ("d/layer.tar", "e", "a", "nothing")] == [None] * 4
        with pytest.raises(NoImage, match="no image"):
            archive.open("d/layer.tar")
        with pytest.raises(NoImage) as caught:
            read_small(archive, "a/layer.tar", 9)
        assert "10 bytes, more than 9" in str(caught.value.cause)


def in_two_frames(content: bytes) -> bytes:
    half = len(content) // 2
    return zstandard.compress(content[:half]) + zstandard.compress(content[half:])


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress, in_two_frames]
)
def test_compressed_archives_are_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with opened(tmp_path / "a.tar.x", pack(tar(member("good")))) as archive:
        assert read_small(archive, "good", 100) == b"x" * 10
        with archive.open("good") as file:
            assert (file.seek(-3, os.SEEK_END), file.read(), file.tell()) == (7, b"xxx", 10)
            assert (file.seek(2), file.read(3), file.seek(1, os.SEEK_CUR)) == (2, b"xxx", 6)
            assert file.readable()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_compressed_archive_that_is_cut_is_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(os.urandom(100_000))
    with pytest.raises(DamagedImage, match="is damaged"):
        opened(tmp_path / "a.tar.x", whole[:-50])


def test_what_is_no_archive_is_told_from_what_cannot_be_read(tmp_path: Path) -> None:
    for content in (b"", b"hello", os.urandom(2000)):
        with pytest.raises(NoImage):
            opened(tmp_path / "a", content)
    for magic in (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"BZh"):
        with pytest.raises(DamagedImage):
            opened(tmp_path / "a", magic + b"x" * 600)
    with pytest.raises(CannotRead, match="can't be read"):
        Archive.at(tmp_path / "nothing")
    with pytest.raises(CannotRead):
        Archive.at(tmp_path)
    with opened(tmp_path / "cut.tar", tar(member("a"), member("b"))) as archive:
        (tmp_path / "cut.tar").write_bytes(b"")
        with archive.open("b") as file, pytest.raises(DamagedImage):
            file.read()


def test_an_archive_that_ends_early_is_damaged_or_none(tmp_path: Path) -> None:
    content = tar(member("a"), member("b"), content=b"x" * 5000)
    with pytest.raises(DamagedImage) as caught:
        opened(tmp_path / "a.tar", content[: 512 + 5120 + 512 + 4000])
    assert "in the middle of b" in str(caught.value.cause)


def test_a_header_of_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 31)
    with pytest.raises(UnsafeArchive, match="a header of 1073741824 bytes"):
        Archive.at(path)


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    sparse = tarfile.TarInfo("a")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(UnsafeArchive):
        opened(tmp_path / "a.tar", sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_a_pipe_with_a_name_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(tar(member("good"))))
    writer.start()
    with Archive.at(pipe) as archive:
        assert read_small(archive, "good", 10) == b"x" * 10
    writer.join()


def test_no_space_to_decompress_is_told(tmp_path: Path) -> None:
    """A limit on the length of files stands for the full disk; Python ignores its signal."""
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(os.urandom(3 << 20)))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(CannotWrite, match="can't be written"):
            Archive.at(tmp_path / "a.tar.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=600), st.integers(0, 3000), st.binary(max_size=8))
def test_any_bytes_are_read_or_refused(tmp_path: Path, head: bytes, at: int, change: bytes) -> None:
    good = bytearray(image_archive("a:1", [tar_of({"f": b"x"})]))
    good[at : at + len(change)] = change
    for content in (head, bytes(good)):
        try:
            with opened(tmp_path / "a.tar", content) as archive:
                for entry in docker_archive.entries(archive):
                    docker_archive.read(archive, entry)
        except RegsetupError as error:
            assert error.cause  # noqa: PT017  any refusal will do, with a reason


# What is in them


def made(path: Path, files: dict[str, bytes]) -> Directory:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return Directory(path)


CONFIG = json.dumps({"rootfs": {"diff_ids": [f"sha256:{'0' * 64}"]}}).encode()


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"{}", "no list of images"),
        (b"[1]", "no list of images"),
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'[{"Config": 1, "Layers": []}]', "no Config and Layers"),
        (b'[{"Config": "gone", "Layers": []}]', "has no gone"),
        (b'[{"Config": "c", "Layers": []}]', "not for 0 layers"),
        (b'[{"Config": "c", "Layers": ["gone"]}]', "has no gone"),
        (b'[{"Config": "d", "Layers": ["l"]}]', "not a digest"),
        (b'[{"Config": "e", "Layers": ["l"]}]', "not for 1 layers"),
    ],
)
def test_a_docker_archive_that_is_wrong_says_where(tmp_path: Path, manifest: bytes, reason: str) -> None:
    bad = CONFIG.replace(b"sha256:", b"sha255:")
    files = made(
        tmp_path, {"manifest.json": manifest, "c": CONFIG, "d": bad, "e": b'{"rootfs": 1}', "l": b""}
    )
    with pytest.raises((NoImage, DamagedImage)) as caught:
        docker_archive.read(files, docker_archive.entries(files)[0])
    assert reason in str(caught.value.cause)


@pytest.mark.parametrize(
    ("index", "mark", "kind"),
    [
        (b"{}", b'{"imageLayoutVersion": "1.0.0"}', BadManifest),
        (b'{"manifests": [{}]}', b'{"imageLayoutVersion": "1.0.0"}', BadManifest),
        (b'{"manifests": []}', b'{"imageLayoutVersion": "2.0.0"}', NoImage),
        (b'{"manifests": []}', b"{}", NoImage),
        (b'{"manifests": []}', b"1.0.0", BadManifest),
    ],
)
def test_a_layout_that_is_wrong_is_refused(
    tmp_path: Path, index: bytes, mark: bytes, kind: type[RegsetupError]
) -> None:
    with pytest.raises(kind):
        layout.images(made(tmp_path, {"index.json": index, "oci-layout": mark}))


def test_content_of_a_layout_is_compared_with_its_descriptor(tmp_path: Path) -> None:
    digest = Digest.of(b"right")
    files = made(tmp_path, {layout.blob_name(digest): b"wrong"})
    part = Part(digest, 5, "x")
    with pytest.raises(DamagedImage):
        layout.verify(files, part)
    with pytest.raises(DamagedImage):
        layout.read_document(files, part)
    with pytest.raises(DamagedImage):
        layout.open_part(files, Part(digest, 6, "x"))
    for call in (layout.read_document, layout.open_part):
        with pytest.raises(DamagedImage) as caught:
            call(files, Part(Digest.of(b"gone"), 4, "x"))
        assert "is missing" in str(caught.value.cause)


def test_a_directory_has_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with Directory(tmp_path) as files:
        assert [files.size(name) for name in ("pipe", ".", "gone", "pipe/x")] == [None] * 4
        with pytest.raises(NoImage, match="no image"):
            files.open("pipe")
        with pytest.raises(CannotRead):
            files.open("gone")
        with pytest.raises(CannotRead):
            files.size("loop")


IDS = [str(Digest.of(name)) for name in (b"1", b"2", b"3", b"4")]
NAMES = [["reg:5000/team/app:1", "1"], ["reg:5000/team/app:2", "2"], ["docker.io/library/web:latest"], []]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("reg:5000/team/app:1", 0),
        ("team/app:2", 1),
        ("app:2", 1),
        ("2", 1),
        ("web", 2),
        ("library/web", 2),
        ("web:latest", 2),
    ],
)
def test_an_image_is_found_by_any_part_of_its_name(wanted: str, number: int) -> None:
    assert pick("a", NAMES, IDS, wanted) == number


@pytest.mark.parametrize("wanted", ["app", "pp:1", "app:3", "", None])
def test_a_name_of_none_or_several_is_refused_with_those_that_are_there(wanted: str | None) -> None:
    with pytest.raises(NoSuchImage) as caught:
        pick("a.tar", NAMES, IDS, wanted)
    assert "reg:5000/team/app:1" in str(caught.value.cause)
    assert pick("a.tar", NAMES[3:], IDS[3:], None) == 0
    with pytest.raises(NoSuchImage, match="holds no image"):
        pick("a.tar", [], [], None)


def test_images_without_names_are_told_apart_by_digest() -> None:
    assert pick("a.tar", [[], []], IDS[:2], IDS[1]) == 1
    with pytest.raises(NoSuchImage) as caught:
        pick("a.tar", [[], []], IDS[:2], None)
    assert caught.value.fix == f"--image {IDS[0]}"


@pytest.mark.parametrize("config", [f"{'a' * 64}.json", f"blobs/sha256/{'a' * 64}", f"sha256:{'a' * 64}"])
def test_an_archive_names_the_configuration_by_the_image_s_id(config: str) -> None:
    assert identity({"Config": config}) == f"sha256:{'a' * 64}"
    assert identity({"Config": "config.json"}) == identity({}) == ""
