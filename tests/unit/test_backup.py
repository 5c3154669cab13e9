"""Backups as files: what goes in comes out, and whatever was changed on the way is named and refused."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from regsetup.backup import format as form
from regsetup.backup import make
from regsetup.backup.archive import ArchiveWriter, ChangedMeanwhile, is_packed
from regsetup.backup.behind import WORTH_A_THREAD, Behind
from regsetup.backup.format import END, HEADER, TREE, BackupDamaged, BackupUnsafe
from regsetup.backup.new_file import new_file
from regsetup.backup.reading import opened
from regsetup.backup.repository import NewestUnreadable, NoSuchBackup, NotBackups, Repository
from regsetup.backup.restore import check
from regsetup.backup.sources import ContainerSource
from regsetup.backup.survey import PIECE, DirectorySource, Part, take
from regsetup.backup.swap import STAGED
from regsetup.backup.target import BackupInData, TargetTaken
from regsetup.backup.unpack import into_directory
from regsetup.backup.verified import look
from regsetup.deployment import Deployment, Directory, Paths
from regsetup.errors import RegsetupError
from regsetup.host.files import CannotWrite
from regsetup.reference import Digest
from regsetup.registry.disk.layout import Layout
from regsetup.registry.scrub import scrub
from tests.bed.run import need, wait_for
from tests.bed.stored import store_blob, store_image, tree, write
from tests.registry.harness import DockerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regsetup.backup.make import Made
    from regsetup.backup.survey import Blob, Source

RAW = os.urandom(200_000)  # zstd stores it as it is, so its bytes can be found in the file


def silent(done: int, total: int | None) -> None:
    """Take progress; it never passes the end."""
    assert total is None or done <= total


@dataclass
class Kept:
    """A registry's files, and backups of them."""

    place: Path
    name: str = "registry"

    @property
    def root(self) -> Path:
        return self.place / "data"

    @property
    def paths(self) -> Paths:
        return Paths(self.place / "home", self.name)

    def backup(
        self, target: str, source: Source | None = None, keep: int | None = None, *, verify: bool = False
    ) -> Made:
        wanted = Deployment(self.name, Directory(self.root), hosts=("here",))
        return make.backup(
            wanted, self.paths, "embedded", source or DirectorySource(self.root),
            str(self.place / target) + ("/" if target.endswith("/") else ""), keep=keep, verify=verify,
            told=silent,
        )  # fmt: skip

    def unpacked(self, path: Path) -> Path:
        target = self.place / f"restored-{len(list(self.place.iterdir()))}"
        target.mkdir()
        with opened(path) as reader:
            into_directory(reader, target, silent)
        return target / STAGED


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path)
    store_image(kept.root, "team/app", "1.0", RAW, b"a layer")
    store_image(kept.root, "team/app", "2.0", b"a layer", b"another")
    store_image(kept.root, "other", "latest", b"a layer")
    store_blob(kept.root, "other", b"long", "sha512")
    for name, content in {"deployment.yaml": "port: 5000\n", "auth/htpasswd": "alice:x\n"}.items():
        write(str(kept.paths.root / name), content.encode())
    return kept


def test_what_goes_in_comes_out(kept: Kept) -> None:
    made = kept.backup("b.tar.zst")
    assert (made.header.tags, made.damaged, made.kept) == (3, (), 0)
    assert made.path.stat().st_mode & 0o777 == 0o600
    restored = kept.unpacked(made.path)
    assert tree(restored) == tree(kept.root)
    assert scrub(restored, lambda done, total: None).damaged == []
    done = check(made.path, silent)
    assert done.unpacked.settings == {"deployment.yaml": b"port: 5000\n", "auth/htpasswd": b"alice:x\n"}
    assert done.unpacked.blobs == made.blobs


@pytest.mark.parametrize("target", ["b.tar.zst", "many/"])
@pytest.mark.parametrize("packed", [True, False], ids=["compressed already", "one can be compressed"])
def test_layers_of_many_pieces_come_out_as_they_are(tmp_path: Path, target: str, packed: bool) -> None:
    kept = Kept(tmp_path)
    kept.paths.root.mkdir(parents=True)
    layers = [os.urandom(size) for size in (9 * PIECE + 1, 4 * PIECE, PIECE - 1)]
    layers += [] if packed else [os.urandom(100) * 90_000]
    store_image(kept.root, "team/app", "1.0", *layers)
    assert is_packed(layer[:PIECE] for layer in layers) is packed
    made = kept.backup(target)
    assert made.damaged == ()
    assert tree(kept.unpacked(made.path)) == tree(kept.root)


