"""``regsetup backup`` and ``restore`` of the bundled registry: nothing is lost, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.backup.make import no_collection
from regsetup.backup.repository import Repository
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.deployment import Paths
from regsetup.reference import Digest
from regsetup.secret import Secret
from tests.bed.clients import run
from tests.bed.processes import end_marked
from tests.bed.run import free_port, lan_address, missing
from tests.cli.test_gc import push, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.cli import Regsetup
    from tests.bed.clients import Completed

PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.slow


def connect(port: int) -> RegistryClient:
    return RegistryClient(
        Endpoint(f"http://127.0.0.1:{port}", credentials=Credentials("alice", Secret(PASSWORD)))
    )


@pytest.fixture
def port(regsetup: Regsetup) -> int:
    """A registry with a user and two images, on a port of its own."""
    port = free_port()
    up = ("up", "--backend", "embedded", "--port", str(port), "--user", "alice", "--password-stdin")
    regsetup(*up, stdin=f"{PASSWORD}\n").ok()
    with connect(port) as client:
        push(client, "team/app", "1.0", 200_000)
        push(client, "other", "latest")
    return port


@pytest.fixture
def elsewhere(regsetup: Regsetup, tmp_path: Path) -> Regsetup:
    """Another machine: the same program with another home."""
    return type(regsetup)(tmp_path / "elsewhere")


def error(done: Completed) -> dict[str, Any]:
    assert "Traceback" not in done.err
    (found,) = json.loads(done.out)["errors"]
    return dict(found)


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_a_backup_is_restored_over_a_registry_and_keeps_what_it_was(regsetup: Regsetup, port: int) -> None:
    file = regsetup.place / "b.tar.zst"
    said = regsetup("backup", str(file)).ok()
    assert "2 tags, 6 blobs, users, certificates and settings" in said.out
    with connect(port) as client:
        push(client, "team/app", "1.0")
        push(client, "later", "1")
        regsetup("rmuser", "alice").ok()
        assert "is whole" in regsetup("restore", str(file), "--dry-run").ok().out
        assert client.ping().status == 401, "a dry run changes nothing"
        refused = regsetup("restore", str(file), "--json")
        assert (refused.code, error(refused)["code"]) == (2, "needs-yes")
        before = files(regsetup.home)
        done = regsetup.json("restore", str(file), "-y")
        assert (done["ok"], done["changed"], done["data"]["tags"]) == (True, True, 2)
        assert [one["outcome"] for one in done["data"]["checks"][:10]] == ["ok"] * 10
        assert whole(client, "team/app", "1.0")
        assert whole(client, "other", "latest")
        assert list(client.catalog()) == ["other", "team/app"]
    assert not {one for one in files(regsetup.home) - before if "restore" in one or "before" in one}
    assert regsetup.json("up")["changed"] is False
    regsetup("teardown", "--purge", "-y").ok()
    assert not regsetup.home.exists()


def test_it_is_restored_on_another_machine_under_another_name(
    regsetup: Regsetup, port: int, elsewhere: Regsetup
) -> None:
    directory = regsetup.place / "many"
    for _ in range(2):
        regsetup("backup", f"{directory}/", "--keep", "1").ok()
    (listed,) = elsewhere.json("backups", str(directory))["data"]["backups"]
    assert (listed["name"], listed["tags"], listed["problem"]) == ("registry", 2, None)
    other = free_port()
    more = ("--name", "second", "--port", str(other), "--backend", "embedded")
    said = elsewhere("restore", str(directory), *more, env={"DOCKER_HOST": "unix:///nowhere"}).ok()
    assert f"second is back at http://localhost:{other}" in said.out
    with connect(other) as client:
        assert whole(client, "team/app", "1.0")
        push(client, "more", "1")
    with connect(port) as client:
        assert whole(client, "team/app", "1.0"), "the one it came from serves on"
    again = elsewhere.json("restore", str(directory), "--backup", listed["id"], "-y", *more)
    assert again["ok"]
    with connect(other) as client:
        assert "more" not in list(client.catalog())
    elsewhere("teardown", "--name", "second", "--purge", "-y").ok()
    assert not elsewhere.home.exists()


def test_certificates_come_along_and_a_new_name_is_signed_by_the_same_ca(
    regsetup: Regsetup, elsewhere: Regsetup
) -> None:
    address, port, other = lan_address(), free_port(), free_port()
    up = ("up", "--backend", "embedded", "--no-auth", "--no-check", "--trust", "none", "--bind", "0.0.0.0")
    hosts = ("--host", "a.corp.test", "--host", "b.corp.test", "--host", address)
    regsetup(*up, "--port", str(port), *hosts).ok()
    ca = (regsetup.home / "registry/certs/ca.crt").read_bytes()
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    done = elsewhere.json("restore", str(file), "--port", str(other), "--host", "new.b.corp.test")
    assert done["ok"], done
    assert (elsewhere.home / "registry/certs/ca.crt").read_bytes() == ca
    key = elsewhere.home / "registry/ca/ca.key"
    assert key.read_bytes() == (regsetup.home / "registry/ca/ca.key").read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    (note,) = done["data"]["notes"]
    assert note.startswith("the certificate was for a.corp.test, b.corp.test")
    assert "new.b.corp.test" in note
    assert note.endswith("the same CA signed a new one, so clients notice nothing")
    foreign = elsewhere.json("restore", str(file), "-y", "--port", str(other), "--host", "elsewhere.test")
    assert "its CA did not permit that and was replaced" in foreign["data"]["notes"][0]
    assert (elsewhere.home / "registry/certs/ca.crt").read_bytes() != ca
    journal = elsewhere.home / "registry/restore.json"
    for text, command, code in (
        ("[]", ("cert", "renew"), "restore-unfinished"),
        ("{", ("up",), "restore-journal-damaged"),
    ):
        journal.write_text(text)
        assert error(elsewhere(*command, "--json"))["code"] == code
    journal.unlink()
    elsewhere("teardown", "--purge", "-y").ok()
    assert not elsewhere.home.exists()


def test_a_certificate_of_ones_own_comes_along(
    regsetup: Regsetup, elsewhere: Regsetup, tmp_path: Path
) -> None:
    from datetime import UTC, datetime

    from regsetup.auth.certificates import Names
    from regsetup.auth.x509 import new_ca, new_leaf

    names, now = Names.of(["own.corp.test"]), datetime.now(UTC)
    authority = new_ca("own", names, now)
    leaf = new_leaf(authority, names, now)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    regsetup.env["SSL_CERT_FILE"] = elsewhere.env["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    pair = {"--cert": leaf.certificate.decode(), "--key": leaf.key.reveal()}
    flags = []
    for flag, text in pair.items():
        place = tmp_path / flag.strip("-")
        place.touch(0o600)
        place.write_text(text)
        flags += [flag, str(place)]
    port, file = free_port(), tmp_path / "b.tar.zst"
    more = ("--no-check", "--trust", "none", "--port", str(port), "--host", "own.corp.test")
    regsetup("up", "--backend", "embedded", *flags, *more).ok()
    regsetup("backup", str(file)).ok()
    for path in flags[1::2]:
        Path(path).unlink()  # as on another machine
    other = free_port()
    done = elsewhere.json("restore", str(file), "--port", str(other))
    assert done["data"]["url"] == f"https://own.corp.test:{other}", done
    served = (elsewhere.home / "registry/certs/tls.crt").read_bytes()
    assert served == leaf.certificate
    elsewhere("teardown", "--purge", "-y").ok()
    assert not elsewhere.home.exists()


# What goes wrong: the old registry serves, and nothing is left.


def test_a_damaged_backup_changes_nothing(regsetup: Regsetup, port: int, elsewhere: Regsetup) -> None:
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = files(regsetup.home)
    done = regsetup("restore", str(file), "-y", "--json")
    assert (done.code, error(done)["code"]) == (1, "backup-damaged")
    assert "blobs/sha256" in error(done)["message"]
    assert files(regsetup.home) == before
    with connect(port) as client:
        assert whole(client, "team/app", "1.0")
    done = elsewhere("restore", str(file), "--port", str(free_port()), "--json")
    assert error(done)["code"] == "backup-damaged"
    assert not elsewhere.home.exists()


def test_what_does_not_pass_its_check_is_taken_back(
    regsetup: Regsetup, port: int, elsewhere: Regsetup
) -> None:
    """The restored registry can't serve: its address is not this machine's."""
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    taken = ("restore", str(file), "-y", "--bind", "192.0.2.1", "--host", "x.test", "--json")
    before = files(regsetup.home)
    done = regsetup(*taken)
    assert error(done)["code"] == "address-not-here"
    assert files(regsetup.home) == before
    with connect(port) as client:
        assert whole(client, "team/app", "1.0"), "the old one serves again"
    assert error(elsewhere(*taken))["code"] == "address-not-here"
    assert not elsewhere.home.exists(), "where nothing was, nothing is left"


def test_a_directory_of_somebody_else_is_left_alone(
    regsetup: Regsetup, port: int, elsewhere: Regsetup, tmp_path: Path
) -> None:
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    more = ("--port", str(free_port()), "--json")
    done = elsewhere("restore", str(file), "--data", str(tmp_path / "photos"), *more)
    assert error(done)["code"] == "data-taken"
    done = elsewhere("restore", str(file), "--data", str(regsetup.home / "registry/data"), *more)
    assert error(done)["code"] == "data-taken", "another registry's images are not taken either"
    assert not elsewhere.home.exists()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


@contextmanager
def tmpfs(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own; what runs on it is ended before it goes."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("mounting a tmpfs needs root")
    try:
        yield place
    finally:
        end_marked(str(place))
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    with tmpfs(tmp_path / "small", "size=128k") as place:
        yield place


def test_a_full_disk_leaves_no_file_and_no_half_registry(
    regsetup: Regsetup, port: int, elsewhere: Regsetup, small: Path
) -> None:
    for target in ("b.tar.zst", "many/"):
        done = regsetup("backup", f"{small}/{target}", "--json")
        assert (done.code, error(done)["code"]) == (1, "cannot-write")
        assert "No space left" in str(error(done)["cause"])
        assert not [path for path in small.rglob("*.zst") if path.is_file()]
        assert not list(small.rglob("*.partial"))
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    more = ("--port", str(free_port()), "--data", str(small / "data"), "--json")
    done = elsewhere("restore", str(file), *more)
    assert error(done)["code"] == "no-space"
    assert not elsewhere.home.exists()
    assert not (small / "data").exists()


def test_a_disk_that_fills_up_during_a_restore_leaves_the_old_one_serving(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    file, port = regsetup.place / "b.tar.zst", free_port()
    with tmpfs(tmp_path / "few", "size=1g") as few:
        more = ("--port", str(port), "--data", str(few / "data"), "--no-auth")
        regsetup("up", "--backend", "embedded", "--no-check", *more).ok()
        with RegistryClient(Endpoint(f"http://127.0.0.1:{port}")) as client:
            push(client, "team/app", "1.0", 200_000)
            regsetup("backup", str(file)).ok()
            push(client, "later", "1")
            before = files(few)
            inodes = len(before) + 20  # what the backup's files take is far more, though not in bytes
            subprocess.run(["mount", "-o", f"remount,nr_inodes={inodes}", str(few)], check=True)
            done = regsetup("restore", str(file), "-y", "--json")
            assert (done.code, error(done)["code"]) == (1, "cannot-write")
            assert "No space left" in str(error(done)["cause"])
            assert whole(client, "later", "1"), "what was there before the restore"
            assert files(few) == before
            subprocess.run(["mount", "-o", "remount,nr_inodes=0", str(few)], check=True)
            regsetup("restore", str(file), "-y").ok()
            assert list(client.catalog()) == ["team/app"]


def damage(place: Path) -> None:
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)


def test_a_damaged_directory_is_refused_healed_and_told_where_it_can_not_be(
    regsetup: Regsetup, port: int
) -> None:
    many, files = regsetup.place / "many", f"{regsetup.place}/many/"
    first = regsetup.json("backup", files)["data"]
    blob = max((many / "objects").glob("*/*"), key=lambda one: one.stat().st_size)
    damage(blob)
    refused = regsetup("restore", str(many), "-y", "--json")
    assert (refused.code, error(refused)["code"]) == (1, "backup-damaged")
    assert blob.name in error(refused)["message"]
    healed = regsetup("backup", files).ok()
    assert f"healed  objects/{blob.parent.name}/{blob.name} was damaged" in healed.out
    assert "is whole" in regsetup("restore", str(many), "--backup", first["id"], "--dry-run").ok().out
    shutil.rmtree(regsetup.home / "registry/data/docker/registry/v2/repositories/team")
    damage(blob)
    told = regsetup("backup", files, "--verify", "--json")
    assert (told.code, error(told)["code"]) == (3, "damaged-in-backups")
    lost = json.loads(told.out)["data"]["lost"]
    assert [(one["path"], first["id"] in one["backups"]) for one in lost] == [
        (str(blob.relative_to(many)), True)
    ]
    assert "is whole" in regsetup("restore", str(many), "--dry-run").ok().out, "the newest needs it no more"


SENSELESS = [
    (("backup", "b", "--name", "other"), 1, "no-registry"),
    (("backup", "b", "--keep", "2"), 2, "keep-needs-directory"),
    (("backup", "b", "--verify"), 2, "verify-needs-directory"),
    (("backup", "{home}/registry/x"), 2, "backup-in-data"),
    (("backup", "{place}"), 2, "not-backups"),
    (("backup", "/nowhere/at/all"), 1, "cannot-write"),
    (("backups",), 2, "no-backup-yet"),
    (("backups", "/etc/hostname"), 2, "one-backup"),
    (("backups", "/nowhere/backups"), 1, "backup-unreadable"),
    (("restore", "/nowhere"), 1, "backup-unreadable"),
    (("restore", "/etc/hostname"), 1, "not-a-backup"),
    (("restore", "/etc/hostname", "--backup", "x"), 2, "usage"),
    (("restore", "{place}"), 2, "not-backups"),
    (("restore", "{place}/empty"), 2, "no-such-backup"),
]


def test_what_makes_no_sense_is_refused(regsetup: Regsetup, port: int) -> None:
    (regsetup.place / "empty").mkdir()
    for arguments, code, said in SENSELESS:
        words = [one.format(home=regsetup.home, place=regsetup.place) for one in arguments]
        done = regsetup(*words, "--json")
        assert (done.code, error(done)["code"]) == (code, said), words


# Killed.

DIE = """
import os, sys
seen = 0
def hook(event, arguments):
    global seen
    if event == {event!r} and {needle!r} in str(arguments):
        seen += 1
        if seen == {number}:
            os._exit(137)
