"""``--tls acme``, value by value; tests/engine/test_acme.py shows it with an authority."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import yaml

from regsetup import acme, certify
from regsetup.acme import NoAcme, NotCertified, NotPublic, refusal, require_public
from regsetup.auth import x509
from regsetup.auth.certificates import LEAF_LIFETIME, Names
from regsetup.backends.choice import embedded
from regsetup.backends.container import ACME, CERTS, Facts, Sources, acme_volume, config_text, describe
from regsetup.client import Endpoint
from regsetup.deployment import Deployment, Directory, Paths, Tls, Trust, Volume
from regsetup.doctor.examine import examine
from regsetup.doctor.registry import RULES
from regsetup.host.certificate_files import CertificatesHidden
from regsetup.load import Contradiction, load
from regsetup.observe import survey
from regsetup.secret import Secret
from regsetup.trust_here import addresses, no_restart
from regsetup.waiting import NotHealthy, ready_timeout, until_certified
from tests.bed.liar import Liar, reply
from tests.bed.rights import as_nobody
from tests.bed.run import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.backends.base import Runtime

HOST = "registry.example.org"
SHAKE = "2026/11/23 23:38:06 http: TLS handshake error from 172.17.0.1:579: "
NO_CHALLENGE = f'acme/autocert: unable to satisfy "https://a/z/k1" for domain "{HOST}": no viable challenge'
WANTED = Deployment(
    "registry", Directory(Path("/srv/images")), hosts=(HOST,), tls=Tls.ACME, bind="0.0.0.0", port=443
)


def loaded(home: Path, **flags: object) -> Deployment:
    return load(flags, {}, None, home, cwd=home).deployment


def test_it_is_beyond_loopback_where_lets_encrypt_asks(tmp_path: Path) -> None:
    found = loaded(tmp_path, tls="acme", host=[HOST], acme_email="me@example.org")
    assert (found.tls, found.bind, found.port, found.auth) == (Tls.ACME, "0.0.0.0", 443, True)
    assert (found.acme_email, found.scheme) == ("me@example.org", "https")
    assert loaded(tmp_path, tls="acme", host=[HOST], port="8443", bind="127.0.0.1").port == 8443


@pytest.mark.parametrize("name", [HOST, "xn--bcher-kva.example.com", "R.Example.ORG", "a.b.c.dev"])
def test_names_of_the_public_dns_are_taken(name: str) -> None:
    require_public([name])


@pytest.mark.parametrize(
    "name",
    [
        "192.0.2.7",
        "2001:db8::1",
        "localhost",
        "registry",
        "r.local",
        "r.internal",
        "r.home.arpa",
        "r.lan",
        "my_r.example.org",
    ],
)
def test_what_no_authority_certifies_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotPublic, match=name) as caught:
        loaded(tmp_path, tls="acme", host=[HOST, name])
    assert (caught.value.exit_code, "--host" in (caught.value.fix or "")) == (2, True)


def test_without_a_name_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotPublic, match="needs a name"):
        loaded(tmp_path, tls="acme", bind="127.0.0.1")


@pytest.mark.parametrize(
    "flags",
    [
        {"tls": "acme", "host": [HOST], "insecure": True},
        {"tls": "acme", "host": [HOST], "cert": "c", "key": "k"},
        {"acme_email": "me@example.org"},
        {"acme_email": "me@example.org", "tls": "self-signed"},
    ],
)
def test_what_contradicts_it_is_refused(tmp_path: Path, flags: dict[str, object]) -> None:
    with pytest.raises(Contradiction):
        loaded(tmp_path, **flags)


@pytest.mark.parametrize(
    ("now", "tls", "email"),
    [
        ({}, Tls.ACME, "me@example.org"),
        ({"tls": "acme"}, Tls.ACME, "me@example.org"),
        ({"tls": "self-signed"}, Tls.SELF_SIGNED, None),
        ({"cert": "c", "key": "k"}, Tls.OWN, None),
        ({"insecure": True}, Tls.OFF, None),
    ],
)
def test_another_certificate_forgets_the_address_that_was_for_lets_encrypt(
    tmp_path: Path, now: dict[str, object], tls: Tls, email: str | None
) -> None:
    paths = Paths(tmp_path, "registry")
    paths.root.mkdir()
    said = {"tls": "acme", "host": [HOST], "acme_email": "me@example.org"}
    paths.deployment.write_text(yaml.safe_dump(said))
    found = loaded(tmp_path, **now)
    assert (found.tls, found.acme_email) == (tls, email)


def test_what_only_a_person_can_see_to_is_said() -> None:
    reached, nothing = acme.notes(WANTED)
    assert "on port 443" in reached
    assert "forward" not in reached
    assert "no file" in nothing
    assert "to port 5000 here" in acme.notes(replace(WANTED, port=5000))[0]
    assert acme.notes(replace(WANTED, tls=Tls.SELF_SIGNED)) == ()
    assert addresses(WANTED) == ()
    assert addresses(replace(WANTED, trust=Trust.INSECURE)) == (f"{HOST}:443",)
    assert ready_timeout(WANTED) > ready_timeout(replace(WANTED, tls=Tls.OFF))


@pytest.mark.parametrize(
    ("line", "is_order"),
    [
        (NO_CHALLENGE, True),
        ('Get "https://acme-v02/directory": dial: no such host', True),
        ("429 urn:ietf:params:acme:error:rateLimited: too many", True),
        ("acme/autocert: missing server name", False),
        ('acme/autocert: host "x.org" not configured in HostWhitelist', False),
        ("acme/autocert: missing certificate", False),
        ("EOF", False),
        ("remote error: tls: bad certificate", False),
    ],
)
def test_the_log_says_why_an_order_failed(line: str, is_order: bool) -> None:
    noise = [f"{SHAKE}acme/autocert: missing server name", 'level=info msg="acme"', f"{SHAKE}EOF"]
    assert refusal([*noise, f"{SHAKE}{line}", *noise]) == (line if is_order else None)


def test_the_container_keeps_what_it_gets_and_is_not_probed() -> None:
    sources = Sources(Path("/h/config.yml"), Path("/h/auth"), Path("/h/certs"), Path("/h/acme"))
    probe = Facts("/etc/docker/registry/config.yml", ("wget",))
    made = describe(WANTED, sources, probe)
    assert f"/h/acme:{ACME}:rw" in [str(mount) for mount in made.mounts]
    assert CERTS not in [mount.target for mount in made.mounts]
    assert (made.health, made.scheme) == (None, "https")
    there = describe(replace(WANTED, storage=Volume("i"), machine="m"), None, probe)
    assert (acme_volume("registry"), ACME) in [(mount.source, mount.target) for mount in there.mounts]
    assert describe(replace(WANTED, tls=Tls.SELF_SIGNED), sources, probe).health


@pytest.mark.parametrize("email", [None, "me@example.org"])
def test_the_configuration_names_hosts_and_the_directory(email: str | None) -> None:
    text = config_text(replace(WANTED, acme_email=email), Secret("s"))
    found = yaml.safe_load(text)["http"]["tls"]
    assert found == {
        "letsencrypt": {"cachefile": ACME, "hosts": [HOST]} | ({"email": email} if email else {})
    }


def test_the_bundled_registry_is_refused_with_the_way_to_do_it(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "registry")
    with pytest.raises(NoAcme) as caught:
        survey(WANTED, {}, embedded(paths, "no engine answers"), paths, no_restart)
    assert "no engine answers" in (caught.value.cause or "")
    assert "certbot" in (caught.value.fix or "")
    assert list(tmp_path.iterdir()) == []


def issue(paths: Paths, host: str, left: timedelta) -> None:
    """Put a certificate where autocert would."""
    made = datetime.now(UTC) - LEAF_LIFETIME + timedelta(days=1) + left
    pair = x509.new_leaf(x509.new_ca("le", Names.of([host]), made), Names.of([host]), made)
    paths.acme.mkdir(parents=True, exist_ok=True, mode=0o700)
    (paths.acme / host).write_bytes(pair.key.reveal().encode() + pair.certificate)


def test_of_several_certificates_the_one_that_ends_first_counts(tmp_path: Path) -> None:
    paths, now = Paths(tmp_path, "registry"), datetime.now(UTC)
    both = replace(WANTED, hosts=("Other.example.org", HOST))
    assert certify.look(both, paths).leaf is None
    assert certify.ending(both, paths, now) == ()
    issue(paths, "other.example.org", timedelta(days=60))
    issue(paths, HOST, timedelta(days=20))
    leaf = certify.look(both, paths).leaf
    assert leaf is not None
    assert HOST in leaf.names.texts
    assert certify.ending(both, paths, now) == (), "it is being renewed: that is no trouble yet"
    issue(paths, "other.example.org", timedelta(days=9))
    (late,) = certify.ending(both, paths, now)
    assert "regsetup logs" in (late.fix or "")
    (paths.acme / HOST).write_bytes(b"half a fi")
    assert certify.why_install(both, paths) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up the rights of root")
def test_certificates_of_somebody_else_are_hidden(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "registry")
    issue(paths, HOST, timedelta(days=60))
    tmp_path.chmod(0o755)
    with as_nobody(), pytest.raises(CertificatesHidden):
        certify.look(WANTED, paths)


@pytest.mark.parametrize(
    ("left", "code"),
    [
        (None, "certificate-missing"),
        (-2, "certificate-expired"),
        (5, "certificate-ends-soon"),
        (60, None),
    ],
)
def test_the_doctor_finds_what_the_registry_failed_to_get(
    tmp_path: Path, left: int | None, code: str | None
) -> None:
    paths = Paths(tmp_path, "registry")
    if left is not None:
        issue(paths, HOST, timedelta(days=left, hours=1))
    goal = replace(WANTED, storage=Directory(tmp_path), port=free_port(), bind="127.0.0.1")
    facts = examine(goal, paths, "docker", None, ())
    found = [one for rule in RULES for one in rule(facts) if one.code.startswith("certificate")]
    assert [one.code for one in found] == ([code] if code else [])
    assert all("443" in one.fix for one in found)


@dataclass
class Container:
    """A runtime as far as waiting for it goes."""

    lines: tuple[str, ...] = ()
    kind: str = "container"

    def failure(self) -> str | None:
        return None

    def logs(self, *, tail: int) -> Iterator[str]:
        yield from self.lines[-tail:]


@contextmanager
def cuts_off() -> Iterator[int]:
    """Do as Docker's proxy: accept, and end the connection of who asks, for nothing listens behind it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(1 << 16)

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A CA, and a server with a certificate of it for the host."""
    now, names = datetime.now(UTC), Names.of([HOST])
    ca = x509.new_ca("le", names, now)
    leaf = x509.new_leaf(ca, names, now)
    files = {"ca": ca.certificate, "crt": leaf.certificate, "key": leaf.key.reveal().encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    return tmp_path / "ca", context


def wait(container: Container, port: int, ca: Path | None, hosts: tuple[str, ...] = (HOST,)) -> None:
    wanted = replace(WANTED, hosts=hosts)
    until_certified(cast("Runtime", container), wanted, Endpoint(f"https://127.0.0.1:{port}", ca=ca), 0.5)


@pytest.mark.slow
def test_a_certificate_for_the_name_is_waited_for(shown: tuple[Path, ssl.SSLContext]) -> None:
    ca, context = shown
    with Liar(lambda _: reply(401), tls=context) as server:
        wait(Container(), server.port, ca)
        with pytest.raises(NotCertified, match=r"other\.example\.org") as caught:
            wait(Container((f"{SHAKE}{NO_CHALLENGE}",)), server.port, ca, (HOST, "other.example.org"))
        assert caught.value.cause == NO_CHALLENGE
        with pytest.raises(NotCertified) as caught:
            wait(Container(), server.port, None)
        assert "not trusted" in (caught.value.cause or ""), "what this machine does not trust, others won't"


def test_one_that_does_not_listen_yet_is_given_time_and_then_given_up(shown: tuple[Path, object]) -> None:
    with cuts_off() as proxy:
        for port in (free_port(), proxy):
            with pytest.raises(NotHealthy, match="container registry"):
                wait(Container(), port, shown[0])


def test_of_an_engine_elsewhere_what_the_registry_shows_is_looked_at(
    tmp_path: Path, shown: tuple[Path, ssl.SSLContext]
) -> None:
    paths = Paths(tmp_path, "registry")
    with Liar(lambda _: reply(401), tls=shown[1]) as server:
        there = replace(WANTED, machine="127.0.0.1", port=server.port, storage=Volume("i"))
        leaf = certify.look(there, paths).leaf
        assert leaf is not None
        assert HOST in leaf.names.texts
    assert certify.look(replace(there, port=free_port()), paths).leaf is None
