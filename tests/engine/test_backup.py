"""Backups of registry:2 in a container: from its directory, from its volume, through the engine; and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from regsetup.backends import volumes
from regsetup.backends.container import DATA
from regsetup.backends.engine import connect
from regsetup.backup.reading import opened
from regsetup.backup.sources import ContainerSource
from regsetup.backup.survey import DirectorySource, take
from regsetup.backup.unpack import Unpacked, as_tar
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.errors import RegsetupError
from regsetup.secret import Secret
from tests.bed.run import free_port
from tests.cli.test_gc import push, whole

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = [pytest.mark.engine, pytest.mark.slow]
PASSWORD = "correct horse battery staple"


def connected(port: int) -> RegistryClient:
    who = Credentials("alice", Secret(PASSWORD))
    return RegistryClient(Endpoint(f"http://127.0.0.1:{port}", credentials=who))


def test_a_volume_is_backed_up_and_restored_on_either_back_end(
    regsetup: Regsetup, unique_name: str, registry_image: str, tmp_path: Path
) -> None:
    port, other, file = free_port(), free_port(), tmp_path / "b.tar.zst"
    up = ("--backend", "docker", "--image", registry_image, "--data", f"volume:{unique_name}")
    more = ("--name", unique_name, "--port", str(port), "--user", "alice", "--password-stdin", "--no-check")
    regsetup("up", *up, *more, stdin=f"{PASSWORD}\n").ok()
    with connected(port) as client:
        push(client, "team/app", "1.0", 200_000)
        made = regsetup.json("backup", str(file), "--name", unique_name)
        assert (made["ok"], made["data"]["tags"], made["data"]["blobs"]) == (True, 1, 3)
        push(client, "later", "1")
        done = regsetup.json("restore", str(file), "-y")
        assert done["ok"], done
        assert (done["data"]["backend"], done["data"]["storage"]) == ("docker", f"volume:{unique_name}")
        assert [one["outcome"] for one in done["data"]["checks"]] == ["ok"] * len(done["data"]["checks"])
        assert whole(client, "team/app", "1.0")
        assert list(client.catalog()) == ["team/app"]
        _through_the_engine(unique_name, registry_image, file)
    elsewhere = type(regsetup)(tmp_path / "elsewhere")
    moved = elsewhere.json("restore", str(file), "--backend", "embedded", "--port", str(other))
    assert moved["data"]["backend"] == "embedded", moved
    with connected(other) as client:
        assert whole(client, "team/app", "1.0")
    elsewhere("teardown", "--name", unique_name, "--purge", "-y").ok()
    assert not elsewhere.home.exists()
    regsetup("teardown", "--name", unique_name, "--purge", "-y").ok()
    assert not regsetup.home.exists()


def _through_the_engine(name: str, image: str, file: Path) -> None:
    """What a user without root's rights gets is the same, both ways."""
    engine = connect()
    try:
        shown = take(ContainerSource(lambda path: volumes.read(engine, name, f"{DATA}/{path}")))
        place = volumes.mountpoint(engine, name)
        assert place is not None, "this test runs as root"
        there = take(DirectorySource(place))
        assert (shown.links, shown.blobs) == (there.links, there.blobs)
        assert list(volumes.read(engine, name, f"{DATA}/nothing")) == []
        with pytest.raises(RegsetupError):
            list(volumes.read(engine, f"{name}-gone", DATA))
        fresh = f"{name}-fresh"
        volumes.create(engine, fresh, {})
        with opened(file) as reader:
            found = Unpacked()
            volumes.fill(engine, fresh, image, as_tar(reader, lambda done, total: None, found))
        filled = volumes.mountpoint(engine, fresh)
        assert filled is not None
        assert take(DirectorySource(filled)).links == there.links
        assert (filled / "docker/registry/v2/repositories/team/app/_layers").is_dir()
        assert found.settings["auth/htpasswd"].startswith(b"alice:")
        volumes.remove(engine, fresh)
    finally:
        engine.client.close()


def test_a_bundled_registrys_backup_goes_into_a_container_and_a_failure_is_taken_back(
    regsetup: Regsetup, unique_name: str, registry_image: str, tmp_path: Path
) -> None:
    port, directory = free_port(), tmp_path / "many"
    up = ("--backend", "embedded", "--user", "alice", "--password-stdin", "--no-check")
    regsetup("up", *up, "--name", unique_name, "--port", str(port), stdin=f"{PASSWORD}\n").ok()
    with connected(port) as client:
        push(client, "team/app", "1.0", 200_000)
    regsetup("backup", f"{directory}/", "--name", unique_name).ok()
    regsetup("teardown", "--name", unique_name, "--purge", "-y").ok()
    where = ("restore", str(directory), "-y", "--backend", "docker")
    broken = regsetup.json(*where, "--image", f"{registry_image}-that-is-not-there")
    assert broken["errors"][0]["code"] == "image-not-found"
    assert not regsetup.home.exists(), "where nothing was, nothing is left"
    done = regsetup.json(*where, "--image", registry_image)
    assert (done["ok"], done["data"]["backend"]) == (True, "docker"), done
    with connected(port) as client:
        assert whole(client, "team/app", "1.0")
        push(client, "later", "1")
        broken = regsetup.json(*where, "--image", f"{registry_image}-that-is-not-there")
        assert broken["errors"][0]["code"] == "image-not-found"
        assert whole(client, "later", "1"), "the container before serves again, with its images"
    regsetup("teardown", "--name", unique_name, "--purge", "-y").ok()
    assert not regsetup.home.exists()
