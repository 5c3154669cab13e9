"""Every setting by its text: what is taken, what is refused, and in which words."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regsetup import settings
from regsetup.deployment import Backend, Directory, Listen, Volume
from regsetup.settings import FIELDS, BadValue

if TYPE_CHECKING:
    import ipaddress

HERE = Path("/srv/here")
TAKEN = [
    ("name", "registry", "registry"),
    ("name", "a.b_c-9", "a.b_c-9"),
    ("name", "x" * 63, "x" * 63),
    ("port", "1", 1),
    ("port", "65535", 65535),
    ("port", "05000", 5000),
    ("bind", "localhost", "127.0.0.1"),
    ("bind", "[::1]", "::1"),
    ("bind", "0.0.0.0", "0.0.0.0"),
    ("listen", ":5001", Listen("0.0.0.0", 5001)),
    ("listen", "0.0.0.0:5001", Listen("0.0.0.0", 5001)),
    ("listen", "[::]:5001", Listen("::", 5001)),
    ("host", "registry.lan", "registry.lan"),
    ("host", "my_host", "my_host"),
    ("host", "192.0.2.7", "192.0.2.7"),
    ("host", "[2001:db8::1]", "2001:db8::1"),
    ("data", "/srv/images", Directory(Path("/srv/images"))),
    ("data", "images", Directory(HERE / "images")),
    ("data", "../images", Directory(Path("/srv/images"))),
    ("data", "volume:images", Volume("images")),
    ("data", "volume:" + "f" * 64, Volume("f" * 64)),
    ("image", "registry:2", "registry:2"),
    ("image", "localhost:5000/a/b@sha256:" + "a" * 64, "localhost:5000/a/b@sha256:" + "a" * 64),
    ("env", "A=", ("A", "")),
    ("env", "A=b=c d", ("A", "b=c d")),
    ("mirror_of", "https://registry-1.docker.io/", "https://registry-1.docker.io"),
    ("mirror_of", "https://docker.io.lan/v2", "https://docker.io.lan/v2"),
    *(
        ("mirror_of", text, "https://registry-1.docker.io")
        for text in (
            "docker.io",
            "Docker.io/",
            "http://docker.io",
            "https://docker.io",
            "https://index.docker.io/v1/",
            "index.docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io:443/v2",
        )
    ),
    ("immutable_tags", "v[0-9]*", "v[0-9]*"),
    ("min_free", "2GiB", "2GiB"),
    ("upload_ttl", "12h", "12h"),
    ("realm", "Our images", "Our images"),
    ("auth", "yes", True),
    ("auth", "OFF", False),
    ("insecure", "1", True),
    ("backend", "embedded", Backend.EMBEDDED),
    ("tls", "self-signed", "self-signed"),
    ("tls", "acme", "acme"),
    ("acme_email", "first.last+tag@example.org", "first.last+tag@example.org"),
    ("cert", "tls.crt", HERE / "tls.crt"),
]
REFUSED = [
    ("name", "", "2 to 63 letters"),
    ("name", "x" * 64, "2 to 63 letters"),
    ("name", "x", "2 to 63 letters"),
    ("data", "volume:v", "volume name"),
    ("name", "../x", "starting with a letter"),
    ("name", ".hidden", "starting with a letter"),
    ("name", "a/b", "letters"),
    ("name", "a\n", "letters"),
    ("port", "0", "1 to 65535"),
    ("port", "65536", "1 to 65535"),
    ("port", "-1", "whole number"),
    ("port", "5000.0", "whole number"),
    ("port", "\u0665\u0660\u0660\u0660", "whole number"),
    ("port", "", "whole number"),
    ("port", "9" * 5000, "1 to 65535"),
    ("bind", "registry.lan", "IP address"),
    ("bind", "127.0.0.1:5000", "IP address"),
    ("bind", "fe80::1%eth0", "without a zone"),
    ("listen", "5001", "0.0.0.0:5000"),
    ("listen", "0.0.0.0:", "whole number"),
    ("listen", "example.org:5001", "IP address"),
    ("host", "", "DNS name"),
    ("host", "https://registry.lan", "no scheme"),
    ("host", "registry.lan:5000", "no scheme, port"),
    ("host", "-a.lan", "DNS name"),
    ("host", "a..lan", "DNS name"),
    ("host", "1.2.3", "DNS name"),
    ("host", "a" * 64, "DNS name"),
    ("host", "fe80::1%eth0", "without a zone"),
    ("host", ".".join(["a" * 62] * 5), "DNS name"),
    ("data", "", "a path"),
    ("data", "a\0b", "a path"),
    ("data", "ä" * 128, "255 bytes"),
    ("data", "volume:", "volume name"),
    ("data", "volume:a/b", "volume name"),
    ("cert", "~nobody-of-that-name/tls.crt", "no home directory"),
    ("image", "Registry:2", "an image"),
    ("image", "", "an image"),
    ("env", "A", "KEY=VALUE"),
    ("env", "=b", "KEY=VALUE"),
    ("env", "A B=c", "KEY=VALUE"),
    ("env", "A=b\0c", "KEY=VALUE"),
    ("env", "REGISTRY_HTTP_ADDR=:1", "--listen"),
    ("env", "REGISTRY_HTTP_SECRET=x", "keeps it stable"),
    ("env", "REGISTRY_AUTH=none", "--no-auth"),
    ("env", "REGISTRY_PROXY_REMOTEURL=x", "--mirror-of"),
    ("immutable_tags", "v1 v2", "a pattern of tags"),
    ("immutable_tags", "", "a pattern of tags"),
    ("min_free", "lots", "a size"),
    ("upload_ttl", "3", "a number with s, m, h or d"),
    ("mirror_of", "registry.lan", "a URL"),
    ("mirror_of", "notdocker.io", "a URL"),
    ("mirror_of", "ftp://registry.lan", "a URL"),
    ("mirror_of", "https://", "a URL"),
    ("mirror_of", "https://me:secret@registry.lan", "without user, password"),
    ("mirror_of", "https://registry.lan/?a=b", "query"),
    ("mirror_of", "https://[::1", "a URL"),
    ("mirror_of", "https://registry.lan:99999", "a URL"),
    ("realm", "", "printable"),
    ("realm", 'a"b', "quotes"),
    ("realm", "a\nb", "printable"),
    ("auth", "maybe", "true or false"),
    ("backend", "podman", "auto, docker, embedded"),
    ("restart_policy", "never", "unless-stopped"),
    ("tls", "on", "auto, off, self-signed, acme"),
    ("acme_email", "me", "admin@example.org"),
    ("acme_email", "me@here, you@there.org", "admin@example.org"),
]


@pytest.mark.parametrize(("key", "text", "value"), TAKEN)
def test_a_good_text_is_taken(key: str, text: str, value: object) -> None:
    assert FIELDS[key].read(text, HERE) == value


@pytest.mark.parametrize(("key", "text", "words"), REFUSED)
def test_a_bad_text_is_refused_with_what_is_expected(key: str, text: str, words: str) -> None:
    with pytest.raises(BadValue, match=words.replace(".", r"\.")):
        FIELDS[key].read(text, HERE)


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=40))
def test_no_text_makes_a_setting_fail_in_another_way(key: str, text: str) -> None:
    with contextlib.suppress(BadValue):
        FIELDS[key].read(text, HERE)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_where_to_listen_reads_as_it_prints(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    wanted = Listen(str(address), port)
    assert settings.listen(str(wanted), HERE) == wanted


@given(st.text("abc./-", min_size=1, max_size=20))
def test_storage_reads_as_it_prints(text: str) -> None:
    wanted = settings.storage(text, HERE)
    assert settings.storage(str(wanted), Path("/elsewhere")) == wanted


def test_a_home_directory_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert settings.path("~/images", HERE) == Path("/home/alice/images")


def test_a_setting_is_called_the_same_everywhere() -> None:
    assert (FIELDS["image_archive"].flag, FIELDS["image_archive"].variable) == (
        "--image-archive",
        "REGSETUP_IMAGE_ARCHIVE",
    )


def test_a_loop_of_links_is_a_path_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert settings.path("loop", tmp_path) == tmp_path / "loop"


def test_links_to_certificates_stay_links(tmp_path: Path) -> None:
    (tmp_path / "live.pem").symlink_to(tmp_path / "archive1.pem")
    assert settings.FIELDS["cert"].read("live.pem", tmp_path) == tmp_path / "live.pem"
    with pytest.raises(settings.BadValue):
        settings.link("", tmp_path)
