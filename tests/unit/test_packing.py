"""Layers on their way to a registry: gzip that every tool unpacks to the same bytes, and its descriptor."""

from __future__ import annotations

import gzip
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regsetup.image.docker_archive import ArchiveImage, ArchiveLayer
from regsetup.image.document import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, parse
from regsetup.image.files import DamagedImage, Directory, NoImage
from regsetup.image.packing import packed, with_zlib
from regsetup.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pack(place: Path, content: bytes, *, compress: bool, diff_id: Digest | None = None) -> tuple[str, bytes]:
    (place / "layer").write_bytes(content)
    layer = ArchiveLayer("layer", len(content), diff_id or Digest.of(content))
    told: list[int] = []
    with packed(Directory(place), layer, told.append, compress=compress) as made:
        made.content.seek(0)
        body = made.content.read()
        assert (made.part.digest, made.part.size) == (Digest.of(body), len(body))
    assert sum(told) == len(content)
    return made.part.media_type, body


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.binary(max_size=2000), st.integers(0, 3000), st.binary(max_size=5))
def test_what_is_packed_unpacks_to_the_same(tmp_path: Path, dense: bytes, times: int, text: bytes) -> None:
    content = b"tar" + dense + text * times
    kind, body = pack(tmp_path, content, compress=True)
    assert (kind, gzip.decompress(body)) == (OCI_LAYER_GZIP, content)
    assert pack(tmp_path, content, compress=True)[1] == body, (
        "the same bytes each time: a registry has it then"
    )
    assert pack(tmp_path, content, compress=False) == (OCI_LAYER, content)


@pytest.mark.parametrize("content", [b"", b"a tar " * 100_000, os.urandom(1 << 20)])
def test_without_the_fast_compressor_zlib_makes_as_much_of_it(content: bytes) -> None:
    body = with_zlib(content)
    assert gzip.decompress(body) == content
    assert len(body) < len(content) * 1.001 + 100
    assert with_zlib(content) == body


def test_several_pieces_are_one_file_for_gzip_itself(tmp_path: Path) -> None:
    content = b"a tar " * 500_000
    _, body = pack(tmp_path, content, compress=True)
    assert len(body) < len(content) // 50
    assert subprocess.run(["gzip", "-dc"], input=body, capture_output=True, check=True).stdout == content


def test_nothing_is_packed_as_an_empty_stream(tmp_path: Path) -> None:
    assert gzip.decompress(pack(tmp_path, b"", compress=True)[1]) == b""


def test_what_is_packed_already_stays(tmp_path: Path) -> None:
    body = gzip.compress(b"a tar")
    assert pack(tmp_path, body, compress=True, diff_id=Digest.of(b"a tar")) == (OCI_LAYER_GZIP, body)
    body = zstandard.compress(b"a tar")
    assert pack(tmp_path, body, compress=True, diff_id=Digest.of(b"a tar")) == (OCI_LAYER_ZSTD, body)
    for magic in (b"BZh", b"\xfd7zXZ"):
        with pytest.raises(NoImage, match="no image"):
            pack(tmp_path, magic + b"x", compress=True)


@pytest.mark.parametrize("compress", [True, False])
def test_another_layer_than_the_configuration_s_is_refused(tmp_path: Path, compress: bool) -> None:
    with pytest.raises(DamagedImage, match="is damaged"):
        pack(tmp_path, b"a tar", compress=compress, diff_id=Digest.of(b"another"))


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.compress])
def test_a_compressed_layer_is_compared_with_the_configuration_too(
    tmp_path: Path, squeeze: Callable[[bytes], bytes]
) -> None:
    """Else what no engine can unpack would be pushed, and said to be well."""
    content = os.urandom(3 << 20)
    whole = squeeze(content)
    assert pack(tmp_path, whole, compress=True, diff_id=Digest.of(content, "sha512"))[1] == whole
    for wrong in (squeeze(content + b"x"), whole[:-20], whole[:1000] + b"xxxx" + whole[1004:]):
        with pytest.raises(DamagedImage, match="is damaged"):
            pack(tmp_path, wrong, compress=True, diff_id=Digest.of(content))


def test_a_manifest_is_made_of_configuration_and_layers(tmp_path: Path) -> None:
    image = ArchiveImage(("app:1",), b"{}", ())
    document = parse(image.manifest([image.config_part]), "", "app")
    assert [blob.digest for blob in document.blobs] == [Digest.of(b"{}")] * 2
