"""Trust on whole machines: systemd runs the engine, and a client reaches the server over a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.trust.base import Registry
from regsetup.trust.export import script
from tests.bed.images import busybox_archive
from tests.bed.newer import NEWER
from tests.bed.roots import ensure_root_image
from tests.bed.run import wait_for

if TYPE_CHECKING:
    import docker

    from tests.bed.clients import Completed
    from tests.bed.hosts import Host, HostFactory

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

DAEMON_JSON, CERTS_D = "/etc/docker/daemon.json", "/etc/containerd/certs.d"
UNKNOWN_CA = "certificate signed by unknown authority"
TLS, PLAIN = "server:5000", "server:5001"
CA = new_ca("registry", Names.of(["server"]), datetime.now(UTC))
SECURE, INSECURE = Registry(TLS, CA.certificate), Registry(PLAIN, None)

CHANGE = """
import json, sys
from dataclasses import asdict
from regsetup.backends.engine_probe import EngineProbe
from regsetup.deployment import Daemon
from regsetup.errors import RegsetupError
from regsetup.host.engine import find
from regsetup.host.reload import Control

policy, text, key, value = sys.argv[1:]
url = "unix:///var/run/docker.sock"
probe = EngineProbe(url)
engine = find(url, probe.info())
control = Control(engine, probe, Daemon(policy), lambda stops: False)
said = {"manager": engine.manager.name, "unit": engine.unit, "config": str(engine.config)}
try:
    engine.check_flags("insecure-registries")
    applied = control.change(text, lambda info: str(info[key]) == value)
    said |= {"outcome": applied.outcome.name, "by_hand": applied.by_hand, "stops": applied.stops}
except RegsetupError as error:
    said |= error.as_dict()
print(json.dumps(said))
"""


def daemon_json(host: Host) -> str:
    """Return daemon.json, made if no test before this one needed it."""
    host.sh(f"[ -e {DAEMON_JSON} ] || echo '{{}}' >{DAEMON_JSON}").ok()
    return host("cat", DAEMON_JSON).ok().out


def change(host: Host, policy: str, text: str, key: str, value: str) -> dict[str, Any]:
    """Change daemon.json on ``host`` until ``docker info`` says ``value`` under ``key``."""
    done = host("/opt/regsetup/bin/python3", "-c", CHANGE, policy, text, key, value).ok()
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.fixture(scope="module")
def registries(server: Host) -> Host:
    """A server with two bundled registries: one with TLS on 5000, one without on 5001."""
    leaf = new_leaf(CA, Names.of(["server"]), datetime.now(UTC))
    server.write("/root/tls.crt", leaf.certificate)
    server.write("/root/tls.key", leaf.key.reveal(), mode=0o600)
    serve = "regsetup serve --bind 0.0.0.0 --no-auth"
    server.sh(f"systemd-run --unit=tls {serve} --data /srv/a --cert /root/tls.crt --key /root/tls.key").ok()
    server.sh(f"systemd-run --unit=plain {serve} --data /srv/b --port 5001").ok()
    for url in ("https://localhost:5000", "http://localhost:5001"):
        wait_for(url, lambda url=url: server("curl", "-ksf", f"{url}/v2/").code == 0)  # type: ignore[misc]
    return server


@pytest.fixture(scope="module")
def client(host_factory: HostFactory, host_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host with an engine, an image that runs, and regsetup's library."""
    host = host_factory("client")
    host.install_regsetup(host_packages)
    host.start_engine()
    archive = tmp_path_factory.mktemp("image") / "box.tar"
    archive.write_bytes(busybox_archive("box:1"))
    host.copy(archive, "/root")
    host("docker", "load", "-i", "/root/box.tar").ok()
    return host


@pytest.fixture(scope="module")
def newer(
    engine: docker.DockerClient, host_factory: HostFactory, tmp_path_factory: pytest.TempPathFactory
) -> Host:
    """A client with engine 26.1, which has no systemd, and neither python3 nor jq."""
    host = host_factory.run("newer", ensure_root_image(engine, NEWER), "dockerd")
    host.write("/root/box.tar", busybox_archive("box:1"))
    wait_for("dockerd", lambda: host("docker", "info").code == 0, seconds=60)
    host("docker", "load", "-i", "/root/box.tar").ok()
    return host


def push(host: Host, address: str) -> Completed:
    host("docker", "tag", "box:1", f"{address}/box:1").ok()
    return host("docker", "push", f"{address}/box:1")