def test_work_behind_keeps_its_order_and_tells_what_went_wrong() -> None:
    done: list[bytes] = []
    pieces = [bytes([number]) * WORTH_A_THREAD for number in range(20)]

    def write(piece: bytes | memoryview) -> None:
        if bytes(piece) in done:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(bytes(piece))

    with Behind() as behind:
        for piece in (*pieces, b"small"):
            behind.do(write, piece)
        behind.wait()
        assert done == [*pieces, b"small"]
        behind.do(write, pieces[0])
        with pytest.raises(OSError, match="No space left"):
            behind.wait()


def test_small_files_are_gathered_and_stand_in_their_order() -> None:
    out, files = io.BytesIO(), {f"{number}": os.urandom(100_000) for number in range(25)}
    with ArchiveWriter(out, lambda count: None) as archive:
        for name, content in files.items():
            archive.add(name, content)
        archive.finish()
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(out.getvalue())
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = {one.name: file.read() for one in tar if (file := tar.extractfile(one))}
    assert [*found][:-1] == [*files]
    assert found.items() >= files.items()


@dataclass(frozen=True)
class Changing(DirectorySource):
    """A directory whose blobs have another length when they are read than before."""

    by: int

    def blobs(self, digests: frozenset[Digest]) -> Iterator[Blob]:
        for blob in super().blobs(digests):
            yield replace(blob, size=blob.size + self.by)


@pytest.mark.parametrize("by", [1, -1])
def test_a_blob_that_changes_while_it_is_read_is_told(kept: Kept, by: int) -> None:
    with pytest.raises(ChangedMeanwhile, match="changed while it was read"):
        kept.backup("b.tar.zst", Changing(kept.root, by))
    assert not list(kept.place.glob("*b.tar.zst*"))


