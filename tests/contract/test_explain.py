"""What real clients say of a registry that is set up wrongly, explained by its cause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from regsetup.auth.certificates import Names
from regsetup.auth.htpasswd import Cost, hash_password
from regsetup.auth.x509 import new_ca, new_leaf
from regsetup.secret import Secret
from tests.bed.clients import run
from tests.bed.run import free_port, lan_address, need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bed.cli import Regsetup
    from tests.bed.registry import RegistryProcess

pytestmark = pytest.mark.slow
LONG_AGO = timedelta(days=-4000)


@dataclass(frozen=True)
class Place:
    """Starts registries with faults, and knows where their CA lies."""

    start: Callable[..., RegistryProcess]
    directory: Path

    @property
    def certs(self) -> Path:
        """What a client that knows the CA has in certs.d."""
        return self.directory / "certs.d"

    def plain(self) -> str:
        return self.start().address

    def guarded(self) -> str:
        users = self.directory / "htpasswd"
        users.write_text(f"alice:{hash_password(Secret('right-horse'), Cost.FAST)}\n")
        return self.start(htpasswd=users).address

    def secure(self, name: str = "", since: timedelta = timedelta()) -> str:
        """Every certificate of ours names loopback, so it is another address."""
        name = name or lan_address()
        begin = datetime.now(UTC) + since
        ca = new_ca("tests", Names.of([name]), begin)
        leaf = new_leaf(ca, Names.of([name]), begin)
        self.certs.mkdir()
        (self.certs / "ca.crt").write_bytes(ca.certificate)
        pair = self.directory / "tls.crt", self.directory / "tls.key"
        pair[0].write_bytes(leaf.certificate)
        pair[1].write_text(leaf.key.reveal())
        return self.start(host=lan_address(), certificate=pair).address


FAULTS: dict[str, tuple[Callable[[Place], str], str, bool]] = {
    # what is wrong: (who makes it so, scheme that the client uses, whether the client knows the CA)
    "engine-wants-tls": (Place.plain, "https", False),
    "engine-unknown-ca": (Place.secure, "https", False),
    "engine-wrong-name": (lambda place: place.secure("other.lan"), "https", True),
    "engine-certificate-time": (lambda place: place.secure(since=LONG_AGO), "https", True),
    "engine-unauthorized": (Place.guarded, "http", False),
    "engine-unreachable": (lambda place: f"127.0.0.1:{free_port()}", "http", False),
    "engine-unknown-name": (lambda place: "no-such-host.invalid:5000", "http", False),
    "image-unknown": (Place.plain, "http", False),
}


def skopeo(address: str, scheme: str, certs: Path | None) -> list[str]:
    command = [need("skopeo"), "--insecure-policy", "inspect"]
    command += [f"--cert-dir={certs}"] if certs else []
    command += ["--tls-verify=false"] if scheme == "http" else []
    return [*command, f"docker://{address}/app:1"]


def curl(address: str, scheme: str, certs: Path | None) -> list[str]:
    command = [need("curl"), "-sSf"]
    command += ["--cacert", f"{certs}/ca.crt"] if certs else []
    return [*command, f"{scheme}://{address}/v2/"]


@pytest.mark.parametrize(
    ("client", "code"),
    [(skopeo, code) for code in FAULTS] + [(curl, code) for code in FAULTS if code != "image-unknown"],
)
def test_what_a_real_client_says_is_explained_by_its_cause(
    client: Callable[[str, str, Path | None], list[str]],
    code: str,
    registry_process: Callable[..., RegistryProcess],
    regsetup: Regsetup,
    tmp_path: Path,
) -> None:
    make, scheme, knows = FAULTS[code]
    place = Place(registry_process, tmp_path)
    address = make(place)
    done = run(client(address, scheme, place.certs if knows else None))
    assert done.code != 0
    explained = regsetup.json("doctor", "--explain", done.err)["data"]["explanation"]
    assert explained["code"] == code, done.err