def sh(host: Host, registry: Registry, *args: str) -> Completed:
    """Run the exported script as ``regsetup trust export | ssh host sudo sh`` does."""
    return host("sh", "-s", "--", *args, stdin=script([registry], datetime.now(UTC)))


ETC = "find /etc /usr/local/share -type f | sort | xargs -d '\\n' sha256sum; find /etc ! -type f | sort"


@pytest.mark.parametrize(
    ("registry", "refusal"),
    [(SECURE, UNKNOWN_CA), (INSECURE, "HTTP response to HTTPS client")],
    ids=["tls", "plain"],
)
def test_a_client_pushes_and_pulls_only_while_the_exported_script_is_installed(
    registries: Host, client: Host, registry: Registry, refusal: str
) -> None:
    before = client.sh(ETC).ok().out
    assert refusal in push(client, registry.address).err
    sh(client, registry).ok()
    push(client, registry.address).ok()
    client("docker", "rmi", f"{registry.address}/box:1").ok()
    client("docker", "pull", f"{registry.address}/box:1").ok()
    podman = client("podman", "pull", f"docker://{registry.address}/box:1")
    assert podman.code == 0, podman.err
    assert sh(client, registry, "--status").code == 0
    sh(client, registry, "--remove").ok()
    assert refusal in push(client, registry.address).err
    assert client.sh(ETC).ok().out == before


@pytest.mark.parametrize(
    ("registry", "refusal"),
    [(SECURE, "failed to verify certificate"), (INSECURE, "HTTP response to HTTPS client")],
    ids=["tls", "plain"],
)
def test_a_newer_engine_pushes_and_pulls_only_while_the_exported_script_is_installed(
    registries: Host, newer: Host, registry: Registry, refusal: str
) -> None:
    before = newer.sh(ETC).ok().out
    assert refusal in push(newer, registry.address).err
    said = sh(newer, registry).ok().err
    assert ("docker: reloaded (SIGHUP to dockerd" in said) is not registry.tls
    push(newer, registry.address).ok()
    newer("docker", "rmi", f"{registry.address}/box:1").ok()
    newer("docker", "pull", f"{registry.address}/box:1").ok()
    sh(newer, registry, "--remove").ok()
    assert refusal in push(newer, registry.address).err
    assert newer.sh(ETC).ok().out == before


def test_the_script_refuses_what_a_newer_dockerd_would_not_start_from(newer: Host) -> None:
    """Engine 23 and later can be asked by ``dockerd --validate``."""
    wrong = '{"no-such-key": true}'
    newer.write(DAEMON_JSON, wrong)
    done = sh(newer, INSECURE, "--for", "docker")
    assert (done.code, "dockerd would not start with" in done.err, "no-such-key" in done.err) == (
        1,
        True,
        True,
    )
    assert newer("cat", DAEMON_JSON).out == wrong
    newer.write(DAEMON_JSON, '{"debug": true}')
    sh(newer, INSECURE, "--for", "docker").ok()
    sh(newer, INSECURE, "--remove").ok()
    assert newer("cat", DAEMON_JSON).out == '{"debug": true}'


def test_a_broken_daemon_json_stays_and_the_engine_with_it(registries: Host, client: Host) -> None:
    broken = '{"debug": tru'
    client.write(DAEMON_JSON, broken)
    told = ("regsetup", "trust", "install", "--for", "docker", "--host", PLAIN, "--insecure", "--json")
    done = client(*told)
    assert done.code == 1
    assert json.loads(done.out)["errors"][0]["code"] == "daemon-json-unreadable"
    by_script = sh(client, INSECURE, "--for", "docker")
    assert (by_script.code, "can't be read; it stays as it is" in by_script.err) == (1, True)
    assert client("cat", DAEMON_JSON).out == broken
    assert client("docker", "info").code == 0
    client("rm", DAEMON_JSON).ok()
    client(*told).ok()  # the twin
    push(client, PLAIN).ok()
    client("regsetup", "trust", "remove", "--host", PLAIN).ok()
    assert "HTTP response to HTTPS client" in push(client, PLAIN).err
    assert client("cat", DAEMON_JSON).code == 1