def test_the_tools_of_the_system_open_it(kept: Kept) -> None:
    made = kept.backup("b.tar.zst")
    need("zstd")
    listed = subprocess.run(["tar", "--zstd", "-tf", made.path], capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert (names[0], names[-1].startswith("digests-")) == (HEADER, True)
    blobs = [at for at, name in enumerate(names) if "/blobs/" in name]
    links = [at for at, name in enumerate(names) if "/repositories/" in name]
    assert max(links) < min(blobs), "links are read and written before the blobs that they name"


def test_long_names_and_an_empty_registry_have_a_place(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.paths.root.mkdir(parents=True)
    assert kept.backup("empty.tar.zst").blobs == 0
    store_image(kept.root, "/".join(["component"] * 20), "t" * 128, b"x")
    made = kept.backup("long.tar.zst")
    assert tree(kept.unpacked(made.path)) == tree(kept.root)


def test_uploads_and_what_nobody_links_to_stay_outside(kept: Kept) -> None:
    before = tree(kept.root)
    write(f"{Layout(kept.root).uploads('other')}/0/data", b"half")
    write(Layout(kept.root).blob(Digest.of(b"loose")), b"loose")
    write(str(kept.root / "docker/registry/v2/repositories/other/_manifests/tags/x/current/link"), b"")
    made = kept.backup("b.tar.zst")
    assert tree(kept.unpacked(made.path)) == before
    assert made.damaged == ("other/_manifests/tags/x/current/link is no link",)


def test_what_is_damaged_in_the_registry_is_named_and_the_rest_is_kept(kept: Kept) -> None:
    gone, bad = Digest.of(b"another"), Digest.of(b"a layer")
    Path(Layout(kept.root).blob(gone)).unlink()
    write(Layout(kept.root).blob(bad), b"a rayel")
    for target in ("b.tar.zst", "many/"):
        made = kept.backup(target)
        assert made.damaged == (form.blob_path(bad), f"{gone} is missing")
        restored = tree(kept.unpacked(made.path))
        assert form.blob_path(bad).removeprefix("data/") not in restored
        assert len(restored) == len(tree(kept.root)) - 1


# Consistency: what others do while it is read.


@dataclass(frozen=True)
class Busy(DirectorySource):
    """A directory in which something happens before each part is read for the first time."""

    before: dict[Part | None, Callable[[], object]]

    def links(self, part: Part) -> Iterator[tuple[str, bytes]]:
        self.before.pop(part, lambda: None)()
        yield from super().links(part)

    def blobs(self, digests: frozenset[Digest]) -> Iterator[Blob]:
        self.before.pop(None, lambda: None)()
        yield from super().blobs(digests)


MOMENTS = [Part.TAGS, Part.REVISIONS, Part.LAYERS, None]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_push_meanwhile_is_in_or_out_as_a_whole(kept: Kept, moment: Part | None) -> None:
    def push() -> None:
        store_image(kept.root, "team/app", "1.0", b"new layer")
        store_image(kept.root, "new", "1", b"newest layer")

    made = kept.backup("b.tar.zst", Busy(kept.root, {moment: push}))
    restored = kept.unpacked(made.path)
    assert scrub(restored, lambda done, total: None).damaged == []
    tags = {path for path in tree(restored) if path.endswith("current/link")}
    assert any("/new/" in path for path in tags) is (moment is Part.TAGS)
    link = "docker/registry/v2/repositories/team/app/_manifests/tags/1.0/current/link"
    assert link in tags, "a tag that moves is there before and after"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_delete_meanwhile_leaves_no_tag_that_leads_nowhere(kept: Kept, moment: Part | None) -> None:
    places = Layout(kept.root)
    digest = Digest.parse(Path(places.tag_link("other", "latest")).read_text())

    def delete() -> None:
        Path(places.tag_link("other", "latest")).unlink()
        Path(places.revision_link("other", digest)).unlink()

    made = kept.backup("b.tar.zst", Busy(kept.root, {moment: delete}))
    assert scrub(kept.unpacked(made.path), lambda done, total: None).damaged == []


def test_a_tag_that_is_just_being_made_is_no_tag(kept: Kept) -> None:
    Path(Layout(kept.root).tag_link("other", "latest")).unlink()
    made = kept.backup("b.tar.zst")
    assert made.header.tags == 2
    assert scrub(kept.unpacked(made.path), lambda done, total: None).damaged == []


def test_a_link_that_is_being_written_is_read_again(kept: Kept, tmp_path: Path) -> None:
    link = Path(Layout(kept.root).tag_link("other", "latest"))
    content = link.read_bytes()
    link.unlink()
    os.mkfifo(link)  # the reader gets what is written, and later the file

    def fill() -> None:
        with link.open("wb") as pipe:
            link.unlink()
            link.write_bytes(content)
            pipe.write(content[:10])

    import threading

    writer = threading.Thread(target=fill)
    writer.start()
    picture = take(DirectorySource(kept.root))
    writer.join()
    assert (picture.tags, picture.unreadable) == (3, [])


@pytest.mark.slow
def test_backups_beside_pushes_and_deletes_are_whole(tmp_path: Path) -> None:
    import threading
    from uuid import uuid4

    need("docker-registry")
    kept = Kept(tmp_path)
    kept.paths.root.mkdir(parents=True)
    kept.root.mkdir()
    stop = threading.Event()
    pushed = 0

    def push(registry: DockerRegistry) -> None:
        nonlocal pushed
        with registry.client() as client:
            while not stop.is_set():
                tag = f"t{pushed % 3}"
                digest, _ = client.push_image("app", tag, (uuid4().bytes,), config=uuid4().bytes)
                if pushed % 4 == 3:
                    client.ask("DELETE", f"/v2/app/manifests/{digest}")
                pushed += 1

    with DockerRegistry.start(kept.root) as registry:
        worker = threading.Thread(target=push, args=(registry,))
        worker.start()
        try:
            made: list[Made] = []
            while pushed < 30:
                seen = pushed
                made.append(kept.backup(f"b{seen}.tar.zst"))
                wait_for("another push", lambda seen=seen: pushed > seen)  # type: ignore[misc]
        finally:
            stop.set()
            worker.join()
    assert len(made) > 5
    for one in made:
        assert one.damaged == ()
        assert scrub(kept.unpacked(one.path), lambda done, total: None).damaged == []


# Through an engine: a tar stream, as `docker cp` gives it.


def as_engine(root: Path) -> ContainerSource:
    def stream(path: str) -> Iterator[bytes]:
        if not (root / path).exists():
            return
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(root / path, Path(path).name)
        content = packed.getvalue()
        yield from (content[at : at + 10_000] for at in range(0, len(content), 10_000))

    return ContainerSource(stream)


@pytest.mark.parametrize("target", ["b.tar.zst", "many/"])
def test_the_engine_shows_the_same(kept: Kept, target: str) -> None:
    write(str(kept.root / "scheduler-state.json"), b"{}")
    made = kept.backup(target, as_engine(kept.root))
    assert made.header.size is None
    restored = kept.unpacked(made.path)
    assert tree(restored) == tree(kept.root)
    assert (restored / "scheduler-state.json").read_bytes() == b"{}"
    if target == "many/":
        assert kept.backup(target, as_engine(kept.root)).kept > len(RAW)


@pytest.mark.parametrize("part", ["repositories", "blobs"])
@pytest.mark.parametrize("where", ["at a header", "in a header", "in a file", "before the end"])
def test_an_engine_that_goes_away_in_the_middle_is_told(kept: Kept, part: str, where: str) -> None:
    whole = as_engine(kept.root)

    def stream(path: str) -> Iterator[bytes]:
        content = b"".join(whole.stream(path))
        if path.endswith(part):
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                last = [one for one in tar if one.isreg()][-1]
                end = tar.offset
            cuts = {
                "at a header": last.offset,
                "in a header": last.offset + 100,
                "in a file": last.offset_data + 1,
                "before the end": end,
            }
            content = content[: cuts[where]]
        yield content

    with pytest.raises(RegsetupError, match="can't be read") as caught:
        kept.backup("b.tar.zst", ContainerSource(stream))
    assert "ended too early" in str(caught.value.cause)
    assert not (kept.place / "b.tar.zst").exists()


def test_an_engine_that_sends_a_damaged_header_is_told(kept: Kept) -> None:
    whole = as_engine(kept.root)

    def stream(path: str) -> Iterator[bytes]:
        content = bytearray(b"".join(whole.stream(path)))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            content[tar.getmembers()[-1].offset] ^= 1
        yield bytes(content)

    with pytest.raises(RegsetupError, match="can't be read") as caught:
        kept.backup("b.tar.zst", ContainerSource(stream))
    assert "bad checksum" in str(caught.value.cause)
    assert not (kept.place / "b.tar.zst").exists()


# A directory of backups.


def test_a_second_backup_into_a_directory_writes_only_what_is_new(kept: Kept) -> None:
    first = kept.backup("many/")
    assert first.size > len(RAW)
    second = kept.backup("many/")
    assert second.size < 5_000
    assert second.kept == sum(len(one) for path, one in tree(kept.root).items() if "/blobs/" in path)
    store_image(kept.root, "team/app", "3.0", b"z" * 50_000)
    third = kept.backup("many/")
    assert 50_000 < third.size < 60_000
    repository = Repository(kept.place / "many")
    assert [one.path for one in repository.all()] == [first.path, second.path, third.path]
    assert tree(kept.unpacked(third.path)) == tree(kept.root)
    assert "3.0" not in str(tree(kept.unpacked(first.path)).keys())
    assert repository.newest(None) == third.path
    assert repository.find(first.header.id) == first.path


def test_keep_removes_what_is_old_and_what_nobody_needs(kept: Kept) -> None:
    first = kept.backup("many/")
    objects = kept.place / "many/objects"
    Path(Layout(kept.root).tag_link("team/app", "1.0")).unlink()
    digest = next(
        Digest.parse(path.read_text())
        for path in kept.root.glob("**/team/app/_manifests/tags/1.0/index/*/*/link")
    )
    Path(Layout(kept.root).revision_link("team/app", digest)).unlink()
    Path(Layout(kept.root).layer_link("team/app", Digest.of(RAW))).unlink()
    second = kept.backup("many/", keep=1)
    assert second.removed == (first.header.id,)
    assert not list(objects.glob(f"*/{Digest.of(RAW).hex}"))
    assert scrub(kept.unpacked(second.path), lambda done, total: None).damaged == []


def test_keep_frees_what_an_earlier_keep_was_killed_over_although_no_backup_goes_now(kept: Kept) -> None:
    kept.backup("many/")
    needed = tree(kept.place / "many/objects")
    orphan = kept.place / f"many/objects/ab/ab{'0' * 62}"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"of a backup that was removed")
    kept.backup("many/")
    assert orphan.exists(), "without --keep nothing is removed"
    made = kept.backup("many/", keep=5)
    assert made.removed == ()
    assert not orphan.exists()
    assert tree(kept.place / "many/objects") == needed
    check(made.path, silent)


def test_keep_deletes_no_blob_while_a_backup_can_not_be_read(kept: Kept) -> None:
    first = kept.backup("many/")
    (first.path.parent / "broken.tar.zst").write_bytes(b"?")
    kept.backup("many/", keep=1)
    assert list((kept.place / "many/objects").glob(f"*/{Digest.of(RAW).hex}"))
    assert [one.id for one in Repository(kept.place / "many").all() if one.problem] == ["broken"]


def test_a_damaged_or_missing_object_is_named(kept: Kept) -> None:
    made = kept.backup("many/")
    (place,) = (kept.place / "many/objects").glob(f"*/{Digest.of(RAW).hex}")
    content = bytearray(place.read_bytes())
    content[1000] ^= 1
    place.write_bytes(content)
    with pytest.raises(BackupDamaged, match=place.name):
        check(made.path, silent)
    place.unlink()
    with pytest.raises(BackupDamaged, match=place.name):
        check(made.path, silent)
    kept.backup("many/")  # writes again what is not there
    check(made.path, silent)


def damage(place: Path, at: int = 0, bit: int = 0x10) -> None:
    """Change one byte in its place; the length stays."""
    with place.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ bit]))


