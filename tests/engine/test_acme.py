"""``--tls acme`` end to end: registry:2 orders its certificate from a real ACME server, or is refused one."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.bed.acme import Authority
from tests.bed.images import tar_of
from tests.bed.proxy import EngineProxy
from tests.bed.run import free_port, lan_address, unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker

    from tests.bed.deployed import Deployed
    from tests.bed.engine import PrivateEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

HOST, SECOND = "registry.example.org", "second.example.org"


@pytest.fixture
def authority(deployed: Deployed, tmp_path: Path) -> Iterator[Authority]:
    """An authority that asks on the registry's port, as if it were 443; the program trusts its root."""
    made = Authority(tmp_path / "authority", deployed.port, lan_address())
    try:
        made.start()
        deployed.regsetup.env["SSL_CERT_FILE"] = str(made.root)
        yield made
    finally:
        made.stop()


@pytest.fixture
def image(deployed: Deployed, authority: Authority) -> Iterator[str]:
    """registry:2 with the authority's own certificate in it."""
    name = f"regsetup-test/{unique('acme')}"
    made = _with_file(deployed.client, "acme-ca.pem", authority.api_ca.read_bytes(), name)
    yield f"{name}:latest"
    deployed("teardown", "--purge", "-y")
    deployed.client.images.remove(made, force=True)


def _with_file(client: docker.DockerClient, path: str, content: bytes, name: str) -> str:
    base = client.containers.create("registry:2")
    try:
        base.put_archive("/", tar_of({path: content}))
        return str(base.commit(name).id)
    finally:
        base.remove(v=True)


def test_a_registry_gets_its_certificate_and_keeps_it_or_what_was_there_comes_back(
    deployed: Deployed, authority: Authority, image: str, tmp_path: Path
) -> None:
    first = _first(authority, image)
    nothing = deployed.everything()
    refused = deployed.json("up", *first, "--port", str(free_port()))
    _is_refused(refused, HOST)
    assert deployed.everything() == nothing, "nothing was there, and nothing is left"

    here = [*first, "--port", str(deployed.port)]
    up = deployed.json("up", *here, "--acme-email", "me@example.org")
    assert up["ok"], up["errors"]
    assert up["data"]["url"] == f"https://{HOST}:{deployed.port}"
    assert f"forward it, TLS untouched, to port {deployed.port} here" in up["data"]["notes"][0]
    assert deployed.container().attrs["State"].get("Health") is None, "no probe names the host"
    acme = deployed.regsetup.home / "registry/acme"
    assert stat.S_IMODE(acme.stat().st_mode) == 0o700
    issued = _certificate(deployed)
    assert issued["issuer"].startswith("CN=Pebble")
    assert issued["names"] == [HOST]
    assert "nothing to do" in deployed.regsetup("cert", "renew").ok().out
    assert not deployed.json("up")["changed"]
    status = deployed.json("status")["data"]
    assert (status["answers"], status["certificate_days"] > 365) == (True, True)
    findings = {one["code"] for one in deployed.json("doctor")["data"]["findings"]}
    assert not [one for one in findings if one.startswith(("certificate", "trust"))]
    assert deployed.regsetup.json("trust", "status")["errors"][0]["code"] == "needs-no-trust"

    life = deployed.life()
    _is_refused(deployed.json("up", "--host", HOST, "--host", SECOND, "--port", str(free_port())), SECOND)
    assert deployed.container().id == life[0], "the old container is back"
    assert deployed.json("check")["ok"]
    assert _certificate(deployed) == issued

    assert deployed.json("up", "--tls", "self-signed", "--no-check")["ok"]
    assert _certificate(deployed)["issuer"] != issued["issuer"]
    assert deployed.json("up", "--tls", "acme", "--port", str(deployed.port))["ok"]
    assert _certificate(deployed) == issued, "it had been kept"

    copy = tmp_path / "copy.tar.zst"
    deployed("backup", str(copy)).ok()
    deployed("teardown", "--purge", "-y").ok()
    assert not acme.exists()
    restored = deployed.regsetup.json("restore", str(copy))
    assert restored["ok"], restored["errors"]
    assert _certificate(deployed) == issued, "the one of the backup"
    assert authority.issued() == 1


def test_an_engine_elsewhere_keeps_the_certificate_in_a_volume(
    deployed: Deployed, private_engine: PrivateEngine, authority: Authority, image: str
) -> None:
    there = EngineProxy(private_engine.url.removeprefix("unix://"))
    there.start()
    try:
        deployed.regsetup.env["DOCKER_HOST"] = there.url
        nothing, first = deployed.everything(), [*_first(authority, image), "--no-check"]
        _is_refused(deployed.json("up", *first, "--port", str(free_port())), HOST)
        assert deployed.everything() == nothing

        assert deployed.json("up", *first, "--port", str(deployed.port))["ok"]
        issued = _certificate(deployed)
        life = deployed.life()
        assert deployed.json("up", "--realm", "Other", "--no-check")["ok"]
        assert deployed.life() != life
        assert (_certificate(deployed), authority.issued()) == (issued, 1)
        deployed("teardown", "--purge", "-y").ok()
        assert deployed.everything() == nothing
    finally:
        there.stop()


def _first(authority: Authority, image: str) -> list[str]:
    """Return the words for a registry that reaches the authority."""
    env = (f"HTTPS_PROXY={authority.proxy}", "SSL_CERT_FILE=/acme-ca.pem")
    leads_there = [word for one in env for word in ("--env", one)]
    return ["--image", image, *leads_there, "--tls", "acme", "--host", HOST, "--backend", "docker", "-y"]


def _certificate(deployed: Deployed) -> dict[str, Any]:
    """Return what ``cert status`` shows."""
    shown: dict[str, Any] = deployed.regsetup.json("cert", "status", "--name", deployed.name)["data"]
    return dict(shown["certificate"])


def _is_refused(envelope: dict[str, Any], host: str) -> None:
    """The error names the host, the registry's own reason, and what to look at."""
    (error,) = envelope["errors"]
    assert error["code"] == "not-certified"
    assert host in error["message"]
    assert f'for domain "{host}": no viable challenge type found' in error["cause"]
    assert "port 443" in error["fix"]
