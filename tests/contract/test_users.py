"""Users come, change and go on a running registry, live at once and proven; or it is said what hinders."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.htpasswd import BadPassword, BadUserName, Cost, Htpasswd, hash_password
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.host.files import CannotWrite
from regsetup.secret import Secret
from regsetup.users import (
    MalformedFile,
    NotProven,
    UserExists,
    UsersUnreadable,
    UserUnknown,
    add,
    change,
    read,
    remove,
    temporary,
)
from tests.bed.liar import Liar, reply
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.liar import Request
    from tests.bed.registry import RegistryProcess
    from tests.contract.both import Serve

OLD, NEW = Secret("the old one"), Secret("the new one")
BASIC = 'Basic realm="x"'


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file with alice and comments, in a directory of its own."""
    path = tmp_path / "auth/htpasswd"
    path.parent.mkdir()
    line = str(Htpasswd().with_user("alice", hash_password(OLD, Cost.FAST)))
    path.write_text(f"# staff\n{line}# end\n")
    return path


def status(url: str, name: str, password: Secret) -> int:
    with RegistryClient(Endpoint(url, credentials=Credentials(name, password))) as client:
        return client.ping().status


def test_an_added_user_enters_at_once_and_the_others_still_do(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    assert status(served.url, "bob", NEW) == 401
    done = add(users, "bob", NEW, Cost.FAST, Endpoint(served.url))
    assert done.proven
    assert done.detail.startswith("bob enters with the new password: 200 after ")
    assert status(served.url, "bob", NEW) == 200
    assert status(served.url, "alice", OLD) == 200


def test_a_changed_password_enters_and_the_old_one_does_not(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    assert status(served.url, "alice", OLD) == 200  # it may be remembered
    done = change(users, "alice", NEW, Cost.FAST, Endpoint(served.url), old=OLD)
    assert done.proven
    assert "alice stays outside with the old password: 401" in done.detail
    assert (status(served.url, "alice", OLD), status(served.url, "alice", NEW)) == (401, 200)


def test_a_removed_user_stays_outside_and_the_others_do_not(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    add(users, "bob", NEW, Cost.FAST, Endpoint(served.url))
    done = remove(users, "bob", Endpoint(served.url))
    assert done.proven
    assert done.detail.startswith("bob stays outside: 401")
    assert (status(served.url, "bob", NEW), status(served.url, "alice", OLD)) == (401, 200)


def test_add_and_remove_give_the_file_back(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    before = users.read_bytes()
    add(users, "bob", NEW, Cost.FAST, Endpoint(served.url))
    assert users.read_text().startswith(before.decode())
    remove(users, "bob", Endpoint(served.url))
    assert users.read_bytes() == before
    assert [path.name for path in users.parent.iterdir()] == ["htpasswd"]


def test_edits_faster_than_the_clock_of_the_file_system_are_all_live(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    for turn in range(6):
        assert add(users, f"user{turn}", NEW, Cost.FAST, Endpoint(served.url)).proven
        assert remove(users, f"user{turn}", Endpoint(served.url)).proven
    assert read(users).users == ("alice",)


def test_the_last_user_can_be_removed_and_then_nobody_enters(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    assert remove(users, "alice", Endpoint(served.url)).proven
    assert users.read_text() == "# staff\n# end\n"
    assert status(served.url, "alice", OLD) == 401


def test_a_temporary_user_enters_for_the_block_only(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    before = users.read_bytes()
    with temporary(users, "regsetup-check") as credentials:
        assert status(served.url, credentials.user, credentials.password) == 200
    assert status(served.url, credentials.user, credentials.password) == 401
    assert users.read_bytes() == before


def test_a_temporary_user_goes_when_the_work_fails_and_replaces_a_left_one(users: Path) -> None:
    before = users.read_bytes()
    users.write_text(before.decode() + f"regsetup-check:{hash_password(OLD, Cost.FAST)}\n")

    def fail() -> None:
        with temporary(users, "regsetup-check") as credentials:
            assert read(users).users == ("alice", credentials.user)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert users.read_bytes() == before


def test_temporary_users_take_turns(serve: Serve, users: Path) -> None:
    served = serve(htpasswd=users)
    seen: list[int] = []

    def work() -> None:
        with temporary(users, "regsetup-check") as credentials:
            seen.extend(status(served.url, credentials.user, credentials.password) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [200] * 12
    assert read(users).users == ("alice",)


def test_where_no_registry_runs_the_edit_is_made_and_not_called_proven(users: Path) -> None:
    nobody = Endpoint(f"http://127.0.0.1:{free_port()}")
    for endpoint, reason in ((None, "does not run"), (nobody, "refuses the connection")):
        done = add(users, "bob", NEW, Cost.FAST, endpoint)
        assert not done.proven
        assert reason in done.detail
        assert not change(users, "bob", OLD, Cost.FAST, endpoint, old=NEW).proven
        assert not remove(users, "bob", endpoint).proven
        assert read(users).users == ("alice",)


def test_a_line_that_stops_registry2_is_named_before_anything_is_changed(
    registry_process: Callable[..., RegistryProcess], users: Path
) -> None:
    running = registry_process(htpasswd=users)
    assert status(running.url, "alice", OLD) == 200
    users.write_text(users.read_text() + "no colon\n")
    before = users.read_bytes()
    edits: tuple[Callable[[], object], ...] = (
        lambda: remove(users, "alice", Endpoint(running.url)),
        lambda: add(users, "bob", NEW, Cost.FAST, Endpoint(running.url)),
        lambda: change(users, "alice", NEW, Cost.FAST, Endpoint(running.url)),
        lambda: temporary(users, "bob").__enter__(),
    )
    for edit in edits:
        with pytest.raises(MalformedFile, match="line 4: no ':' between name and hash") as caught:
            edit()
        assert caught.value.code == "htpasswd-malformed"
        assert caught.value.fix == f"mend or delete the line: sed -n 4p {users}"
    assert users.read_bytes() == before


def test_registry2_does_go_on_with_the_old_users_after_a_malformed_line(
    registry_process: Callable[..., RegistryProcess], users: Path
) -> None:
    """The reason for all this: the file says that nobody may enter, and alice does."""
    running = registry_process(htpasswd=users)
    assert status(running.url, "alice", OLD) == 200
    users.write_text("no colon\n")
    deadline = time.monotonic() + 5
    while (seen := raw_status(running.url)) != 200:
        assert time.monotonic() < deadline, f"it answers {seen}"


def raw_status(url: str) -> int:
    """As curl would: no retry, no explanation."""
    import urllib3

    headers = urllib3.make_headers(basic_auth=f"alice:{OLD.reveal()}")
    with urllib3.PoolManager() as pool:
        return pool.request("GET", f"{url}/v2/", headers=headers, retries=False).status


def test_a_registry_that_reads_another_file_is_not_called_proven(
    serve: Serve, users: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(users.read_bytes())
    served = serve(htpasswd=tmp_path / "other")
    with pytest.raises(NotProven, match="'bob' enters with the new password") as caught:
        add(users, "bob", NEW, Cost.FAST, Endpoint(served.url), wait=0.3)
    assert caught.value.cause == "after 0.3 s it still answers 401"
    with pytest.raises(NotProven, match="'alice' is read from the changed file"):
        remove(users, "alice", Endpoint(served.url), wait=0.3)
    assert read(users).users == ("bob",)


def test_an_open_registry_proves_no_user(serve: Serve, users: Path) -> None:
    with pytest.raises(NotProven) as caught:
        add(users, "bob", NEW, Cost.FAST, Endpoint(serve().url))
    assert caught.value.cause == "the registry asks nobody for a password"


def test_a_revocation_that_does_not_hold_is_not_called_proven(users: Path) -> None:

    def let_in(request: Request) -> bytes:
        return reply(200) if "authorization" in request.headers else reply(401, WWW_Authenticate=BASIC)

    everybody = Liar(let_in)
    with everybody, pytest.raises(NotProven, match="'alice' stays outside") as caught:
        remove(users, "alice", Endpoint(everybody.url), wait=0.2)
    assert caught.value.cause == "after 0.2 s it still answers 200"
    assert read(users).users == ()


def test_an_answer_that_makes_no_sense_proves_nothing(users: Path) -> None:
    with Liar(lambda _: reply(404)) as server, pytest.raises(NotProven) as caught:
        add(users, "bob", NEW, Cost.FAST, Endpoint(server.url))
    assert "is not a registry" in (caught.value.cause or "")


def test_names_and_passwords_are_checked_before_the_file_is_touched(users: Path) -> None:
    before = users.read_bytes()
    with pytest.raises(UserExists, match="'alice' exists") as exists:
        add(users, "alice", NEW, Cost.FAST, None)
    assert exists.value.exit_code == 2
    with pytest.raises(BadUserName):
        add(users, "a:b", NEW, Cost.FAST, None)
    with pytest.raises(BadPassword):
        add(users, "bob", Secret("x" * 73), Cost.FAST, None)
    with pytest.raises(BadPassword):
        change(users, "alice", Secret(""), Cost.FAST, None)
    edits: tuple[Callable[[], object], ...] = (
        lambda: change(users, "bob", NEW, Cost.FAST, None),
        lambda: remove(users, "bob", None),
    )
    for edit in edits:
        with pytest.raises(UserUnknown, match="no user 'bob'") as unknown:
            edit()
        assert unknown.value.cause == "the users are alice"
    assert users.read_bytes() == before


def test_the_first_user_makes_the_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    with pytest.raises(UserUnknown) as unknown:
        remove(path, "alice", None)
    assert unknown.value.cause == "there are no users"
    add(path, "alice", NEW, Cost.FAST, None)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    add(path, "bob", NEW, Cost.FAST, None)
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(CannotWrite):
        add(tmp_path / "missing/htpasswd", "alice", NEW, Cost.FAST, None)


def test_bytes_that_are_no_text_stay(users: Path) -> None:
    users.write_bytes(b"# \xff\xfe\n")
    add(users, "bob", NEW, Cost.FAST, None)
    assert users.read_bytes().startswith(b"# \xff\xfe\nbob:$2y$05$")


def test_every_edit_changes_the_modification_time(users: Path) -> None:
    seen = {users.stat().st_mtime_ns}
    for turn in range(50):
        with temporary(users, f"user{turn}"):
            seen.add(users.stat().st_mtime_ns)
        seen.add(users.stat().st_mtime_ns)
    assert len(seen) == 101


def test_a_clock_that_was_set_back_hides_no_edit(serve: Serve, users: Path) -> None:
    future = time.time_ns() + 3600 * 10**9
    os.utime(users, ns=(future, future))
    served = serve(htpasswd=users)
    assert status(served.url, "alice", OLD) == 200
    assert change(users, "alice", NEW, Cost.FAST, Endpoint(served.url), old=OLD).proven
    assert users.stat().st_mtime_ns > future


def test_many_at_once_lose_no_user(users: Path) -> None:
    def work(number: int) -> None:
        add(users, f"user{number}", NEW, Cost.FAST, None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read(users).users) == {"alice", *(f"user{number}" for number in range(12))}
    assert list(users.parent.iterdir()) == [users]


def test_a_password_that_is_not_live_yet_is_waited_for(users: Path) -> None:
    asked = 0

    def slow(request: Request) -> bytes:
        nonlocal asked
        asked += "authorization" in request.headers
        return reply(200) if asked > 3 else reply(401, WWW_Authenticate=BASIC)

    with Liar(slow) as server:
        assert add(users, "bob", NEW, Cost.FAST, Endpoint(server.url)).proven
    assert asked == 4


def test_a_harmless_problem_stops_no_edit(users: Path) -> None:
    users.write_text("carol:$apr1$old\n" + users.read_text())
    remove(users, "carol", None)
    assert read(users).users == ("alice",)


def test_a_file_that_can_not_be_read_is_explained(users: Path) -> None:
    users.unlink()
    users.mkdir()
    for edit in (lambda: read(users), lambda: add(users, "bob", NEW, Cost.FAST, None)):
        with pytest.raises(UsersUnreadable) as caught:
            edit()
        assert (caught.value.code, caught.value.cause) == ("users-unreadable", "Is a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_another_persons_file_is_explained(users: Path, tmp_path: Path) -> None:
    for path in (users.parent, tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    users.chmod(0o600)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            read(users)
        except UsersUnreadable as error:
            os._exit(0 if error.fix and "sudo" in error.fix else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
