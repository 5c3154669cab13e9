"""The doctor: every rule with a fact that breaks it and one that does not, and pasted errors."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regsetup import trust_here
from regsetup.auth.certificates import Certificate, Names
from regsetup.backends.context import BadContext
from regsetup.deployment import Deployment, Directory, Paths, Tls
from regsetup.doctor import Facts, Severity, diagnose
from regsetup.doctor.addresses import excepted
from regsetup.doctor.examine import closed_socket, examine
from regsetup.host.certificate_files import CertificateFiles
from regsetup.host.engine import Dockerd, Manager
from regsetup.host.names import machine_names
from regsetup.trust.containerd import Containerd
from regsetup.trust.install import State, Status, install
from regsetup.trust.podman import Podman
from tests.bed.rights import as_nobody
from tests.bed.run import free_port, missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed.registry import RegistryProcess

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HASH = "$2y$05$" + "a" * 53


def wanted(directory: Path, **more: Any) -> Deployment:
    plain: dict[str, Any] = {"name": "registry", "storage": Directory(directory), "hosts": ("registry.lan",)}
    return Deployment(**{**plain, **more})


def certificate(**more: Any) -> Certificate:
    plain = Certificate(
        subject="CN=registry",
        issuer="CN=ca",
        names=Names.of(["registry.lan"]),
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=400),
        fingerprint="AA",
        key_id="02",
        issuer_key_id="01",
    )
    return replace(plain, **more)


INFO: dict[str, Any] = {
    "RegistryConfig": {"IndexConfigs": {"registry.lan:5000": {"Secure": False}}, "InsecureRegistryCIDRs": []}
}
LISTED = b'{"insecure-registries": ["registry.lan:5000"]}'


@pytest.fixture
def healthy(tmp_path: Path) -> Facts:
    """A registry with TLS and users, on a machine where all is well."""
    return Facts(
        wanted=wanted(tmp_path, tls=Tls.SELF_SIGNED, auth=True, bind="0.0.0.0"),
        now=NOW,
        info={"RegistryConfig": {}},
        engine=Dockerd(Manager.SYSTEMD, pid=7, unit="docker.service"),
        daemon_json=b'{"debug": true}',
        answers=True,
        listens="docker-proxy (pid 9)",
        clients=(Status("docker", State.TRUSTS, ""), Status("k3s", State.ABSENT, "")),
        resolved=("10.0.0.5",),
        own=frozenset({"10.0.0.5", "127.0.0.1"}),
        ca=certificate(key_id="01"),
        leaf=certificate(),
        htpasswd=f"alice:{HASH}\n".encode(),
        htpasswd_mode=0o100600,
        storage_writable=True,
        storage_free=100 << 30,
        synchronized=True,
    )


def test_a_healthy_registry_has_no_findings(healthy: Facts) -> None:
    assert diagnose(healthy) == ()


def test_facts_that_could_not_be_gathered_lead_to_no_findings(tmp_path: Path) -> None:
    assert diagnose(Facts(wanted(tmp_path), NOW)) == ()


ROOTLESS: dict[str, Any] = {"RegistryConfig": {}, "SecurityOptions": ["name=seccomp", "name=rootless"]}
FLAGGED = Dockerd(Manager.SYSTEMD, flag_files=(("/etc/default/docker", "--insecure-registry=x"),))
FD = Dockerd(Manager.SYSTEMD, flag_files=(("docker.service", "ExecStart=/usr/bin/dockerd -H fd://"),))
BROKEN = [
    ("engine-silent", {"info": None}, "sudo systemctl restart docker.service"),
    ("engine-silent", {"info": None, "engine": Dockerd(Manager.STOPPED)}, "sudo systemctl start docker"),
    ("engine-silent", {"info": None, "there": False, "backend": "", "engine_installed": True}, "restart"),
    ("engine-no-rights", {"info": None, "engine_closed": "unix:///run/docker.sock"}, "usermod -aG docker"),
    ("engine-other", {"shell_engine": "unix:///x", "engine_address": "unix:///y"}, "unset DOCKER_HOST"),
    ("engine-elsewhere", {"there": False, "shell_engine": "tcp://10.0.0.1:2375"}, "unset DOCKER_HOST"),
    ("bad-docker-context", {"shell_trouble": BadContext("ours", "none")}, "docker context ls"),
    ("port-in-use", {"there": False}, "regsetup up --port PORT"),
    ("storage-rootless", {"info": ROOTLESS, "engine_uid": 1000, "storage_owner": 0}, "sudo chown -R 1000"),
    ("daemon-json-unreadable", {"daemon_json": b"{"}, "mend /etc/docker/daemon.json by hand"),
    ("daemon-flag-conflict", {"engine": FLAGGED, "daemon_json": LISTED, "info": INFO}, "take --insecure"),
    (
        "daemon-flag-conflict",
        {"engine": FD, "daemon_json": b'{"hosts": ["fd://", "tcp://127.0.0.1:2375"]}'},
        'take "hosts" out of',
    ),
    ("daemon-json-entry", {"daemon_json": b'{"registry-mirrors": ["cache.lan:5000"]}'}, "mend it in"),
    ("daemon-json-entry", {"daemon_json": b'{"registry-mirrors": ["http://u:secret@c/"]}'}, "mend it in"),
    ("daemon-json-entry", {"daemon_json": b'{"registry-mirrors": ["https://cache.lan/hub"]}'}, "mend it in"),
    ("daemon-json-blank-entry", {"daemon_json": b'{"insecure-registries": [" a"]}'}, "take it out of"),
    ("daemon-not-reloaded", {"daemon_json": LISTED}, "sudo regsetup trust install"),
    ("insecure-beside-tls", {"daemon_json": LISTED, "info": INFO}, "sudo regsetup trust remove"),
    ("certificate-missing", {"leaf": None, "answers": False}, "regsetup up"),
    ("registry-down", {"answers": False, "listens": None}, "regsetup up"),
    ("port-foreign", {"answers": False}, "stop docker-proxy (pid 9)"),
    ("name-unknown", {"resolved": ()}, "regsetup up --host ADDRESS"),
    ("name-elsewhere", {"resolved": ("10.9.9.9",)}, "point registry.lan to one of 10.0.0.5"),
    (
        "name-ipv6-first",
        {"resolved": ("::1", "127.0.0.1"), "shadow": "nginx (pid 3)"},
        "regsetup up --bind ::",
    ),
    ("certificate-missing", {"leaf": None}, "regsetup up"),
    ("certificate-expired", {"leaf": certificate(not_after=NOW - timedelta(days=1))}, "regsetup cert renew"),
    (
        "certificate-ends-soon",
        {"leaf": certificate(not_after=NOW + timedelta(days=9))},
        "regsetup cert renew",
    ),
    ("certificate-names", {"leaf": certificate(names=Names.of(["other.lan"]))}, "regsetup up"),
    ("certificate-other-ca", {"leaf": certificate(issuer_key_id="09")}, "regsetup up"),
    ("trust-missing", {"clients": (Status("podman", State.DIFFERS, "x is missing"),)}, "--for podman"),
    (
        "trust-missing",
        {"clients": (Status("docker", State.DIFFERS, "x", (Path("/etc/docker"),)),)},
        "regsetup trust export --for docker | sudo sh",
    ),
    ("mirror-missing", {"clients": (Status("docker-mirror", State.DIFFERS, "x"),)}, "--for docker-mirror"),
    ("daemon-json-blank-entry", {"daemon_json": b'{"registry-mirrors": [""]}'}, "take it out of"),
    ("users-missing", {"htpasswd": None}, "regsetup adduser NAME"),
    ("users-line", {"htpasswd": b"alice\n"}, "sed -i 1d htpasswd, or mend"),
    ("users-line", {"htpasswd": b"alice:plain\n"}, "regsetup passwd NAME"),
    ("users-exposed", {"htpasswd_mode": 0o100644}, "chmod 600"),
    ("storage-not-writable", {"storage_writable": False}, "ls -ld"),
    ("disk-full", {"storage_free": 0}, "regsetup gc"),
    ("disk-full", {"storage_free": 100 << 20}, "regsetup gc"),
    ("selinux", {"selinux": True, "answers": False, "listens": None}, "chcon"),
    ("clock-behind", {"now": datetime(1970, 1, 1, tzinfo=UTC)}, "timedatectl"),
    ("clock-behind", {"leaf": certificate(not_before=NOW + timedelta(hours=1))}, "timedatectl"),
    ("clock-free", {"synchronized": False}, "timedatectl"),
    ("proxy", {"proxies": {"https_proxy": "http://proxy:3128"}}, "NO_PROXY for this shell"),
    ("proxy", {"info": {"HttpProxy": "http://u:secret@proxy"}}, "the engine and restart it"),
    ("firewall-bypassed", {"firewall": "ufw"}, "DOCKER-USER"),
]


@pytest.mark.parametrize(
    ("code", "changes", "fix"), BROKEN, ids=[f"{n}-{b[0]}" for n, b in enumerate(BROKEN)]
)
def test_each_broken_fact_is_found(healthy: Facts, code: str, changes: dict[str, Any], fix: str) -> None:
    found = {finding.code: finding for finding in diagnose(replace(healthy, **changes))}
    assert code in found
    assert fix in found[code].fix
    assert found[code].cause
    assert "secret" not in str(found)


def test_commands_are_for_the_registry_of_that_name(healthy: Facts) -> None:
    team = replace(healthy, wanted=replace(healthy.wanted, name="team"), answers=False, listens=None)
    team = replace(team, leaf=certificate(not_after=NOW + timedelta(days=9)))
    fixes = {finding.code: finding.fix for finding in diagnose(team)}
    assert fixes["registry-down"] == "regsetup up --name team; regsetup logs --name team says why it ended"
    assert fixes["certificate-ends-soon"] == "regsetup cert renew --name team"
    own = replace(team, wanted=replace(team.wanted, tls=Tls.OWN))
    fixes = {finding.code: finding.fix for finding in diagnose(own)}
    assert "regsetup up --name team --cert FILE" in fixes["certificate-ends-soon"]


def test_what_fails_stands_before_what_may(healthy: Facts) -> None:
    found = diagnose(replace(healthy, synchronized=False, storage_writable=False, firewall="ufw"))
    assert [finding.severity for finding in found] == [Severity.ERROR, Severity.WARNING, Severity.WARNING]
    assert found[0].as_dict()["code"] == "storage-not-writable"
    assert found[0].as_dict()["severity"] == "error"


@pytest.mark.parametrize(
    "changes",
    [
        {"firewall": "ufw", "backend": "embedded"},
        {"info": None, "there": False, "backend": "", "listens": None},
        {"there": False, "listens": None, "answers": False},
        {"shell_engine": "unix:///x", "engine_address": "unix:///x"},
        {"shell_engine": "unix:///x", "engine_address": "unix:///y", "backend": "embedded"},
        {"info": ROOTLESS, "engine_uid": 1000, "storage_owner": 1000},
        {"info": ROOTLESS},
        {"engine_uid": 1000, "storage_owner": 0},
        {"selinux": True},
        {"resolved": ("::1", "127.0.0.1")},
        {"shadow": "nginx (pid 3)"},
        {"info": None, "backend": "embedded"},
        {"proxies": {"https_proxy": "http://proxy:3128", "no_proxy": ".lan"}},
        {"daemon_json": b'{"insecure-registries": []}', "engine": FLAGGED},
        {"daemon_json": b'{"debug": true, "registry-mirrors": ["https://cache.lan:5000/"]}', "engine": FD},
    ],
)
def test_the_same_fact_elsewhere_is_no_finding(healthy: Facts, changes: dict[str, Any]) -> None:
    assert diagnose(replace(healthy, **changes)) == ()


def test_plain_http_has_no_certificate_to_find_fault_with(healthy: Facts, tmp_path: Path) -> None:
    plain = replace(healthy, wanted=wanted(tmp_path), leaf=None, ca=None, htpasswd=None, synchronized=False)
    assert diagnose(plain) == ()
    by_address = replace(plain, wanted=wanted(tmp_path, hosts=("10.0.0.5",)), resolved=())
    assert diagnose(by_address) == ()


@pytest.mark.parametrize(
    ("host", "exceptions", "expected"),
    [
        ("registry.lan", "", False),
        ("registry.lan", "registry.lan", True),
        ("registry.lan", "a, .lan", True),
        ("registry.lan", "lan", True),
        ("registry.lan", "*.lan", True),
        ("registry.lan", "*", True),
        ("registry.lan", "try.lan", False),
        ("registry.lan", "10.0.0.0/8", False),
        ("10.0.0.5", "10.0.0.0/8", True),
        ("10.0.0.5", "11.0.0.0/8", False),
        ("10.0.0.5", "x/8", False),
        ("localhost", "", True),
        ("127.0.0.1", "", True),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(host: str, exceptions: str, expected: bool) -> None:
    assert excepted(host, exceptions) is expected


# --- gathering ---------------------------------------------------------------------------------------------


def codes(facts: Facts) -> set[str]:
    return {finding.code for finding in diagnose(facts)} - {
        "clock-free",
        "proxy",
    }  # of the machine under test


def test_a_registry_that_does_not_run_is_found_down(tmp_path: Path) -> None:
    goal = wanted(tmp_path / "data", port=free_port(), hosts=())
    assert codes(examine(goal, Paths(tmp_path, "registry"), "embedded", None, ())) == {"registry-down"}


@pytest.mark.slow
def test_another_program_on_the_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        goal = wanted(tmp_path, port=other.getsockname()[1], hosts=())
        facts = examine(goal, Paths(tmp_path, "registry"), "embedded", None, ())
    assert codes(facts) == {"port-foreign"}
    assert "(pid " in (facts.listens or "")


def test_a_name_that_does_not_exist_is_found(tmp_path: Path) -> None:
    goal = wanted(tmp_path, port=free_port(), hosts=("no-such-host.invalid",))
    assert "name-unknown" in codes(examine(goal, Paths(tmp_path, "registry"), "embedded", None, ()))


def test_a_registry_with_tls_that_runs_is_well_until_trust_or_certificate_is_lost(
    tmp_path: Path, registry_process: Callable[..., RegistryProcess]
) -> None:
    paths = Paths(tmp_path, "registry")
    files = CertificateFiles(paths.certs, paths.authority)
    beyond = [str(one) for one in machine_names().addresses if one.version == 4]
    address = beyond[0] if beyond else missing("this machine has no IPv4 address beyond loopback")
    files.renew("registry", Names.of([address]), Names(), datetime.now(UTC))
    running = registry_process(host=address, certificate=(files.certificate, files.key))
    goal = wanted(tmp_path, bind=address, port=running.port, hosts=(address,), tls=Tls.SELF_SIGNED)
    podman, containerd = Podman(tmp_path / "containers"), Containerd(tmp_path / "config.toml")

    def look() -> set[str]:
        return codes(examine(goal, paths, "embedded", None, (podman, containerd)))

    registry = trust_here.registry(goal, paths, goal.address)
    assert look() == {"trust-missing"}
    install(podman, registry, trust_here.TrustFile(tmp_path))
    assert look() == set()  # nobody told containerd, and nobody asked for it
    install(containerd, registry, trust_here.TrustFile(tmp_path))
    (tmp_path / "certs.d" / goal.address / "hosts.toml").unlink()
    assert look() == {"trust-missing"}
    files.certificate.unlink()
    assert look() == {"trust-missing", "certificate-missing"}
    files.ca_certificate.unlink()
    assert "trust-missing" not in look()


def test_on_loopback_nobody_needs_to_trust(tmp_path: Path) -> None:
    goal = wanted(tmp_path, port=free_port(), hosts=())
    facts = examine(goal, Paths(tmp_path, "registry"), "embedded", None, (Podman(tmp_path),))
    assert facts.clients == ()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_another_program_on_ipv6_is_seen(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        goal = wanted(tmp_path, port=other.getsockname()[1], hosts=())
        assert examine(goal, Paths(tmp_path, "registry"), "embedded", None, ()).shadow is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives up its rights for this")
def test_an_engine_whose_socket_is_closed_to_this_user_is_not_taken_for_dead() -> None:
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        path = Path(made, "docker.sock")
        address = f"unix://{path}"
        path.touch(mode=0o600)
        assert closed_socket(address) is None
        with as_nobody():
            assert closed_socket(address) == address
            assert closed_socket(f"{address}.gone") is None
            assert closed_socket("tcp://10.0.0.1:2375") is None
            assert closed_socket(None) is None
