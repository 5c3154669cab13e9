"""Where a reference leads: scheme, authority and repository, by real handshakes where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from regsetup.client import BadEndpoint, RegistryClient, TlsUntrusted
from regsetup.remote import NoRegistryNamed, TwoRegistries, Wish, addresses, find
from tests.bed.run import free_port
from tests.contract.test_client_tls import certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.both import Serve
    from tests.contract.calling import Calling


def test_a_registry_on_loopback_is_spoken_with_as_it_speaks(
    serve: Serve, call: Calling, tmp_path: Path
) -> None:
    authority, pair = certificate(tmp_path / "pair")
    plain = serve().url.removeprefix("http://")
    secure = serve(certificate=pair).url.removeprefix("https://")
    assert find(Wish(), call.home, plain).endpoint.url == f"http://{plain}"
    place = find(Wish(), call.home, secure)
    assert place.endpoint.url == f"https://{secure}"
    with RegistryClient(place.endpoint) as client, pytest.raises(TlsUntrusted):
        client.ping()
    assert call.codes("catalog", "--registry", secure) == (1, ["tls-untrusted"])
    assert call("catalog", "--registry", secure, "--ca", str(authority)).ok().raw == b""
    trusted = call.home / ".config" / "containers" / "certs.d" / secure / "ca.crt"
    trusted.parent.mkdir(parents=True)
    trusted.write_bytes(authority.read_bytes())
    assert call("catalog", "--registry", secure).ok().raw == b""
    assert call("catalog", "--registry", f"https://{secure}").ok().raw == b""
    trusted.write_text("no certificate")
    assert call.codes("catalog", "--registry", secure) == (1, ["bad-authority"])
    assert call.codes("catalog", "--registry", secure, "--plain-http")[0] == 1
    refused = call.codes("catalog", "--registry", plain, "--ca", str(authority))
    assert refused == (1, ["tls-expected"]), "who names an authority is not led to plain HTTP"
    assert call.codes("catalog", "--registry", f"https://{plain}") == (1, ["tls-expected"])


def test_a_reference_and_an_option_that_lead_to_two_registries_are_refused(call: Calling) -> None:
    with pytest.raises(TwoRegistries, match=r"leads to a\.example, and --registry to b\.example"):
        find(Wish("b.example"), call.home, "a.example")
    with pytest.raises(BadEndpoint, match="neither host"):
        find(Wish("no/registry"), call.home)
    assert addresses(Wish("https://b.example:5"), call.home) == ("b.example:5",)


def test_where_nobody_answers_plain_http_is_asked_and_says_so(call: Calling) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert find(Wish(), call.home, nobody).endpoint.url == f"http://{nobody}"


@pytest.mark.parametrize(
    ("wish", "registry", "url", "repository"),
    [
        (Wish(), "registry.example", "https://registry.example", "app"),
        (Wish(plain_http=True), "registry.example:5", "http://registry.example:5", "app"),
        (Wish("http://registry.example"), None, "http://registry.example", "app"),
        (Wish("registry.example"), "registry.example", "https://registry.example", "app"),
        (Wish(), "docker.io", "https://registry-1.docker.io", "library/app"),
        (Wish("index.docker.io"), None, "https://registry-1.docker.io", "library/app"),
    ],
)
def test_others_are_asked_over_tls_unless_it_is_said(
    call: Calling, wish: Wish, registry: str | None, url: str, repository: str
) -> None:
    place = find(wish, call.home, registry)
    assert (place.endpoint.url, place.repository("app")) == (url, repository)
    assert place.repository("team/app") == "team/app"


def test_a_damaged_registry_of_this_machine_hides_no_other(call: Calling) -> None:
    home = call.home / "regsetup"
    (home / "broken").mkdir(parents=True)
    (home / "broken" / "state.json").write_text("{}")
    (home / "broken" / "deployment.yaml").write_text("port: [")
    assert find(Wish(), home, "registry.example").local is None
    (home / "whole").mkdir()
    (home / "whole" / "state.json").write_text("{}")
    (home / "whole" / "deployment.yaml").write_text(
        "port: 5099\nhosts: [registry.lan]\nbind: 0.0.0.0\ntls: off\ninsecure: true\n"
    )
    found = addresses(Wish(name="whole"), home)
    assert found[0] == "registry.lan:5099"
    assert {"localhost:5099", "127.0.0.1:5099"} <= set(found)
    for address in found:
        place = find(Wish(), home, address)
        assert place.local is not None
        assert place.endpoint.url == "http://127.0.0.1:5099"
        assert place.address == address
    with pytest.raises(NoRegistryNamed):
        find(Wish(), home)