def decay(directory: Path, place: Path) -> None:
    """Damage a blob as a disk does, whose files look as before: what was noted of it fits it now."""
    damage(place, 1000)
    noted = directory / "verified.json"
    noted.write_text(json.dumps({**json.loads(noted.read_text()), place.name: look(place)}))
    os.utime(noted, (noted.stat().st_mtime + 60,) * 2)


def object_of(directory: Path, content: bytes) -> Path:
    (place,) = (directory / "objects").glob(f"*/{Digest.of(content).hex}")
    return place


def test_what_was_damaged_to_the_same_length_is_healed_by_the_next_backup(kept: Kept) -> None:
    first = kept.backup("many/")
    place = object_of(kept.place / "many", RAW)
    damage(place, 1000)
    os.utime(place, (0, 0))
    with pytest.raises(BackupDamaged, match=place.name) as caught:
        check(first.path, silent)
    assert "--verify" in str(caught.value.fix)
    second = kept.backup("many/")
    assert second.healed == (f"objects/{place.parent.name}/{place.name}",)
    assert place.read_bytes() == RAW
    for one in (first, second):
        check(one.path, silent)
    assert kept.backup("many/").healed == ()


def refusal(repository: Repository) -> str:
    """Return what ``restore`` of the newest says, nothing if it is whole."""
    try:
        repository.check()
        check(repository.newest(None), silent)
    except RegsetupError as error:
        return error.message
    return ""