sys.addaudithook(hook)
from regsetup.__main__ import main
sys.exit(main())
"""


def dying(regsetup: Regsetup, event: str, needle: str, number: int, *arguments: str) -> Completed:
    """Run it, and end it without any clean-up at the n-th event about ``needle``."""
    program = DIE.format(event=event, needle=needle, number=number)
    return run([sys.executable, "-c", program, *arguments], env=regsetup.environment())


@pytest.mark.parametrize("target", ["b.tar.zst", "many/"])
def test_a_killed_backup_leaves_nothing_under_its_name(regsetup: Regsetup, port: int, target: str) -> None:
    place = f"{regsetup.place}/{target}"
    done = dying(regsetup, "os.rename", ".tar.zst", 1, "backup", place)
    assert done.code == 137, done.err
    assert not [path for path in regsetup.place.rglob("*.tar.zst") if not path.name.startswith(".")]
    regsetup("backup", place).ok()
    assert not list(regsetup.place.rglob("*.partial")) or target == "many/"
    assert "is whole" in regsetup("restore", place, "--dry-run").ok().out


@pytest.mark.parametrize(
    ("event", "needle", "number"),
    [("os.rename", ".regsetup-", 9), ("os.remove", "restore.json", 1)],
    ids=["in the middle of the swap", "just before it is done"],
)
def test_up_after_a_killed_restore_brings_the_old_registry_back(
    regsetup: Regsetup, port: int, event: str, needle: str, number: int
) -> None:
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    with connect(port) as client:
        push(client, "later", "1")
    done = dying(regsetup, event, needle, number, "restore", str(file), "-y")
    assert done.code == 137, done.err
    assert "put back" in regsetup("up").ok().err
    with connect(port) as client:
        assert whole(client, "later", "1"), "what was there before the restore"
        assert whole(client, "team/app", "1.0")
    assert not list(regsetup.home.rglob(".regsetup-before"))
    regsetup("restore", str(file), "-y").ok()
    with connect(port) as client:
        assert "later" not in list(client.catalog())


INTERRUPT = """
import os, signal, sys
seen = 0
def hook(event, arguments):
    global seen
    if event == {event!r} and {needle!r} in str(arguments):
        seen += 1
        if seen >= {number}:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from regsetup.__main__ import main
