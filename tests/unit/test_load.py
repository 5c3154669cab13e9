"""Flags, environment, file and what the last `up` remembered become one deployment."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from regsetup.auth.htpasswd import BadUserName
from regsetup.deployment import (
    Backend,
    Daemon,
    Deployment,
    Directory,
    Listen,
    Paths,
    RestartPolicy,
    Tls,
    Trust,
    Volume,
)
from regsetup.given import BadSetting, Given, UnknownVariable
from regsetup.load import (
    Contradiction,
    Loaded,
    OnlyThere,
    RegistryOfAnother,
    find_home,
    insist_on_rights,
    load,
)
from regsetup.settings import FIELDS
from regsetup.settings_file import BadFile
from tests.bed.rights import as_nobody

if TYPE_CHECKING:
    from collections.abc import Mapping

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")


class Place:
    """A working directory and a home."""

    def __init__(self, tmp_path: Path) -> None:
        self.cwd = tmp_path / "cwd"
        self.home = tmp_path / "home"
        self.cwd.mkdir(exist_ok=True)

    def load(
        self,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
        defaults: Mapping[str, Given] | None = None,
    ) -> Loaded:
        return load(flags or {}, environ or {}, file, self.home, cwd=self.cwd, defaults=defaults)

    def wanted(self, **flags: object) -> Deployment:
        return self.load(flags).deployment

    def write(self, text: str, name: str = "regsetup.yaml") -> Path:
        path = self.cwd / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def remember(self, loaded: Loaded) -> None:
        """Do what `up` does with what it was told."""
        path = Paths(self.home, loaded.deployment.name).deployment
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(loaded.wished)), encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_given_means_an_open_registry_on_loopback(place: Place) -> None:
    assert place.wanted() == Deployment(name="registry", storage=Directory(place.home / "registry" / "data"))


def test_flags_win_over_variables_over_the_file_over_the_last_up_over_the_defaults(place: Place) -> None:
    place.remember(place.load({"port": "1", "bind": "127.0.0.1", "image": "remembered", "realm": "Old"}))
    assert place.load().deployment.port == 1
    assert place.load().origins["port"] == "the last up"
    place.write("port: 2\nimage: from-file\n")
    assert (place.load().deployment.port, place.load().origins["port"]) == (2, "regsetup.yaml:1:1: port")
    environ = {"REGSETUP_PORT": "3"}
    assert place.load(environ=environ).deployment.port == 3
    assert place.load(environ=environ).origins["port"] == "REGSETUP_PORT"
    loaded = place.load({"port": "4"}, environ)
    assert (loaded.deployment.port, loaded.origins["port"]) == (4, "--port")
    assert loaded.deployment.image == "from-file"
    assert loaded.deployment.realm == "Registry", "with a file, the last up does not count"


def test_a_file_named_with_f_wins_over_the_one_that_lies_here(place: Place) -> None:
    place.write("port: 1\n")
    other = place.write("port: 2\n", "other.yaml")
    assert place.load(file=other).deployment.port == 2


def test_each_registry_remembers_its_own(place: Place) -> None:
    place.remember(place.load({"name": "aa", "port": "1"}))
    place.remember(place.load({"name": "bb", "port": "2"}))
    assert place.wanted(name="aa").port == 1
    assert place.wanted(name="bb").port == 2
    assert place.wanted(name="cc").port == 5000
    assert place.load(environ={"REGSETUP_NAME": "bb"}).deployment.port == 2


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("image_archive: a.tar", "image_archive", "cwd/a.tar"),
        ("image-archive: a.tar", "image_archive", "cwd/a.tar"),
        ("data: images", "storage", "cwd/images"),
        ("listen: ':5001'", "listen", Listen("0.0.0.0", 5001)),
        ("hosts: [a.lan, b.lan]", "hosts", ("a.lan", "b.lan")),
        ("host: a.lan", "hosts", ("a.lan",)),
        ("users: [alice, bob]", "users", ("alice", "bob")),
        ("user: alice", "users", ("alice",)),
        ("user: [alice, alice]", "users", ("alice",)),
        ("auth: yes", "auth", True),
        ("no_auth: true", "auth", False),
        ("no-auth: false", "auth", True),
        ("realm: 12", "realm", "12"),
        ("env: {B: 2, A: x y}", "env", (("A", "x y"), ("B", "2"))),
        ("env: [B=2, A=1]", "env", (("A", "1"), ("B", "2"))),
        ("backend: embedded", "backend", Backend.EMBEDDED),
        ("", "port", 5000),
        ("# nothing\n", "port", 5000),
    ],
)
def test_the_file_takes_every_spelling(place: Place, text: str, key: str, value: object) -> None:
    place.write(text)
    found = getattr(place.wanted(), key)
    if isinstance(value, str) and value.startswith("cwd/"):
        assert str(found) == str(place.cwd.parent / value)
    else:
        assert found == value


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("REGSETUP_HOST", "a.lan, b.lan", "hosts", ("a.lan", "b.lan")),
        ("REGSETUP_USER", "alice,bob,", "users", ("alice", "bob")),
        ("REGSETUP_ENV", "A=1,B=2", "env", (("A", "1"), ("B", "2"))),
        ("REGSETUP_NO_AUTH", "1", "auth", False),
        ("REGSETUP_AUTH", "true", "auth", True),
        ("REGSETUP_RESTART_POLICY", "always", "restart_policy", RestartPolicy.ALWAYS),
        ("REGSETUP_PORT", "", "port", 5000),
        ("REGSETUP_DATA", "volume:vv", "storage", Volume("vv")),
    ],
)
def test_variables_are_read(place: Place, variable: str, text: str, key: str, value: object) -> None:
    assert getattr(place.load(environ={variable: text}).deployment, key) == value


def test_a_relative_path_starts_where_it_was_written(place: Place) -> None:
    file = place.write("data: images\ncert: c\nkey: k\n", "sub/other.yaml")
    wanted = place.load({"key": "k"}, {}, file).deployment
    assert wanted.storage == Directory(place.cwd / "sub" / "images")
    assert (wanted.cert, wanted.key) == (place.cwd / "sub" / "c", place.cwd / "k")


@pytest.mark.parametrize(
    ("text", "message", "rest"),
    [
        ("prot: 5000\n", "regsetup.yaml:1:1: unknown key 'prot'", "did you mean 'port'?"),
        ("port: 1\n\nuzers: [a]\n", "regsetup.yaml:3:1: unknown key 'uzers'", "did you mean 'users'?"),
        ("zzzzz: 1\n", "regsetup.yaml:1:1: unknown key 'zzzzz'", "known keys: name, backend"),
        ("{port: 1, qqqqq: 2}\n", "regsetup.yaml:1:11: unknown key", "known keys"),
        ("port: 1\nport: 2\n", "regsetup.yaml:2:1: port stands twice", ""),
        ("user: a\nusers: [b]\n", "regsetup.yaml:2:1: users stands twice", ""),
        ("auth: true\nno_auth: true\n", "regsetup.yaml:2:1: no_auth stands twice", ""),
        ("port:\n", "regsetup.yaml:1:6: port has no value", ""),
        ("port: [1]\n", "regsetup.yaml:1:7: port takes one value, not a list", ""),
        ("port: {a: 1}\n", "regsetup.yaml:1:7: port takes one value, not a mapping", ""),
        ("hosts: {a: 1}\n", "regsetup.yaml:1:8: hosts takes a value or a list of values, not a mapping", ""),
        ("users: [[a]]\n", "regsetup.yaml:1:9: users takes one value, not a list", ""),
        ("no_auth: [true]\n", "regsetup.yaml:1:10: no_auth takes one value, not a list", ""),
        ("env: {A: [1]}\n", "regsetup.yaml:1:10: env takes one value, not a list", ""),
        ("- port\n", "regsetup.yaml:1: expected settings", ""),
        ("port\n", "regsetup.yaml:1: expected settings", ""),
        ("port: [1\n", "regsetup.yaml:2:1: not YAML", "expected ',' or ']'"),
        ("a: b: c\n", "regsetup.yaml:1:5: not YAML", "mapping values are not allowed"),
        ("port: 1\n---\nport: 2\n", "regsetup.yaml:2:1: not YAML", "another document"),
        ("port: \x07\n", "regsetup.yaml: not YAML", "special characters"),
        ("? [port]\n: 1\n", "regsetup.yaml:1:3: a key is a word", ""),
    ],
)
def test_a_bad_file_is_refused_at_its_line_and_column(
    place: Place, text: str, message: str, rest: str
) -> None:
    place.write(text)
    with pytest.raises(BadFile) as caught:
        place.load()
    assert message in caught.value.message
    assert rest in f"{caught.value.cause} {caught.value.fix}"
    assert caught.value.exit_code == 2


def test_a_file_nested_too_deep_is_refused(place: Place) -> None:
    place.write("port: " + "[" * 5000)
    with pytest.raises(BadFile, match="nested too deep"):
        place.load()


def test_a_file_that_cannot_be_read_is_refused(place: Place) -> None:
    with pytest.raises(BadFile, match="can't be read"):
        place.load(file=place.cwd / "missing.yaml")
    with pytest.raises(BadFile, match="can't be read"):
        place.load(file=place.cwd)
    path = place.cwd / "latin.yaml"
    path.write_bytes(b"realm: \xe4\n")
    with pytest.raises(BadFile, match="not UTF-8"):
        place.load(file=path)


@pytest.mark.parametrize(
    ("flags", "environ", "text", "origin"),
    [
        ({"port": "99999"}, {}, "", "--port: '99999'"),
        ({"image_archive": "a\0b"}, {}, "", "--image-archive: "),
        ({}, {"REGSETUP_PORT": "x"}, "", "REGSETUP_PORT: 'x'"),
        ({}, {"REGSETUP_NO_AUTH": "perhaps"}, "", "REGSETUP_NO_AUTH: 'perhaps'"),
        ({}, {"REGSETUP_HOST": "a.lan,-b"}, "", "REGSETUP_HOST: '-b'"),
        ({}, {}, "backend: docke\n", "regsetup.yaml:1:1: backend: 'docke'"),
        ({}, {}, "no_auth: maybe\n", "regsetup.yaml:1:1: no_auth: 'maybe'"),
        ({"name": "a/b"}, {}, "", "--name: 'a/b'"),
        ({"host": ["ok", "not ok"]}, {}, "", "--host: 'not ok'"),
    ],
)
def test_a_bad_value_names_where_it_was_written(
    place: Place, flags: dict[str, object], environ: dict[str, str], text: str, origin: str
) -> None:
    place.write(text)
    with pytest.raises(BadSetting) as caught:
        place.load(flags, environ)
    assert caught.value.message.startswith(origin)
    assert (caught.value.cause or "").startswith("expected ")
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "way_on"),
    [
        (b"port:\t5001\n", "a blank in the place of the tab"),
        (b"{", "such as port: 5000"),
        (b"- a\n", "such as port: 5000"),
        (b"? [a]\n: b\n", "such as port: 5000"),
        (b"port: [1, 2]\n", "port: VALUE"),
        (b"users: {a: b}\n", "users: [VALUE, VALUE]"),
        (b"port:\n", "leave port out"),
        (b"\xff\n", "UTF-8"),
        (b"port: 1\nport: 2\n", "leave one of them"),
    ],
)
def test_every_mistake_in_the_file_has_a_way_on(place: Place, text: bytes, way_on: str) -> None:
    (place.cwd / "regsetup.yaml").write_bytes(text)
    with pytest.raises(BadFile) as caught:
        place.load()
    assert way_on in str(caught.value.fix)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("REGSETUP_PROT", "REGSETUP_PORT"),
        ("REGSETUP_HOSTS", "REGSETUP_HOST"),
        ("REGSETUP_NOAUTH", "REGSETUP_NO_AUTH"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_right_name(place: Place, written: str, meant: str) -> None:
    with pytest.raises(UnknownVariable, match=written) as caught:
        place.load(environ={written: "5001"})
    assert f"did you mean {meant}?" in str(caught.value.fix)


@pytest.mark.parametrize(
    "name", ["REGSETUP_HOME", "REGSETUP_DEBUG", "REGSETUP_SERVICE_HOST", "PROT", "REGSETUP_"]
)
def test_variables_that_mean_something_else_are_left_alone(place: Place, name: str) -> None:
    assert place.load(environ={name: "5001"}).deployment.port == 5000


def test_a_bad_user_name_is_refused(place: Place) -> None:
    with pytest.raises(BadUserName):
        place.wanted(user=["a:b"])


@pytest.mark.parametrize(
    "flags",
    [
        {"cert": "c"},
        {"key": "k"},
        {"user": ["alice"], "auth": False},
        {"insecure": True, "tls": "self-signed"},
        {"insecure": True, "cert": "c", "key": "k"},
        {"cert": "c", "key": "k", "tls": "off"},
        {"cert": "c", "key": "k", "tls": "self-signed"},
    ],
)
def test_settings_that_exclude_each_other_are_refused(place: Place, flags: dict[str, object]) -> None:
    with pytest.raises(Contradiction) as caught:
        place.load(flags)
    assert caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("flags", "auth", "tls"),
    [
        ({}, False, Tls.OFF),
        ({"user": ["a"]}, True, Tls.OFF),
        ({"auth": True}, True, Tls.OFF),
        ({"bind": "::1"}, False, Tls.OFF),
        ({"bind": "0.0.0.0"}, True, Tls.SELF_SIGNED),
        ({"bind": "::"}, True, Tls.SELF_SIGNED),
        ({"bind": "0.0.0.0", "insecure": True}, True, Tls.OFF),
        ({"bind": "0.0.0.0", "auth": False}, False, Tls.SELF_SIGNED),
        ({"bind": "0.0.0.0", "tls": "off"}, True, Tls.OFF),
        ({"tls": "self-signed"}, False, Tls.SELF_SIGNED),
        ({"cert": "c", "key": "k"}, False, Tls.OWN),
        ({"cert": "c", "key": "k", "tls": "auto"}, False, Tls.OWN),
    ],
)
def test_beyond_loopback_the_defaults_are_tls_and_a_user(
    place: Place, flags: dict[str, object], auth: bool, tls: Tls
) -> None:
    wanted = place.load(flags).deployment
    assert (wanted.auth, wanted.tls) == (auth, tls)
    assert wanted.scheme == ("http" if tls is Tls.OFF else "https")


def test_beyond_loopback_it_is_called_by_the_name_of_the_machine(place: Place) -> None:
    assert place.wanted(bind="0.0.0.0").address == f"{socket.gethostname()}:5000"
    assert place.wanted(bind="0.0.0.0", host=["r.lan"]).address == "r.lan:5000"
    assert place.wanted(host=["2001:db8::1"], port="1").address == "[2001:db8::1]:1"
    assert place.wanted().address == "localhost:5000"


@pytest.mark.parametrize(
    ("bind", "local"), [("0.0.0.0", "127.0.0.1:5000"), ("::", "[::1]:5000"), ("127.0.0.2", "127.0.0.2:5000")]
)
def test_the_machine_itself_needs_no_name(place: Place, bind: str, local: str) -> None:
    assert str(place.wanted(bind=bind).local) == local


def test_the_last_of_two_equal_variables_wins(place: Place) -> None:
    assert place.wanted(env=["A=2", "B=1", "A=1"]).env == (("A", "1"), ("B", "1"))


def test_up_alone_means_the_same_again(place: Place) -> None:
    before = place.load({"user": ["alice"], "port": "5005", "env": ["A=1"], "host": ["r.lan"]})
    place.remember(before)
    after = place.wanted()
    assert after.auth, "alice is in htpasswd; that credentials are asked for is remembered"
    assert after.users == (), "who was removed since must not come back"
    assert (after.port, after.env, after.hosts) == (5005, (("A", "1"),), ("r.lan",))


@pytest.mark.parametrize(
    ("then", "now", "tls", "auth"),
    [
        ({"auth": False}, {"user": ["alice"]}, Tls.OFF, True),
        ({"user": ["alice"]}, {"auth": False}, Tls.OFF, False),
        ({"tls": "self-signed"}, {"insecure": True}, Tls.OFF, False),
        ({"cert": "c", "key": "k"}, {"insecure": True}, Tls.OFF, False),
        ({"cert": "c", "key": "k"}, {"insecure": False}, Tls.OWN, False),
        ({"cert": "c", "key": "k"}, {"tls": "self-signed"}, Tls.SELF_SIGNED, False),
        ({"cert": "c", "key": "k"}, {"tls": "off"}, Tls.OFF, False),
        ({"tls": "off"}, {"cert": "c", "key": "k"}, Tls.OWN, False),
        ({"insecure": True}, {"tls": "self-signed"}, Tls.SELF_SIGNED, False),
        ({"insecure": True}, {"cert": "c", "key": "k"}, Tls.OWN, False),
        ({"cert": "c", "key": "k"}, {"cert": "d"}, Tls.OWN, False),
    ],
)
def test_what_is_said_now_takes_back_what_was_said_then(
    place: Place, then: dict[str, object], now: dict[str, object], tls: Tls, auth: bool
) -> None:
    place.remember(place.load(then))
    wanted = place.load(now).deployment
    assert (wanted.tls, wanted.auth) == (tls, auth)


TEXTS: dict[str, st.SearchStrategy[Any]] = {
    "backend": st.sampled_from([str(one) for one in Backend]),
    "image": st.sampled_from(["registry:2", "registry:3", "r.lan:5/a/b:c"]),
    "port": st.integers(1, 65535).map(str),
    "bind": st.sampled_from(["127.0.0.1", "0.0.0.0", "::", "localhost"]),
    "listen": st.integers(1, 65535).map(lambda port: f":{port}"),
    "host": st.lists(st.sampled_from(["a.lan", "192.0.2.1", "2001:db8::1"]), min_size=1),
    "data": st.sampled_from(["images", "/srv/images", "volume:images", "sp ace", "täst"]),
    "auth": st.booleans(),
    "realm": st.text("abc:#'&*!%@`,[]{}|>?- ä12", min_size=1, max_size=10),
    "insecure": st.booleans(),
    "trust": st.sampled_from([str(one) for one in Trust]),
    "daemon": st.sampled_from([str(one) for one in Daemon]),
    "restart_policy": st.sampled_from([str(one) for one in RestartPolicy]),
    "env": st.lists(
        st.builds("{}={}".format, st.sampled_from("AB"), st.text(max_size=8).filter(lambda t: "\0" not in t)),
        min_size=1,
    ),
    "mirror_of": st.sampled_from(["https://registry-1.docker.io", "http://up.lan:5000/"]),
    "read_only": st.booleans(),
    "immutable_tags": st.lists(st.sampled_from(["v*", "[0-9]*", "!x?"]), min_size=1),
    "allow_sparse": st.booleans(),
    "min_free": st.sampled_from(["0", "64MiB", "2G"]),
    "upload_ttl": st.sampled_from(["1h", "30d"]),
}


@given(st.fixed_dictionaries({}, optional=TEXTS))
@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_what_is_remembered_loads_to_the_same_deployment(place: Place, flags: dict[str, object]) -> None:
    path = Paths(place.home, "registry").deployment
    path.unlink(missing_ok=True)
    before = place.load(flags)
    place.remember(before)
    after = place.load()
    assert after.deployment == before.deployment
    assert after.wished == before.wished


@given(st.fixed_dictionaries({}, optional=TEXTS))
@how(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_says_what_flags_say(place: Place, flags: dict[str, object]) -> None:
    file = place.write(yaml.safe_dump(flags), "same.yaml")
    assert place.load(file=file).deployment == place.load(flags).deployment


ONE_OF_EACH = {
    "daemon_json": "daemon.json",
    "certs_d": "certs.d",
    "name": "nn",
    "backend": "docker",
    "image": "registry:3",
    "image_archive": "a.tar",
    "port": "5005",
    "bind": "127.0.0.2",
    "listen": ":5001",
    "host": "a.lan",
    "data": "images",
    "user": "alice",
    "auth": "true",
    "realm": "Ours",
    "tls": "self-signed",
    "insecure": "true",
    "trust": "none",
    "daemon": "never",
    "restart_policy": "always",
    "env": "A=1",
    "mirror_of": "https://up.lan",
    "machine": "build1.lan",
    "read_only": "true",
    "immutable_tags": "v*",
    "allow_sparse": "true",
    "min_free": "1GiB",
    "upload_ttl": "1d",
    "bundle": "b.tar",
}
TOGETHER: tuple[dict[str, str], ...] = (
    {"cert": "c", "key": "k"},
    {"acme_email": "me@example.org", "tls": "acme", "host": "registry.example.org"},
)


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_every_setting_can_be_given_in_each_way(place: Place, key: str) -> None:
    """A key that is read from one place only would be a trap."""
    given = {key: ONE_OF_EACH[key]} if key in ONE_OF_EACH else next(one for one in TOGETHER if key in one)
    by_flag = place.load(given).deployment
    assert by_flag != place.load().deployment
    environ = {FIELDS[one].variable: text for one, text in given.items()}
    assert place.load(environ=environ).deployment == by_flag
    assert place.load(file=place.write(yaml.safe_dump(given), "one.yaml")).deployment == by_flag


def test_home_is_where_it_was_said_or_where_the_system_keeps_such_things(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert find_home({"REGSETUP_HOME": "~/r"}) == tmp_path / "r"
    expected = Path("/var/lib/regsetup") if os.geteuid() == 0 else tmp_path / ".local/share/regsetup"
    assert find_home({}) == expected


@needs_root
def test_home_of_an_ordinary_user_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    nobody = pwd.getpwnam("nobody").pw_uid
    os.seteuid(nobody)
    try:
        found = find_home({})
    finally:
        os.seteuid(0)
    assert found == tmp_path / "regsetup"


@needs_root
@pytest.mark.parametrize("closed", ["home", "home/registry", "home/registry/state.json"])
def test_what_another_user_set_up_is_said_to_be_his(closed: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        paths = Paths(Path(made) / "home", "registry")
        paths.root.mkdir(parents=True)
        paths.state.write_text("{}")
        Path(made, closed).chmod(0o600)
        insist_on_rights(paths)
        with as_nobody():
            insist_on_rights(Paths(Path(made) / "elsewhere", "registry"))
            with pytest.raises(RegistryOfAnother, match=rf"may not read {made}/home") as caught:
                load({}, {}, None, paths.home, cwd=Path(made))
    assert "sudo" in (caught.value.fix or "")


def test_a_home_of_a_user_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadSetting, match="REGSETUP_HOME"):
        find_home({"REGSETUP_HOME": "~nobody-of-that-name/r"})


def test_a_registry_on_another_machine_is_beyond_loopback_with_its_images_in_a_volume(place: Place) -> None:
    found = place.load({"machine": "build1"}).deployment
    assert (found.bind, found.hosts, str(found.local)) == ("0.0.0.0", ("build1",), "build1:5000")
    assert (found.tls, found.auth) == (Tls.SELF_SIGNED, True)
    assert str(found.storage) == "volume:registry.regsetup-data"


def test_what_is_said_elsewhere_wins_over_the_engines_machine(place: Place) -> None:
    default = {"machine": Given(("build1",), "the engine", place.cwd)}
    assert place.load({}, defaults=default).deployment.machine == "build1"
    assert place.load({"machine": "build2"}, defaults=default).deployment.machine == "build2"
    assert place.load({}, defaults=default).origins["machine"] == "the engine"


@pytest.mark.parametrize("more", [{"data": "images"}, {"bind": "127.0.0.1"}, {"bind": "::1"}])
def test_what_would_be_out_of_reach_on_another_machine_is_refused(place: Place, more: dict[str, str]) -> None:
    with pytest.raises(OnlyThere):
        place.load({"machine": "build1", **more})
    place.load(more)