@pytest.fixture(scope="module")
def lan(registries: Host, registry_archive: Path, registry_image: str) -> dict[str, str]:
    """A registry of each back end that the program itself set up; address to its name."""
    registries.start_engine()
    registries.copy(registry_archive, "/root")
    up = "regsetup up --bind 0.0.0.0 --host server --no-auth"
    registries.sh(f"{up} --name lan --port 5002 --backend embedded").ok()
    archive = f"--image {registry_image} --image-archive /root/{registry_archive.name}"
    registries.sh(f"{up} --name box --port 5003 --backend docker {archive}").ok()
    return {"server:5002": "lan", "server:5003": "box"}


def export(registries: Host, name: str) -> str:
    return registries("regsetup", "trust", "export", "--name", name).ok().out


def test_docker_podman_and_containerd_use_what_the_program_set_up_and_exported(
    registries: Host, client: Host, lan: dict[str, str]
) -> None:
    for address, name in lan.items():
        script = export(registries, name)
        asked = (push(client, address), podman(client, address), ctr(client, address))
        assert [UNKNOWN_CA in one.err for one in asked] == [True, True, True], asked
        client("sh", stdin=script).ok()
        push(client, address).ok()
        for pulled in (podman(client, address), ctr(client, address)):
            pulled.ok()
        client("ctr", "images", "push", "--hosts-dir", CERTS_D, f"{address}/box:ctr", f"{address}/box:1").ok()
    said = json.loads(registries("regsetup", "doctor", "--name", "lan", "--json").out)
    found = {finding["code"] for finding in said["data"]["findings"]}
    assert found <= {"clock-free"}, said  # a container follows no time server


def podman(host: Host, address: str) -> Completed:
    return host("podman", "pull", f"docker://{address}/box:1")


def ctr(host: Host, address: str) -> Completed:
    return host("ctr", "images", "pull", "--hosts-dir", CERTS_D, f"{address}/box:1")


LOAD = """
while [ ! -e /root/stop ]; do
    docker rmi ADDRESS/box:1 >/dev/null || :
    if docker pull -q ADDRESS/box:1 && docker push -q ADDRESS/box:1; then echo; else echo failed; fi
done >/root/load 2>&1
"""


def test_a_renewal_under_load_fails_no_pull_or_push(
    registries: Host, client: Host, lan: dict[str, str]
) -> None:
    """Of the bundled registry; a container, which must start again, goes on with the new pair."""
    for address, name in lan.items():
        client.sh("rm -f /root/stop /root/load").ok()
        client.write("/root/load.sh", LOAD.replace("ADDRESS", address))
        client("systemd-run", "--unit", f"load-{name}", "sh", "/root/load.sh").ok()
        wait_for("the load", lambda: len(client("cat", "/root/load").out) > 100)
        old = registries.sh(f"cat /var/lib/regsetup/{name}/certs/tls.crt").ok().out
        registries("regsetup", "cert", "renew", "--name", name).ok()
        assert registries.sh(f"cat /var/lib/regsetup/{name}/certs/tls.crt").ok().out != old
        client("touch", "/root/stop").ok()
        unit = f"load-{name}.service"
        wait_for("the load to end", lambda unit=unit: client("systemctl", "is-active", unit).code != 0)  # type: ignore[misc]
        if name == "lan":
            assert "failed" not in client("cat", "/root/load").out
        client("docker", "pull", f"{address}/box:1").ok()


def test_both_back_ends_come_back_with_tls_and_images_when_the_server_reboots(
    registries: Host, client: Host, lan: dict[str, str]
) -> None:
    registries.reboot()
    for address, name in lan.items():
        client.sh(f"docker rmi {address}/box:1")
        wait_for(address, lambda address=address: client("docker", "pull", f"{address}/box:1").code == 0)  # type: ignore[misc]
        client("sh", "-s", "--", "--remove", stdin=export(registries, name)).ok()
        assert UNKNOWN_CA in push(client, address).err
        registries("regsetup", "teardown", "--name", name, "--purge", "-y").ok()
        assert registries("regsetup", "trust", "status", "--name", name).code == 1


def test_the_unit_is_found_and_a_reload_leaves_containers_alone(client: Host) -> None:
    client.sh("docker run -d --name busy box:1 /bin/busybox sleep 600").ok()
    started = client("docker", "inspect", "-f", "{{.State.StartedAt}}", "busy").ok().out
    said = change(client, "reload", '{"live-restore": false, "debug": true}', "Debug", "True")
    assert said["outcome"] == "RELOADED", said
    assert (said["manager"], said["unit"]) == ("SYSTEMD", "docker.service")
    assert client("docker", "inspect", "-f", "{{.State.StartedAt}}", "busy").ok().out == started