sys.exit(main())
"""


def test_control_c_at_any_point_of_a_restore_leaves_the_old_one_serving(
    regsetup: Regsetup, port: int
) -> None:
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    with connect(port) as client:
        push(client, "later", "1")
        before = files(regsetup.home)
        for event, needle, number in (
            ("open", ".regsetup-restore/docker", 3),  # unpacking
            ("os.rename", ".regsetup-", 3),  # in the middle of the swap, and from there on again and again
            ("socket.connect", str(port), 2),  # the restored registry is being started and proven
        ):
            program = INTERRUPT.format(event=event, needle=needle, number=number)
            words = [sys.executable, "-c", program, "restore", str(file), "-y", "--json"]
            done = run(words, env=regsetup.environment())
            assert (done.code, error(done)["code"]) == (1, "interrupted"), needle
            assert whole(client, "later", "1"), "what was there before the restore"
            assert whole(client, "team/app", "1.0")
            assert files(regsetup.home) == before
    assert regsetup.json("up")["changed"] is False


def test_control_c_is_too_late_when_the_restored_registry_has_passed_its_check(
    regsetup: Regsetup, port: int
) -> None:
    file = regsetup.place / "b.tar.zst"
    regsetup("backup", str(file)).ok()
    with connect(port) as client:
        push(client, "later", "1")
        program = INTERRUPT.format(event="os.remove", needle="restore.json", number=1)
        run([sys.executable, "-c", program, "restore", str(file), "-y"], env=regsetup.environment()).ok()
        assert "later" not in list(client.catalog())
        assert whole(client, "team/app", "1.0")
    assert not list(regsetup.home.rglob(".regsetup-*"))


def at_once(*commands: tuple[Regsetup, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Run them at the same time; return what each said."""
    with ThreadPoolExecutor(len(commands)) as threads:
        started = [threads.submit(regsetup, *words, "--json") for regsetup, words in commands]
        return [json.loads(one.result().out) for one in started]


