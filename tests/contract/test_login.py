"""login and logout: proven, kept where docker and podman find it, and forgotten there."""

from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.htpasswd import Cost, Htpasswd, hash_password
from regsetup.client import Credentials, Endpoint, RegistryClient
from regsetup.credentials import find
from regsetup.secret import Secret
from tests.bed.clients import run
from tests.bed.liar import Liar, reply, reply_json
from tests.bed.run import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.liar import Request
    from tests.contract.both import Serve
    from tests.contract.calling import Calling

ALICE = Credentials("alice", Secret("alice's pässword"))
CONFIG = (
    b'{"os":"linux","architecture":"amd64","created":"2026-01-01T00:00:00Z","config":{},'
    b'"rootfs":{"type":"layers","diff_ids":[]}}'
)


@pytest.fixture
def host(serve: Serve, tmp_path: Path) -> str:
    """A registry that lets alice in, and nobody else; it has the image app:1."""
    users = tmp_path / "htpasswd"
    users.write_text(str(Htpasswd().with_user("alice", hash_password(ALICE.password, Cost.FAST))))
    url = serve(htpasswd=users).url
    with RegistryClient(Endpoint(url, credentials=ALICE)) as client:
        media_type = "application/vnd.docker.distribution.manifest.v2+json"
        config = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": str(client.put_blob("app", CONFIG)),
            "size": len(CONFIG),
        }
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []}
        client.put_manifest("app", "1", json.dumps(manifest).encode(), media_type)
    return url.removeprefix("http://")


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(f"{ALICE.password.reveal()}\n")
    return str(path)


def test_a_login_is_proven_kept_and_forgotten(host: str, password: str, call: Calling) -> None:
    config = call.home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{\n    "psFormat": "table",\n    "auths": {"other:1": {"auth": "eDp5"}}\n}')
    assert call.codes("tags", f"{host}/app") == (1, ["unauthorized"])
    said = call("login", host, "-u", "alice", "--password-file", password).ok()
    assert said.lines == [f"alice enters {host}; kept in {config} (Base64, not encrypted)"]
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    kept = json.loads(config.read_text())
    assert kept["psFormat"] == "table"
    assert set(kept["auths"]) == {"other:1", host}
    assert call("tags", f"{host}/app").ok().lines == ["1"]
    data = call.json("logout", host)["data"]
    assert data == {"registry": host, "erased": {host: [str(config)]}}
    assert call.codes("tags", f"{host}/app") == (1, ["unauthorized"])
    assert "nothing to do" in call("logout", host).ok().out


def test_real_clients_read_what_login_wrote(host: str, password: str, call: Calling) -> None:
    call("login", "--registry", host, "-u", "alice", "--password-file", password).ok()
    env = {"HOME": str(call.home), "DOCKER_CONFIG": str(call.home / ".docker")}
    config = str(call.home / ".docker" / "config.json")
    assert (
        run([need("skopeo"), "login", "--get-login", "--authfile", config, host], env=env).ok().out
        == "alice\n"
    )
    assert run([need("podman"), "login", "--get-login", host], env=env).ok().out == "alice\n"
    there = f"docker://{host}/app:1"
    assert "linux" in run([need("skopeo"), "inspect", "--tls-verify=false", there], env=env).ok().out
    docker = [need("docker"), "manifest", "inspect", "--insecure", f"{host}/app:1"]
    assert "schemaVersion" in run(docker, env=env | {"DOCKER_CLI_EXPERIMENTAL": "enabled"}).ok().out
    call("logout", host).ok()
    assert run([need("skopeo"), "inspect", "--tls-verify=false", there], env=env).code != 0


def test_what_real_clients_wrote_is_read(host: str, call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"HOME": str(call.home)}
    named = call.home / "named.json"
    for program in ("skopeo", "podman"):
        words = [
            need(program),
            "login",
            "--tls-verify=false",
            "-u",
            "alice",
            "--password-stdin",
            "--authfile",
            str(named),
            host,
        ]
        run(words, env=env, stdin=ALICE.password.reveal()).ok()
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
        assert call("exists", f"{host}/app:1").code == 0
        call("logout", host).ok()
        assert call("exists", f"{host}/app:1").code == 1
        named.unlink()


def test_a_copy_within_a_registry_enters_each_part_as_who_is_kept_for_it(
    host: str, call: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """podman and skopeo keep credentials for a namespace: containers-auth.json(5)."""
    right = base64.b64encode(f"alice:{ALICE.password.reveal()}".encode()).decode()
    wrong = base64.b64encode(b"alice:wrong").decode()
    named = call.home / "named.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    for new, code in ((right, 0), (wrong, 1)):
        named.write_text(
            json.dumps({"auths": {f"{host}/app": {"auth": right}, f"{host}/new": {"auth": new}}})
        )
        assert call("copy", f"{host}/app:1", f"{host}/new/app:1").code == code


def test_a_wrong_password_is_kept_nowhere(host: str, call: Calling, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    assert call.codes("login", host, "-u", "alice", "--password-file", str(wrong)) == (1, ["unauthorized"])
    assert not (call.home / ".docker").exists()
    assert call.codes("login", host) == (2, ["nobody-named"])
    assert call.codes("login", host, "-u", "alice") == (2, ["password-missing"])
    assert call.codes("login", "--password-file", str(wrong)) == (2, ["user-missing"])
    assert call.codes("login") == (1, ["no-registry-named"])
    assert call.codes("logout") == (1, ["no-registry-named"])


def test_a_malformed_file_keeps_what_it_holds(host: str, password: str, call: Calling) -> None:
    config = call.home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"auths": ')
    for command in (
        ["login", host, "-u", "alice", "--password-file", password],
        ["logout", host],
        ["tags", f"{host}/app"],
    ):
        said = call(*command)
        assert (said.code, str(config) in said.err) == (1, True)
    assert config.read_text() == '{"auths": '


def test_a_password_for_an_open_registry_is_kept_without_proof(
    serve: Serve, password: str, call: Calling
) -> None:
    host = serve().url.removeprefix("http://")
    said = call("login", host, "-u", "alice", "--password-file", password).ok()
    assert f"{host} lets everybody in" in said.err
    assert call.json("login", host, "-u", "alice", "--password-file", password)["data"]["proven"] is False
    assert find(host) is not None


def test_a_login_by_token_is_proven_by_the_token_service(password: str, call: Calling) -> None:
    basic = "Basic " + base64.b64encode(f"alice:{ALICE.password.reveal()}".encode()).decode()

    def serve(request: Request) -> bytes:
        if request.path == "/token":
            return reply_json({"token": "t"}) if request.headers.get("authorization") == basic else reply(401)
        if request.headers.get("authorization") == "Bearer t":
            return reply_json({})
        return reply(401, WWW_Authenticate=f'Bearer realm="{liar.url}/token",service="s"')

    with Liar(serve) as liar:
        assert (
            "alice enters" in call("login", liar.address, "-u", "alice", "--password-file", password).ok().out
        )
        assert call.codes("login", liar.address, "-u", "bob", "--password-file", password) == (
            1,
            ["unauthorized"],
        )