def test_a_restart_that_is_not_allowed_is_left_to_the_person_with_the_command(client: Host) -> None:
    said = change(client, "auto", '{"log-driver": "local"}', "LoggingDriver", "local")
    assert said["outcome"] == "PENDING", said
    assert said["by_hand"] == "sudo systemctl restart docker.service"
    assert "busy" in said["stops"]


def test_a_restart_that_is_allowed_goes_through_systemd(client: Host) -> None:
    said = change(client, "restart", '{"log-driver": "local"}', "LoggingDriver", "local")
    assert said["outcome"] == "RESTARTED", said
    assert client("systemctl", "is-active", "docker").out == "active\n"


def test_an_engine_that_does_not_start_gets_its_old_file_and_runs_again(client: Host) -> None:
    before = daemon_json(client)
    said = change(client, "restart", '{"storage-driver": "nope"}', "Driver", "nope")
    assert said["code"] == "engine-stayed-down", said
    assert "it runs again" in said["message"]
    assert client("cat", "/etc/docker/daemon.json").ok().out == before
    assert client("docker", "info").code == 0


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (
            "/etc/systemd/system/docker.service.d/flag.conf",
            "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --insecure-registry x:1\n",
        ),
        ("/etc/default/docker", 'DOCKER_OPTS="--insecure-registry=x:1"\n'),
    ],
)
def test_a_flag_in_a_drop_in_or_default_file_is_named_and_nothing_is_written(
    client: Host, path: str, content: str
) -> None:
    before = daemon_json(client)
    client("mkdir", "-p", str(Path(path).parent)).ok()
    client.sh(f"[ ! -e {path} ] || cp -p {path} /root/kept").ok()
    client.write(path, content)
    client("systemctl", "daemon-reload").ok()
    said = change(client, "reload", before, "Debug", "False")
    client.sh(
        f"if [ -e /root/kept ]; then mv /root/kept {path}; else rm {path}; fi; systemctl daemon-reload"
    ).ok()
    assert said["code"] == "daemon-flag-conflict", said
    assert path in said["message"]
    assert client("cat", "/etc/docker/daemon.json").ok().out == before


def test_a_flag_in_the_unit_of_an_engine_that_does_not_run_is_named(client: Host) -> None:
    drop_in = "/etc/systemd/system/docker.service.d/flag.conf"
    before = daemon_json(client)
    client("mkdir", "-p", str(Path(drop_in).parent)).ok()
    client.write(
        drop_in, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --insecure-registry x:1\n"
    )
    client.sh("systemctl daemon-reload; systemctl stop docker.socket docker").ok()
    words = ("--host", "r.lan:5000", "--insecure", "--for", "docker", "--json")
    said = client("regsetup", "trust", "install", *words)
    client.sh(f"rm {drop_in}; systemctl daemon-reload; systemctl start docker.socket docker").ok()
    (error,) = json.loads(said.out)["errors"]
    assert error["code"] == "daemon-flag-conflict"
    assert drop_in in error["message"]
    assert client("cat", "/etc/docker/daemon.json").out == before


def test_an_engine_of_sysvinit_is_reloaded_restarted_and_brought_back_by_its_script(
    host_factory: HostFactory, host_packages: Path
) -> None:
    host = host_factory.without_systemd("sysv")
    host.install_regsetup(host_packages)
    host("sed", "-i", "s/ulimit -/: &/", "/etc/init.d/docker").ok()  # these may be more than a test may have
    host("service", "docker", "start").ok()
    wait_for("dockerd", lambda: host("docker", "info").code == 0, seconds=60)
    said = change(host, "reload", '{"debug": true}', "Debug", "True")
    assert (said.get("outcome"), said["manager"], said["unit"]) == ("RELOADED", "SERVICE", "docker"), said
    said = change(host, "auto", '{"log-driver": "local"}', "LoggingDriver", "local")
    assert (said.get("outcome"), said["by_hand"]) == ("PENDING", "sudo service docker restart"), said
    said = change(host, "restart", '{"log-driver": "local"}', "LoggingDriver", "local")
    assert said.get("outcome") == "RESTARTED", said
    said = change(host, "restart", '{"storage-driver": "nope"}', "Driver", "nope")
    assert (said.get("code"), "it runs again" in said["message"]) == ("engine-stayed-down", True), said
    assert "driver not supported" in said["cause"], said
    assert host("cat", DAEMON_JSON).out == '{"log-driver": "local"}'
    assert host("docker", "info").code == 0