@pytest.mark.parametrize("registries", ["one registry", "two registries"])
def test_backups_at_once_into_one_directory_are_whole_or_refused(
    regsetup: Regsetup, port: int, elsewhere: Regsetup, registries: str
) -> None:
    many, second = regsetup.place / "many", regsetup
    if registries == "two registries":
        file, second = regsetup.place / "b.tar.zst", elsewhere
        regsetup("backup", str(file)).ok()
        more = ("--name", "second", "--port", str(free_port()), "--backend", "embedded")
        elsewhere("restore", str(file), *more).ok()
    name = "second" if second is elsewhere else "registry"
    words = ("backup", f"{many}/", "--keep", "2", "--name")
    said = at_once(*[(regsetup, (*words, "registry")), (second, (*words, name))] * 2)
    assert any(one["ok"] for one in said)
    assert {error["code"] for one in said for error in one["errors"]} <= {"locked"}
    assert not list(many.rglob("*.partial"))
    listed = regsetup.json("backups", str(many))["data"]["backups"]
    assert {one["id"] for one in listed} <= {one["data"]["id"] for one in said if one["ok"]}
    for one in listed:
        found = regsetup("restore", str(many), "--backup", one["id"], "--dry-run").ok()
        assert "2 tags, 6 blobs" in found.out
    regsetup("restore", str(many), "--name", "registry", "-y").ok()
    with connect(port) as client:
        assert whole(client, "team/app", "1.0")


