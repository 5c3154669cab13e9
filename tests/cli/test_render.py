"""``regsetup render``: its files, and what the programs say to them that they are for."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import bcrypt
import kubernetes_validate
import pytest
import yaml

from tests.bed.clients import Completed, run
from tests.bed.quadlet import quadlet
from tests.bed.run import free_port, need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bed.cli import Regsetup

pytestmark = pytest.mark.slow
HARD = 'b$c "d" 50% ${HOME}'
OPEN = ("--bind", "0.0.0.0", "--host", "registry.lan", "--env", f"A={HARD}")
PASSWORD = "correct-horse-battery"


@pytest.fixture
def regsetup(regsetup: Regsetup, tmp_path: Path) -> Regsetup:
    """The command, where no engine answers."""
    regsetup.env["DOCKER_HOST"] = f"unix://{tmp_path}/no-engine-here"
    return regsetup


def code(done: Completed) -> str:
    (error,) = json.loads(done.out)["errors"]
    assert "Traceback" not in done.err
    return str(error["code"])


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(directory)): one.read_bytes() for one in directory.rglob("*") if one.is_file()
    }


def as_systemd_reads(command: str) -> list[str]:
    """Split a line of ExecStart as systemd.service(5) and systemd.syntax(7) have it."""
    unescaped = [word.replace("$$", "\0") for word in shlex.split(command)]
    assert not any("$" in word for word in unescaped), "a variable would be put in"
    return [word.replace("\0", "$").replace("%%", "%") for word in unescaped]


def test_compose_is_written_with_all_it_refers_to_and_the_second_time_nothing(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = ("render", "compose", "-o", str(out), *OPEN, "--user", "alice", "--password-stdin")
    done = regsetup(*wanted, stdin=f"{PASSWORD}\n").ok()
    assert f"written    {out}/compose.yaml" in done.out
    assert f"docker compose -f {out}/compose.yaml up -d" in done.out
    assert "like the official registry:2" in done.out
    before = contents(out)
    assert {"compose.yaml", "config.yml", "http.secret", "auth/htpasswd", "certs/ca.crt"} <= before.keys()
    assert not [name for name, content in before.items() if PASSWORD.encode() in content]
    name, hashed = before["auth/htpasswd"].decode().strip().split(":")
    assert name == "alice"
    assert bcrypt.checkpw(PASSWORD.encode(), hashed.encode())

    again = regsetup.json(*wanted, stdin="")
    assert (again["changed"], again["data"]["users"]) == (False, [])
    assert {one["status"] for one in again["data"]["files"]} == {"unchanged"}
    assert contents(out) == before

    read = run([need("docker-compose"), "-f", f"{out}/compose.yaml", "config"]).ok()
    service = yaml.safe_load(read.out)["services"]["registry"]
    assert service["environment"]["A"].replace("$$", "$") == HARD
    assert f"{out}/auth:/etc/regsetup/auth:ro" in service["volumes"]
    assert service["ports"] == ["0.0.0.0:5000:5000/tcp"]


def test_a_password_that_was_made_up_is_shown_once_and_written_nowhere(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (user,) = regsetup.json("render", "compose", "-o", str(out), "--user", "bob", "-y")["data"]["users"]
    assert user["name"] == "bob"
    assert not [name for name, text in contents(out).items() if user["password"].encode() in text]
    said = regsetup("render", "compose", "-o", str(out), "--user", "bob", "--user", "eve", "-y").ok().out
    assert re.search(r"user       eve, password \S{24} \(shown once\)", said)
    assert "bob," not in said
    assert (out / "auth/htpasswd").read_text().startswith("bob:$2y$05$")


def test_files_with_other_content_are_left_alone_unless_forced(regsetup: Regsetup, tmp_path: Path) -> None:
    out = tmp_path / "out"
    regsetup("render", "compose", "-o", str(out)).ok()
    before = contents(out)
    refused = regsetup("render", "compose", "-o", str(out), "--port", "5001", "--json")
    assert (refused.code, code(refused)) == (1, "file-differs")
    assert f"{out}/compose.yaml is there" in refused.out
    assert contents(out) == before
    forced = regsetup.json("render", "compose", "-o", str(out), "--port", "5001", "--force")
    assert [one["status"] for one in forced["data"]["files"]] == ["unchanged", "replaced"]
    assert "127.0.0.1:5001:5000" in (out / "compose.yaml").read_text()


@pytest.mark.parametrize("kind", ["compose", "quadlet", "kubernetes"])
def test_what_needs_more_than_one_file_needs_a_directory(regsetup: Regsetup, kind: str) -> None:
    done = regsetup("render", kind, "--json")
    assert (done.code, code(done)) == (2, "needs-directory")
    assert not regsetup.home.exists()


def test_one_file_alone_goes_to_standard_output_or_under_the_name_that_is_given(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    said = regsetup("render", "systemd").ok()
    assert said.err == ""
    assert said.out == regsetup.json("render", "systemd")["data"]["text"]
    regsetup("render", "systemd", "-o", str(tmp_path / "there.service")).ok()
    assert f"--data {tmp_path}/data" in (tmp_path / "there.service").read_text()
    one = regsetup("render", "quadlet", "-o", str(tmp_path / "q.container")).ok()
    assert f"{tmp_path}/q.container" in one.out
    two = regsetup("render", "quadlet", "--data", "volume:v1", "-o", str(tmp_path / "p.container"), "--json")
    assert (two.code, code(two)) == (2, "several-files")
    assert not (tmp_path / "p.container").exists()


def test_systemd_takes_the_unit(regsetup: Regsetup, tmp_path: Path) -> None:
    out = tmp_path / "out"
    regsetup("render", "systemd", "-o", str(out), *OPEN, "-y").ok()
    unit = out / "regsetup-registry.service"
    assert f"--htpasswd {out}/auth/htpasswd" in unit.read_text()
    assert run([need("systemd-analyze"), "verify", "--man=no", str(unit)]).ok().err == ""
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "sometimes" in run(["systemd-analyze", "verify", "--man=no", str(unit)]).err
    volume = regsetup("render", "systemd", "--data", "volume:v1", "--json")
    assert (volume.code, code(volume)) == (2, "embedded-needs-directory")


def test_podmans_generator_makes_the_same_container_of_the_quadlet(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    regsetup("render", "quadlet", "-o", str(out), *OPEN, "-y", "--data", "volume:images").ok()
    done = run([quadlet(), "--dryrun"], env={"QUADLET_UNIT_DIRS": str(out)}).ok()
    assert "---images-volume.service---" in done.out
    (line,) = re.findall(r"^ExecStart=(/usr/bin/podman run .*)$", done.out, re.MULTILINE)
    words = as_systemd_reads(line)
    assert f"A={HARD}" in words
    assert words[-1] == "docker.io/library/registry:2"
    assert "images:/var/lib/registry:rw" in words
    assert f"{out}/certs:/etc/regsetup/certs:ro" in words
    assert words[words.index("--publish") + 1] == "0.0.0.0:5000:5000"
    assert json.loads(words[words.index("--health-cmd") + 1])[0] == "wget"
    (out / "registry.container").write_text("[Container]\nImage=a\nNoSuchKey=1\n")
    assert "NoSuchKey" in run([quadlet(), "--dryrun"], env={"QUADLET_UNIT_DIRS": str(out)}).err


def objects(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_kubernetes_objects_are_valid_and_hold_users_and_certificate(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = ("render", "kubernetes", "-o", str(out), *OPEN, "--namespace", "infra", "--size", "50Gi", "-y")
    (user,) = regsetup.json(*wanted)["data"]["users"]
    made = objects(out / "kubernetes.yaml")
    for one in made:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    deployment = next(one for one in made if one["kind"] == "Deployment")
    deployment["spec"]["strategie"] = {"type": "Recreate"}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    secrets = {one["metadata"]["name"]: one["stringData"] for one in made if one["kind"] == "Secret"}
    name, hashed = secrets["registry-users"]["htpasswd"].strip().split(":")
    assert (name, bcrypt.checkpw(user["password"].encode(), hashed.encode())) == ("admin", True)
    assert user["password"] not in (out / "kubernetes.yaml").read_text()
    assert secrets["registry-tls"]["tls.key"] == (out / "certs/tls.key").read_text()
    shown = run([need("openssl"), "x509", "-in", f"{out}/certs/tls.crt", "-noout", "-text"]).ok().out
    assert "DNS:registry.infra.svc" in shown
    assert (out / "kubernetes.yaml").stat().st_mode & 0o777 == 0o600
    assert regsetup.json(*wanted)["changed"] is False
    bad = regsetup("render", "kubernetes", "--name", "My_Registry", "-o", str(tmp_path / "no"), "--json")
    assert (bad.code, code(bad)) == (2, "not-for-kubernetes")


def test_users_are_taken_from_a_file(regsetup: Regsetup, tmp_path: Path) -> None:
    given, out = tmp_path / "users", tmp_path / "out"
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    given.write_text(f"carol:{hashed}\n")
    regsetup("render", "compose", "-o", str(out), "--htpasswd", str(given)).ok()
    assert (out / "auth/htpasswd").read_text() == given.read_text()
    assert "htpasswd:" in (out / "config.yml").read_text()
    given.write_text(f"carol:{hashed}\nno colon\n")
    bad = regsetup("render", "compose", "-o", str(out), "--htpasswd", str(given), "--json")
    assert code(bad) == "htpasswd-malformed"
    gone = regsetup("render", "compose", "-o", str(out), "--htpasswd", str(tmp_path / "gone"), "--json")
    assert code(gone) == "users-unreadable"


def test_a_registry_that_stands_is_rendered_with_what_it_has(regsetup: Regsetup, tmp_path: Path) -> None:
    port = str(free_port())
    told = ("--bind", "0.0.0.0", "--port", port, "--user", "alice", "--trust", "none")
    regsetup("up", "--backend", "embedded", *told, "--no-check", "-y").ok()
    root = regsetup.home / "registry"
    regsetup("render", "kubernetes", "-o", str(tmp_path / "k")).ok()
    assert sorted(contents(tmp_path / "k")) == ["http.secret", "kubernetes.yaml"]
    held = {one["metadata"]["name"]: one for one in objects(tmp_path / "k/kubernetes.yaml")}
    assert held["registry-users"]["stringData"]["htpasswd"] == (root / "auth/htpasswd").read_text()
    assert held["registry-tls"]["stringData"]["tls.crt"] == (root / "certs/tls.crt").read_text()
    assert held["registry"]["spec"]["ports"][0]["port"] == int(port)
    unit = regsetup("render", "systemd").ok()
    assert "regsetup teardown --name registry" in unit.err
    assert f"--htpasswd {root}/auth/htpasswd" in unit.out
    unknown = regsetup("render", "kubernetes", "--user", "bob", "--json")
    assert code(unknown) == "user-unknown"
    out = tmp_path / "out"
    regsetup("render", "compose", "-o", str(out)).ok()
    assert sorted(contents(out)) == ["compose.yaml", "config.yml", "http.secret"]
    binds = yaml.safe_load((out / "compose.yaml").read_text())["services"]["registry"]["volumes"]
    assert f"{root}/auth:/etc/regsetup/auth:ro" in binds
    assert f"{root}/data:/var/lib/registry:rw" in binds


def test_lets_encrypt_is_for_containers_and_gets_a_directory_and_a_word_on_port_443(
    regsetup: Regsetup, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = ("--tls", "acme", "--host", "registry.example.org", "--no-auth")
    done = regsetup("render", "quadlet", "-o", str(out), *wanted).ok()
    assert "asks registry.example.org on port 443" in done.out.replace("\n", " ")
    assert (out / "acme").stat().st_mode & 0o777 == 0o700
    config = yaml.safe_load((out / "config.yml").read_text())
    assert config["http"]["tls"]["letsencrypt"]["hosts"] == ["registry.example.org"]
    assert f"{out}/acme:/etc/regsetup/acme:rw" in (out / "registry.container").read_text()
    assert not (out / "certs").exists()
    assert code(regsetup("render", "systemd", "-o", str(out), *wanted, "--json")) == "no-acme"


def test_what_can_not_be_rendered_says_what_can(regsetup: Regsetup) -> None:
    done = regsetup("render", "swarm", "--json")
    assert (done.code, code(done)) == (2, "bad-setting")
    assert "compose, quadlet, systemd, kubernetes" in done.out