def test_an_older_backup_is_not_taken_for_the_newest(kept: Kept) -> None:
    first, second = kept.backup("many/"), kept.backup("many/")
    repository = Repository(kept.place / "many")
    damage(second.path)
    with pytest.raises(NewestUnreadable, match=second.path.name) as caught:
        repository.newest(None)
    assert f"--backup {first.header.id}" in str(caught.value.fix)
    third = kept.backup("many/")
    assert repository.newest("registry") == third.path
    for one in repository.all():
        if one.header:
            damage(one.path)
    with pytest.raises(NewestUnreadable):
        repository.newest("registry")


@pytest.mark.slow
def test_one_byte_anywhere_in_a_directory_is_refused_by_restore_and_healed_by_the_next_backup(
    kept: Kept,
) -> None:
    directory, repository = kept.place / "many", Repository(kept.place / "many")
    kept.backup("many/")
    parts = sorted(path for path in directory.rglob("*") if path.is_file())
    assert {path.name for path in parts} >= {"regsetup-backups.json", "verified.json"}
    for part in parts:
        size = part.stat().st_size
        for at in {0, size // 3, size // 2, size - 1}:
            before = part.read_bytes()
            damage(part, at)
            said = refusal(repository)
            assert part.name in said if part.name != "verified.json" else not said, f"byte {at} of {part}"
            newest = kept.backup("many/").path
            assert repository.check()
            check(newest, silent)
            assert tree(kept.unpacked(newest)) == tree(kept.root)
            newest.unlink()
            part.write_bytes(before)


def test_a_blob_that_was_verified_is_not_read_again(kept: Kept) -> None:
    """The proof is a blob that decays unseen: an ordinary backup relies on it, and ``verify`` does not."""
    directory = kept.place / "many"
    kept.backup("many/")
    place = object_of(directory, RAW)
    decay(directory, place)
    unread = kept.backup("many/")
    assert (unread.healed, unread.kept > len(RAW)) == ((), True)
    assert place.read_bytes() != RAW
    read = kept.backup("many/", verify=True)
    assert (read.healed, read.unsound) == ((f"objects/{place.parent.name}/{place.name}",), ())
    assert place.read_bytes() == RAW
    check(unread.path, silent)


def test_what_was_written_just_before_the_list_is_hashed_once_more(kept: Kept) -> None:
    """A clock that ticks slowly shows no difference between a blob and one that was damaged right after."""
    directory = kept.place / "many"
    kept.backup("many/")
    place = object_of(directory, RAW)
    decay(directory, place)
    os.utime(directory / "verified.json", ns=(place.stat().st_ctime_ns + 1_000_000_000,) * 2)
    assert len(kept.backup("many/").healed) == 1


def test_a_backup_takes_no_device_s_place_and_keeps_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotWrite), new_file(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("file")
    with new_file(tmp_path / "link") as out:
        out.write(b"backup")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_bytes()) == (True, b"backup")