def test_a_backup_beside_one_that_takes_long_is_refused_and_leaves_nothing(
    regsetup: Regsetup, port: int
) -> None:
    many = regsetup.place / "many"
    with Repository(many).opened():
        before = files(many)
        done = regsetup("backup", f"{many}/", "--json")
        assert (done.code, error(done)["code"]) == (1, "locked")
        assert f"is locked by process {os.getpid()}" in error(done)["message"]
        assert files(many) == before
    regsetup("backup", f"{many}/").ok()


def test_a_collection_does_not_run_beside_a_backup(regsetup: Regsetup, port: int) -> None:
    with no_collection(Paths(regsetup.home, "registry")):
        done = regsetup("gc", "--json")
    assert (done.code, error(done)["code"]) == (1, "locked")


def test_the_bar_is_shown_on_a_terminal_only(regsetup: Regsetup, port: int) -> None:
    with regsetup.on_terminal("backup", f"{regsetup.place}/b.tar.zst") as terminal:
        shown = terminal.wait()
    assert shown.code == 0
    assert "2 tags, 6 blobs" in shown.out
    quiet = regsetup("backup", f"{regsetup.place}/b.tar.zst", "-q").ok()
    assert quiet.err == ""
    assert Digest.of((regsetup.place / "b.tar.zst").read_bytes())


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd keeps the time here, not cron")
def test_the_line_for_cron_does_its_job_as_cron_runs_it(regsetup: Regsetup, port: int) -> None:
    """crontab(5): five fields, then a command for /bin/sh with next to nothing in its environment."""
    assert port
    place = regsetup.place / "100% of all"
    jobs = {"backup": ("--to", str(place), "--keep", "2"), "gc": (), "verify": ()}
    for job, words in jobs.items():
        said = error(regsetup("schedule", "add", job, "daily", *words, "--json"))
        assert said["code"] == "no-systemd"
        *fields, command = said["fix"].splitlines()[1].split(" ", 5)
        assert [one.isdigit() or one == "*" for one in fields] == [True] * 5
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("\\%", "%")],
            cwd="/",
            env={"HOME": str(regsetup.place), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}"
    assert len(regsetup.json("backups", str(place))["data"]["backups"]) == 1
