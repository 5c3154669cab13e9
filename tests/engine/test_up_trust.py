"""``up`` beyond loopback: TLS or plain HTTP, trusted by the engine and podman, proven, and taken back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca
from regsetup.host.docker_info import is_insecure, is_listed, mirrors
from regsetup.host.names import machine_names
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.cli import Regsetup
    from tests.bed.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CLIENT_FILES = (Path("/etc/docker/certs.d"), Path("/etc/containers"), Path("/etc/containerd"))


@pytest.fixture
def address() -> str:
    """An address of this machine that is not loopback: what other machines would use."""
    found = [one for one in machine_names().addresses if "." in str(one)]
    if not found:
        pytest.skip("this machine has no IPv4 address beyond loopback")
    return str(found[0])


@pytest.fixture
def here(regsetup: Regsetup, private_engine: PrivateEngine) -> Iterator[Regsetup]:
    """The command on the private engine; HOME is the test's, the files of clients are the machine's."""
    regsetup.env["DOCKER_HOST"] = private_engine.url
    before = _snapshot()
    yield regsetup
    for name in ("t1",):
        regsetup("teardown", "--name", name, "--purge", "-y")
    assert _snapshot() == before


def _snapshot() -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for root in CLIENT_FILES
        if root.exists()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_tls_is_on_and_the_engine_gets_the_ca(here: Regsetup, address: str) -> None:
    port = free_port()
    up = here.json("up", "--name", "t1", "--port", str(port), "--bind", "0.0.0.0", "--host", address)
    assert up["ok"], up["errors"]
    assert up["data"]["url"] == f"https://{address}:{port}"
    assert [user["name"] for user in up["data"]["users"]] == ["admin"]
    engine = next(one for one in up["data"]["checks"] if one["name"] == "engine")
    assert engine["outcome"] == "ok"
    assert f"{address}:{port}/" in engine["detail"]
    ca = Path("/etc/docker/certs.d", f"{address}:{port}", "ca.crt")
    assert ca.read_bytes() == (here.home / "t1/certs/ca.crt").read_bytes()
    assert not (here.home / "t1/certs/ca.key").exists(), (
        "what the container mounts must not hold the CA's key"
    )

    again = here.json("up", "--name", "t1")
    assert again["ok"]
    assert not again["changed"]

    gone = here.json("teardown", "--name", "t1")
    assert gone["ok"]
    assert not ca.parent.exists()


def test_podman_and_ctr_prove_what_they_were_told_and_say_why_when_they_refuse(
    here: Regsetup, address: str, private_engine: PrivateEngine
) -> None:
    here.env["CONTAINERD_ADDRESS"] = f"{private_engine.home}/x/containerd/containerd.sock"
    port = free_port()
    up = here.json("up", "--name", "t1", "--port", str(port), "--bind", "0.0.0.0", "--host", address)
    assert outcomes(up) >= {("engine", "ok"), ("podman", "ok")}, up["data"]["checks"]
    told = here.json("trust", "install", "--name", "t1", "--for", "containerd")
    assert outcomes(told) == {("engine", "ok"), ("podman", "ok"), ("containerd", "ok")}, told["data"]
    assert here.json("status", "--name", "t1")["data"]["repositories"] == 0, "the proof leaves nothing"
    places = [Path(top, "certs.d", f"{address}:{port}", "ca.crt") for top in CLIENT_FILES[1:]]
    ours, other = places[0].read_bytes(), new_ca("other", Names.of([address]), datetime.now(UTC))
    for place in places:
        place.write_bytes(other.certificate)
    check = here.json("check", "--name", "t1")
    assert outcomes(check) >= {("engine", "ok"), ("podman", "failed"), ("containerd", "failed")}
    assert [one["code"] for one in check["errors"]] == ["engine-unknown-ca"] * 2
    for place in places:
        place.write_bytes(ours)
    plain = ["up", "--name", "t1", "--insecure", "--no-check"]
    assert here.json(*plain)["ok"]
    told = here.json("trust", "install", "--name", "t1", "--for", "containerd")
    assert outcomes(told) == {("engine", "ok"), ("podman", "ok"), ("containerd", "ok")}, told["data"]
    assert here.json("trust", "install", "--name", "t1", "--no-check")["data"].get("checks") is None


def outcomes(envelope: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["name"], one["outcome"]) for one in envelope["data"]["checks"]}


def test_without_the_ca_the_engine_refuses(here: Regsetup, address: str) -> None:
    port = free_port()
    arguments = ["up", "--name", "t1", "--port", str(port), "--bind", "0.0.0.0", "--host", address]
    assert here.json(*arguments, "--trust", "none")["ok"]
    status = here.json("trust", "status", "--name", "t1", "--host", f"{address}:{port}", "--insecure")
    assert not status["ok"]
    assert here.json(*arguments, "--trust", "auto")["changed"]
    here.json("trust", "remove", "--name", "t1", "--host", f"{address}:{port}")
    lacking = here.json("trust", "status", "--name", "t1")
    assert not lacking["ok"]
    doctor = here.json("doctor", "--name", "t1")
    assert "trust-missing" in {one["code"] for one in doctor["data"]["findings"]}


def test_a_name_that_is_added_renews_the_ca_and_the_old_address_is_forgotten(
    here: Regsetup, address: str
) -> None:
    port, other = free_port(), free_port()
    first = ["up", "--name", "t1", "--port", str(port), "--bind", "0.0.0.0", "--host", address]
    assert here.json(*first)["ok"]
    moved = here.json("up", "--name", "t1", "--port", str(other), "--host", address, "--host", "reg.test")
    assert moved["ok"], moved["errors"]
    assert not Path("/etc/docker/certs.d", f"{address}:{port}").exists()
    for host in (address, "reg.test"):
        assert Path("/etc/docker/certs.d", f"{host}:{other}", "ca.crt").is_file()


def test_renewal_keeps_the_ca_and_changes_the_certificate(here: Regsetup, address: str) -> None:
    up = ["up", "--name", "t1", "--port", str(free_port()), "--bind", "0.0.0.0", "--host", address]
    assert here.json(*up)["ok"]
    before = here.json("cert", "status", "--name", "t1")["data"]
    renewed = here.json("cert", "renew", "--name", "t1")
    assert renewed["ok"], renewed["errors"]
    after = here.json("cert", "status", "--name", "t1")["data"]
    assert after["ca"]["fingerprint"] == before["ca"]["fingerprint"]
    assert after["certificate"]["fingerprint"] != before["certificate"]["fingerprint"]
    assert not here.json("up", "--name", "t1")["changed"]


def test_plain_http_puts_an_entry_into_daemon_json_and_takes_it_out(
    here: Regsetup, address: str, private_engine: PrivateEngine
) -> None:
    before = b'{\n  "labels": ["a=b"]\n}\n'
    private_engine.daemon_json.write_bytes(before)
    port = free_port()
    where = f"{address}:{port}"
    up = here.json(
        "up", "--name", "t1", "--port", str(port), "--bind", "0.0.0.0", "--host", address, "--insecure",
        "--user", "alice",
    )  # fmt: skip
    assert up["ok"], up["errors"]
    written = json.loads(private_engine.daemon_json.read_text())
    assert written == {"labels": ["a=b"], "insecure-registries": [where]}
    client = private_engine.client()
    try:
        assert is_listed(client.info(), where)
        engine = next(one for one in up["data"]["checks"] if one["name"] == "engine")
        assert (engine["outcome"], where in engine["detail"]) == ("ok", True)
        assert here.json("teardown", "--name", "t1")["ok"]
        assert private_engine.daemon_json.read_bytes() == before
        assert not is_insecure(client.info(), where)
    finally:
        client.close()


def test_a_cache_of_docker_hub_becomes_the_engines_mirror_and_others_say_why_not(
    here: Regsetup, private_engine: PrivateEngine
) -> None:
    before = private_engine.daemon_json.read_bytes()
    port = free_port()
    up = ["up", "--name", "t1", "--backend", "embedded", "--port", str(port), "--no-check"]
    hub = [*up, "--mirror-of", "docker.io"]
    plan = here.json(*hub, "--dry-run")["data"]["steps"]
    assert {"write"} == {one["action"] for one in plan if one["target"] == f"docker-mirror localhost:{port}"}
    assert private_engine.daemon_json.read_bytes() == before
    assert "docker pull IMAGE" in here(*hub).ok().out
    url = f"http://localhost:{port}"
    assert json.loads(private_engine.daemon_json.read_text()) == {"registry-mirrors": [url]}
    client = private_engine.client()
    try:
        assert mirrors(client.info()) == (f"{url}/",)
        assert not here.json("up", "--name", "t1")["changed"]
        assert here.json("trust", "status", "--name", "t1")["ok"]
        removed = here.json("trust", "remove", "--name", "t1", "--for", "podman")
        assert not removed["changed"], "--for chooses"
        assert here.json("trust", "remove", "--name", "t1", "--for", "docker-mirror")["changed"]
        assert (mirrors(client.info()), private_engine.daemon_json.read_bytes()) == ((), before)
        found = here.json("doctor", "--name", "t1")["data"]["findings"]
        assert "mirror-missing" in {one["code"] for one in found}
        assert "clients need not be told" in here("trust", "export", "--name", "t1").err
        assert here.json("trust", "install", "--name", "t1", "--mirror")["changed"]
        other = here.json(*up, "--mirror-of", "https://ghcr.io")
        assert other["ok"], other["errors"]
        assert (mirrors(client.info()), private_engine.daemon_json.read_bytes()) == ((), before)
    finally:
        client.close()
    said = here(*up, "--mirror-of", "https://ghcr.io").ok().out
    assert (
        f"engines take mirrors of Docker Hub only: docker pull localhost:{port}/IMAGE asks this cache" in said
    )
    refused = here.json("trust", "install", "--name", "t1", "--mirror")
    assert refused["errors"][0]["code"] == "no-mirror"


def test_a_daemon_json_that_can_not_be_read_stops_up_before_anything_is_made(
    here: Regsetup, address: str, private_engine: PrivateEngine
) -> None:
    sound = private_engine.daemon_json.read_bytes()
    private_engine.daemon_json.write_text('{"labels": [}')
    try:
        up = here.json(
            "up", "--name", "t1", "--port", str(free_port()), "--bind", "0.0.0.0", "--host", address,
            "--insecure", "--user", "alice",
        )  # fmt: skip
        assert not up["ok"]
        assert up["errors"][0]["code"] == "daemon-json-unreadable"
        assert private_engine.daemon_json.read_text() == '{"labels": [}'
        assert not (here.home / "t1").exists()
    finally:
        private_engine.daemon_json.write_bytes(sound)


def test_what_needs_no_trust_says_so(here: Regsetup) -> None:
    assert here.json("up", "--name", "t1", "--port", str(free_port()))["ok"]
    install = here.json("trust", "install", "--name", "t1")
    assert install["errors"][0]["code"] == "needs-no-trust"
    unclear = here.json("trust", "install", "--name", "t1", "--host", "reg.test:5000")
    assert unclear["errors"][0]["code"] == "how-to-trust"
    assert here.json("cert", "status", "--name", "t1")["errors"][0]["code"] == "no-tls"
