"""Files of credentials: read by every form of key, written so that all else stays, refused when malformed."""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup import credentials
from regsetup.client import Credentials
from regsetup.credentials import AuthFileUnreadable
from regsetup.credentials.auth_file import AuthFile, Malformed, with_entry, without_entry
from regsetup.credentials.helpers import HelperFailed
from regsetup.host.process import ProgramMissing
from regsetup.secret import Secret
from tests.bed.rights import as_nobody

if TYPE_CHECKING:
    from pathlib import Path

ALICE = Credentials("alice", Secret("ge:heim"))
HELPER = """#!/bin/sh
# Keeps one credential per key below $KEPT, as docker-credential-helpers describe it.
read -r line
case "$1" in
get) key=$(printf %s "$line" | tr '/:' '__')
    cat "$KEPT/$key" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
store) key=$(printf %s "$line" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' | tr '/:' '__')
    printf %s "$line" > "$KEPT/$key" ;;
erase) key=$(printf %s "$line" | tr '/:' '__'); rm "$KEPT/$key" ;;
esac
"""


def pair(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home without any credentials, and a helper ``docker-credential-kept`` on the path."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "kept").mkdir()
    program = home / "bin" / "docker-credential-kept"
    program.write_text(HELPER)
    program.chmod(0o755)
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KEPT", str(home / "kept"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    return home


def config(home: Path, content: object) -> Path:
    path = home / ".docker" / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("registry.lan:5000", "registry.lan:5000"),
        ("https://registry.lan:5000", "registry.lan:5000"),
        ("https://registry.lan:5000/v1/", "registry.lan:5000"),
        ("http://Registry.LAN:5000/v2/", "registry.lan:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_every_form_of_a_key_is_found(key: str, address: str) -> None:
    file = AuthFile.parse(json.dumps({"auths": {"other": pair("x", "y"), key: pair("alice", "ge:heim")}}))
    assert file.credentials(address) == ALICE
    assert file.credentials("registry.lan:5001") is None


def test_the_longest_namespace_counts_before_the_host() -> None:
    auths = {"r:5": pair("host", "1"), "r:5/team": pair("team", "2"), "r:5/team/app": pair("app", "3")}
    file = AuthFile.parse(json.dumps({"auths": auths}))
    users = [file.credentials("r:5", name) for name in ("team/app", "team/other", "team-b/app", "")]
    assert [one and one.user for one in users] == ["app", "team", "host", "host"]


def test_a_namespace_alone_is_no_credential_of_the_host() -> None:
    file = AuthFile.parse(json.dumps({"auths": {"r:5/team": pair("team", "2")}}))
    assert file.credentials("r:5") is None
    assert file.credentials("r:5", "team/app") is not None


def test_an_identity_token_is_a_password_of_nobody() -> None:
    entry = pair("00000000", "") | {"identitytoken": "abc"}
    file = AuthFile.parse(json.dumps({"auths": {"r": entry}}))
    assert file.credentials("r") == Credentials("<token>", Secret("abc"))
    written = with_entry("", "r", Credentials("<token>", Secret("abc")))
    assert json.loads(written) == {"auths": {"r": {"identitytoken": "abc"}}}


def test_user_and_password_may_stand_in_the_open() -> None:
    file = AuthFile.parse('{"auths": {"r": {"username": "alice", "password": "ge:heim"}, "empty": {}}}')
    assert file.credentials("r") == ALICE
    assert file.credentials("empty") is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no JSON object"),
        ('{"auths": []}', "auths: no JSON object"),
        ('{"auths": {"r": 1}}', "auths: r: no JSON object"),
        ('{"credHelpers": 1}', "credHelpers: no JSON object"),
        ('{"credHelpers": {"r": "../../bin/sh"}}', "credHelpers: r: '../../bin/sh'"),
        ('{"credsStore": 1}', "credsStore: 1"),
        ('{"auths": {"r": {"auth": "%%"}}}', "auths: r: auth"),
        ('{"auths": {"r": {"auth": "YWxpY2U="}}}', "auths: r: auth"),
        ('{"auths": {"r": {"auth": "/w=="}}}', "auths: r: auth"),
        ('{"auths": {"r": {"auth": 1}}}', "auths: r: auth"),
        ('{"auths": {"r": {"username": "a", "password": 1}}}', "auths: r: password"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_it(home: Path, text: str, named: str) -> None:
    path = config(home, text)
    with pytest.raises(AuthFileUnreadable) as caught:
        credentials.find("r")
    assert str(path) in caught.value.message
    assert named in (caught.value.cause or "")
    assert path.read_text() == text


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives up its rights for this")
def test_a_directory_that_only_root_may_enter_keeps_nothing_for_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = config(home, {"auths": {"a.example": pair("alice", "geheim")}})
    assert credentials.find("a.example")
    written.parent.chmod(0o700)
    monkeypatch.setenv("DOCKER_CONFIG", str(written.parent))
    with as_nobody():
        assert credentials.find("a.example") is None


def test_what_a_malformed_file_holds_is_not_lost_by_a_login(home: Path) -> None:
    path = config(home, '{"auths": {"r": ')
    with pytest.raises(AuthFileUnreadable):
        credentials.store("r", ALICE)
    assert path.read_text() == '{"auths": {"r": '


@given(
    rest=st.dictionaries(st.sampled_from(["HttpHeaders", "proxies", "psFormat"]), st.text() | st.integers()),
    auths=st.dictionaries(st.sampled_from(["a:1", "https://b/v1/", "c/d"]), st.just(pair("u", "p"))),
    user=st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), min_size=1),
    password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_what_goes_in_comes_out_and_the_rest_stays(
    rest: dict[str, object], auths: dict[str, object], user: str, password: str
) -> None:
    before = json.dumps({**rest, "auths": auths})
    given_ = Credentials(user, Secret(password))
    after = with_entry(before, "new.example:5000", given_)
    assert AuthFile.parse(after).credentials("new.example:5000") == given_
    assert json.loads(without_entry(after, "new.example:5000")) == json.loads(before)


def test_a_file_keeps_its_indent_and_loses_older_forms_of_the_key() -> None:
    before = json.dumps({"auths": {"https://r/v1/": pair("old", "1")}, "x": 1}, indent=4)
    after = with_entry(before, "r", ALICE)
    assert after == json.dumps({"auths": {"r": pair("alice", "ge:heim")}, "x": 1}, indent=4) + "\n"
    assert without_entry(before, "elsewhere") == before


def test_nothing_can_be_written_into_what_is_malformed() -> None:
    with pytest.raises(Malformed):
        with_entry("[1]", "r", ALICE)


def test_a_login_without_a_file_makes_one_for_its_owner_alone(home: Path) -> None:
    assert credentials.find("r:1") is None
    path = home / ".docker" / "config.json"
    assert credentials.store("r:1", ALICE) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert credentials.find("r:1") == credentials.Found(ALICE, str(path))
    assert credentials.erase("r:1") == (str(path),)
    assert credentials.find("r:1") is None
    assert credentials.erase("r:1") == ()
    assert [one.name for one in path.parent.iterdir()] == ["config.json"]


def test_a_file_that_all_could_read_is_closed_before_a_password_is_in_it(home: Path) -> None:
    path = config(home, {"auths": {}})
    path.chmod(0o644)
    credentials.store("r", ALICE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_that_is_named_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(home, {"auths": {"r": pair("docker", "1")}})
    podman = home / "run" / "containers" / "auth.json"
    podman.parent.mkdir(parents=True)
    podman.write_text(json.dumps({"auths": {"r": pair("podman", "2"), "only": pair("podman", "2")}}))
    assert [one and one.credentials.user for one in map(credentials.find, ("r", "only"))] == [
        "docker",
        "podman",
    ]
    named = home / "named.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert credentials.store("r", ALICE) == str(named)
    found = credentials.find("r")
    assert found == credentials.Found(ALICE, str(named))


def test_a_helper_for_all_keeps_the_password_and_the_file_does_not(home: Path) -> None:
    path = config(home, {"credsStore": "kept", "auths": {"other": {}}})
    assert credentials.find("r:1") is None
    assert credentials.store("r:1", ALICE) == "docker-credential-kept"
    assert json.loads(path.read_text()) == {"credsStore": "kept", "auths": {"other": {}, "r:1": {}}}
    assert credentials.find("r:1") == credentials.Found(ALICE, "docker-credential-kept")
    assert credentials.erase("r:1") == ("docker-credential-kept", str(path))
    assert list((home / "kept").iterdir()) == []
    assert credentials.find("r:1") is None


def test_a_helper_of_one_host_keeps_that_host_only(home: Path) -> None:
    path = config(home, {"credHelpers": {"r:1": "kept"}})
    credentials.store("r:1", ALICE)
    credentials.store("r:2", ALICE)
    assert json.loads(path.read_text())["auths"] == {"r:1": {}, "r:2": pair("alice", "ge:heim")}
    assert [one.name for one in (home / "kept").iterdir()] == ["r_1"]


def test_an_empty_helper_of_one_host_keeps_that_host_in_the_file(home: Path) -> None:
    path = config(home, {"credsStore": "absent", "credHelpers": {"r:1": ""}})
    assert credentials.store("r:1", ALICE) == str(path)
    assert credentials.find("r:1") == credentials.Found(ALICE, str(path))
    assert credentials.erase("r:1") == (str(path),)


def test_the_hub_has_one_key_in_a_helper(home: Path) -> None:
    config(home, {"credsStore": "kept"})
    credentials.store("docker.io", ALICE)
    assert [one.name for one in (home / "kept").iterdir()] == ["https___index.docker.io_v1_"]
    assert credentials.find("registry-1.docker.io") is not None


def test_a_helper_that_is_not_installed_is_named(home: Path) -> None:
    config(home, {"credsStore": "absent"})
    with pytest.raises(ProgramMissing, match="docker-credential-absent"):
        credentials.find("r")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo the keyring is locked >&2; exit 3", "the keyring is locked"),
        ("exit 3", "it ended with 3"),
        ("echo nonsense", "no JSON with Username and Secret"),
        ("echo '{}'", "no JSON with Username and Secret"),
        ("echo '[]'", "no JSON with Username and Secret"),
    ],
)
def test_a_helper_that_fails_is_an_error_with_what_it_said(home: Path, script: str, said: str) -> None:
    (home / "bin" / "docker-credential-kept").write_text(f"#!/bin/sh\n{script}\n")
    config(home, {"credsStore": "kept"})
    with pytest.raises(HelperFailed) as caught:
        credentials.find("r")
    assert said in (caught.value.cause or "")


def test_a_helper_that_can_not_store_is_an_error(home: Path) -> None:
    (home / "bin" / "docker-credential-kept").write_text("#!/bin/sh\necho no room; exit 1\n")
    path = config(home, {"credsStore": "kept"})
    before = path.read_text()
    with pytest.raises(HelperFailed, match="store failed for r"):
        credentials.store("r", ALICE)
    assert path.read_text() == before


def test_a_file_that_is_a_directory_or_no_text_is_an_error_that_names_it(home: Path) -> None:
    path = config(home, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AuthFileUnreadable, match="config"):
        credentials.find("r")
    path.unlink()
    path.mkdir()
    with pytest.raises(AuthFileUnreadable, match="config"):
        credentials.find("r")