def test_verify_names_what_the_registry_can_not_heal(kept: Kept) -> None:
    directory = kept.place / "many"
    store_image(kept.root, "gone", "1", b"y" * 50_000)
    old = kept.backup("many/")
    shutil.rmtree(kept.root / "docker/registry/v2/repositories/gone")
    other = kept.backup("many/")
    lost, missing = object_of(directory, b"y" * 50_000), object_of(directory, b"a layer")
    decay(directory, lost)
    Path(Layout(kept.root).blob(Digest.of(b"a layer"))).unlink()
    missing.unlink()
    made = kept.backup("many/", verify=True)
    assert {(one.path, one.backups) for one in made.unsound} == {
        (str(lost.relative_to(directory)), (old.header.id,)),
        (str(missing.relative_to(directory)), (old.header.id, other.header.id)),
    }
    damage(old.path, old.path.stat().st_size // 2)
    paths = [one.path for one in kept.backup("many/", verify=True).unsound]
    assert paths == [f"snapshots/{old.path.name}", str(missing.relative_to(directory))]
    store_image(kept.root, "gone", "1", b"y" * 50_000)
    assert kept.backup("many/").healed == (str(lost.relative_to(directory)),), "verify has forgotten it"


def test_what_is_damaged_in_the_registry_does_not_replace_what_is_whole(kept: Kept) -> None:
    kept.backup("many/")
    place = object_of(kept.place / "many", RAW)
    Path(Layout(kept.root).blob(Digest.of(RAW))).write_bytes(RAW[:-1])
    assert kept.backup("many/").damaged == (form.blob_path(Digest.of(RAW)),)
    assert place.read_bytes() == RAW
    place.unlink()
    Path(Layout(kept.root).blob(Digest.of(RAW))).write_bytes(RAW[:-1] + b"x")
    assert kept.backup("many/").damaged == (form.blob_path(Digest.of(RAW)),)
    assert not place.exists()


def test_a_note_that_is_lost_among_backups_is_written_anew(kept: Kept) -> None:
    kept.backup("many/")
    note = kept.place / "many/regsetup-backups.json"
    before = note.read_text()
    for content in (None, "", before.replace("1", "0"), before.replace("1", '"1"')):
        note.unlink() if content is None else note.write_text(content)
        with pytest.raises(RegsetupError):
            Repository(kept.place / "many").check()
        kept.backup("many/")
        assert note.read_text() == before


def test_keep_deletes_no_blob_while_the_end_of_a_backup_can_not_be_read(kept: Kept) -> None:
    kept.backup("many/")
    bad = kept.backup("many/")
    damage(bad.path, bad.path.stat().st_size // 2)
    assert len(kept.backup("many/", keep=2).removed) == 1
    assert object_of(kept.place / "many", RAW)


def test_a_directory_with_other_things_is_not_taken(kept: Kept) -> None:
    (kept.place / "mine").mkdir()
    (kept.place / "mine/letter").touch()
    with pytest.raises(NotBackups):
        kept.backup("mine/")
    assert [path.name for path in (kept.place / "mine").iterdir()] == ["letter"]


def test_a_new_disk_and_what_was_just_begun_are_taken(kept: Kept) -> None:
    (kept.place / "many/lost+found").mkdir(parents=True)
    (kept.place / "many/.regsetup-backups.json.0123abcd.tmp").touch()
    made = kept.backup("many/")
    check(made.path, silent)
    assert not list(kept.place.glob("many/.*"))


@pytest.mark.parametrize(
    ("note", "code"),
    [
        ('{"kind": "regsetup-backups", "version": 2}', "backup-too-new"),
        ('{"kind": "photos", "version": 1}', "not-a-backup"),
        ("{", "not-a-backup"),
    ],
)
def test_a_directory_of_another_kind_or_version_is_refused(kept: Kept, note: str, code: str) -> None:
    write(str(kept.place / "many/regsetup-backups.json"), note.encode())
    with pytest.raises(RegsetupError) as caught:
        kept.backup("many/")
    assert caught.value.code == code


def test_backups_of_several_registries_are_told_apart(kept: Kept) -> None:
    kept.backup("many/")
    other = replace(kept.backup("many/").header, name="second")
    repository = Repository(kept.place / "many")
    with (
        new_file(repository.place("second-1")) as out,
        ArchiveWriter(out, lambda _: None) as archive,
    ):
        archive.add(HEADER, other.to_bytes())
        archive.finish()
    assert repository.newest("second").name == "second-1.tar.zst"
    with pytest.raises(NoSuchBackup, match="several registries"):
        repository.newest(None)
    for wanted in ("third", "../x"):
        with pytest.raises(NoSuchBackup):
            repository.find(wanted)


# Damage.


def flipped(path: Path, at: int) -> Path:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    damaged = path.with_name("damaged.tar.zst")
    damaged.write_bytes(content)
    return damaged


def test_one_byte_in_a_layer_names_the_layer(kept: Kept) -> None:
    made = kept.backup("b.tar.zst")
    at = made.path.read_bytes().index(RAW[5000:5032])
    with pytest.raises(BackupDamaged, match=Digest.of(RAW).hex) as caught:
        check(flipped(made.path, at), silent)
    assert "its digest is" in str(caught.value.cause)


def content(path: Path) -> bytes:
    with zstandard.open(path) as file:
        return bytes(file.read())


def test_one_byte_anywhere_is_refused_unless_it_changes_nothing(kept: Kept) -> None:
    """Such as the size of the window in the frame's header: what is inside stays the same."""
    made = kept.backup("b.tar.zst")
    whole = content(made.path)
    size = made.path.stat().st_size
    positions = {*range(60), *range(size - 60, size), *range(0, size, size // 60)}
    codes = set()
    harmless = 0
    for at in sorted(positions):
        damaged = flipped(made.path, at)
        try:
            check(damaged, silent)
        except RegsetupError as error:
            codes.add(error.code)
        else:
            assert content(damaged) == whole
            harmless += 1
    assert harmless < len(positions) // 10  # how many there are depends on the content
    assert codes <= {"backup-damaged", "not-a-backup", "backup-cut-off", "backup-unsafe"}


def test_a_file_without_its_end_is_refused(kept: Kept) -> None:
    made = kept.backup("b.tar.zst")
    content = made.path.read_bytes()
    cut = made.path.with_name("cut.tar.zst")
    for length in (len(content) - 1, len(content) - 24, len(content) // 2, 1200):
        cut.write_bytes(content[:length])
        with pytest.raises(RegsetupError) as caught:
            check(cut, silent)
        assert caught.value.code == "backup-cut-off"


# Other people's archives.


def pack(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return compressed(packed.getvalue()) + END


def compressed(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def header(**changes: object) -> bytes:
    head = form.Header("i", "registry", "2026-01-01T00:00:00+00:00", "1", "docker", "m", (), None, 0)
    document = {**json.loads(head.to_bytes()), **changes}
    return json.dumps({key: value for key, value in document.items() if value != "absent"}).encode()


def forged(*more: tuple[str, bytes] | tarfile.TarInfo, **changes: object) -> bytes:
    """Return an archive whose list of digests is right, whatever else is in it."""
    head = header(**changes)
    entries = [(tarfile.TarInfo(HEADER), head)]
    digests = form.Digests({HEADER: form.Listed(str(Digest.of(head)), len(head))})
    for one in more:
        name, content = (one.name, b"") if isinstance(one, tarfile.TarInfo) else one
        entries.append((one if isinstance(one, tarfile.TarInfo) else tarfile.TarInfo(name), content))
        digests.files[name] = form.Listed(str(Digest.of(content)), len(content))
    name, content = digests.entry()
    return pack([*entries, (tarfile.TarInfo(name), content)])


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


BLOB = form.blob_path(Digest.of(b"x"))


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (("../../etc/passwd", b"x"), "leads out"),
        (("/etc/passwd", b"x"), "leads out"),
        ((f"{TREE}/repositories/../../x/_layers/sha256/{'0' * 64}/link", b"x"), "leads out"),
        (("settings/deployment.yaml/x", b"x"), "belongs to no registry"),
        (("settings/state.json", b"x"), "belongs to no registry"),
        (("settings/acme/x.org+token", b"x"), "belongs to no registry"),
        (("settings/acme/.profile", b"x"), "belongs to no registry"),
        (("data//docker", b"x"), "not a plain path"),
        (("data/docker/evil", b"x"), "belongs to no registry"),
        (special("settings/deployment.yaml", tarfile.SYMTYPE, "/etc/passwd"), "not a file"),
        (special("settings/deployment.yaml", tarfile.LNKTYPE, "/etc/passwd"), "not a file"),
        (special("settings/deployment.yaml", tarfile.CHRTYPE), "not a file"),
        (special("data", tarfile.DIRTYPE), "not a file"),
        ((BLOB, b"not x"), "its name and its digest differ"),
    ],
    ids=lambda bad: f"{bad.name} {bad.type!r}" if isinstance(bad, tarfile.TarInfo) else str(bad),
)
def test_what_no_backup_holds_is_refused(
    tmp_path: Path, bad: tuple[str, bytes] | tarfile.TarInfo, cause: str
) -> None:
    path = tmp_path / "b.tar.zst"
    path.write_bytes(forged((BLOB, b"x")))
    check(path, silent)
    path.write_bytes(forged(bad))
    with pytest.raises(BackupUnsafe) as caught:
        check(path, silent)
    assert cause in str(caught.value.cause)


def test_entries_twice_and_after_the_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.zst"
    path.write_bytes(forged((BLOB, b"x"), (BLOB, b"x")))
    with pytest.raises(BackupUnsafe, match=BLOB):
        check(path, silent)
    name, content = form.Digests().entry()
    path.write_bytes(
        pack(
            [
                (tarfile.TarInfo(HEADER), header()),
                (tarfile.TarInfo(name), content),
                (tarfile.TarInfo("x"), b""),
            ]
        )
    )
    with pytest.raises(BackupUnsafe, match="'x'"):
        check(path, silent)


def test_a_list_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.zst"
    head = header()
    listed = {HEADER: form.Listed(str(Digest.of(head)), len(head))}
    for digests, said in (
        (form.Digests(listed | {"data/more": form.Listed("sha256:0", 1)}), "data/more"),
        (form.Digests(), HEADER),
        (form.Digests(listed, objects={"settings/x": form.Listed("sha256:0", 1)}), "settings/x"),
    ):
        name, content = digests.entry()
        path.write_bytes(pack([(tarfile.TarInfo(HEADER), head), (tarfile.TarInfo(name), content)]))
        with pytest.raises(RegsetupError, match=said):
            check(path, silent)
    path.write_bytes(pack([(tarfile.TarInfo(HEADER), head)]))
    with pytest.raises(BackupDamaged, match=f"after {HEADER}"):
        check(path, silent)
    for content in (b"[]", b"{}", b"{"):
        name = f"digests-{Digest.of(content).hex}.json"
        path.write_bytes(pack([(tarfile.TarInfo(HEADER), head), (tarfile.TarInfo(name), content)]))
        with pytest.raises(BackupDamaged, match="digests-"):
            check(path, silent)


def test_a_link_that_says_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.zst"
    link = f"{TREE}/repositories/app/_manifests/tags/1/current/link"
    for number, content in enumerate((b"sha256:12", b"x" * 5000, "sha256:é".encode())):
        path.write_bytes(forged((link, content)))
        place = tmp_path / str(number)
        place.mkdir()
        with opened(path) as reader, pytest.raises(BackupDamaged, match=link):
            into_directory(reader, place, silent)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (forged(version=2), "backup-too-new"),
        (forged(kind="photos"), "not-a-backup"),
        (forged(name="absent"), "backup-damaged"),
        (b"", "not-a-backup"),
        (b"just text", "not-a-backup"),
        (compressed(b"just text") + END, "not-a-backup"),
        (compressed(b""), "not-a-backup"),
        (pack([(tarfile.TarInfo("letter.txt"), b"Dear")]), "not-a-backup"),
        (pack([(tarfile.TarInfo(HEADER), b"[1]")]), "backup-damaged"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "not-a-backup"),
    ],
)
def test_other_kinds_and_later_versions_are_told_apart(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "b.tar.zst"
    path.write_bytes(content)
    with pytest.raises(RegsetupError) as caught:
        check(path, silent)
    assert caught.value.code == code
    assert caught.value.cause


def test_what_can_not_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RegsetupError) as caught:
            check(path, silent)
        assert caught.value.code == "backup-unreadable"


# Where it is written.


def test_a_file_that_is_no_backup_is_not_replaced(kept: Kept) -> None:
    target = kept.place / "thesis"
    target.write_text("years of work")
    with pytest.raises(TargetTaken):
        kept.backup("thesis")
    assert target.read_text() == "years of work"
    target.unlink()
    kept.backup("thesis")
    first = target.read_bytes()
    kept.backup("thesis")
    second = target.read_bytes()
    assert second != first, "an older backup is replaced"
    with pytest.raises(TargetTaken, match="a backup of registry"):
        replace(kept, name="another").backup("thesis")
    assert target.read_bytes() == second


@pytest.mark.parametrize("target", ["data/b.tar.zst", "home/registry/b.tar.zst", "data/"])
def test_a_backup_does_not_lie_in_what_it_is_a_backup_of(kept: Kept, target: str) -> None:
    with pytest.raises(BackupInData):
        kept.backup(target)


def test_a_place_that_is_not_there_is_told(kept: Kept) -> None:
    with pytest.raises(RegsetupError) as caught:
        kept.backup("nowhere/b.tar.zst")
    assert (caught.value.code, caught.value.fix) == ("cannot-write", f"mkdir -p {kept.place}/nowhere")


def test_what_a_killed_backup_left_is_removed_by_the_next(kept: Kept) -> None:
    (kept.place / ".b.tar.zst.0123.partial").write_bytes(b"half")
    kept.backup("many/")
    (kept.place / "many/objects/ab").mkdir(exist_ok=True)
    (kept.place / "many/objects/ab/.cd.0123.partial").write_bytes(b"half")
    kept.backup("b.tar.zst")
    kept.backup("many/")
    assert not list(kept.place.glob("**/.*.partial"))
