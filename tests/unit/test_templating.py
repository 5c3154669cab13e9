"""Templates are found, strict, and give YAML that means what was put in."""

from __future__ import annotations

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regsetup.templating import render

VALUES: dict[str, object] = {
    "name": "registry",
    "listen": "0.0.0.0:5001",
    "http_secret": "s3cret",
    "tls": False,
    "acme": None,
    "realm": None,
    "mirror_of": None,
    "read_only": False,
}


def config(**changes: object) -> dict[str, object]:
    loaded = yaml.safe_load(render("config.yml.j2", {**VALUES, **changes}))
    assert isinstance(loaded, dict)
    return loaded


def test_config_without_options_has_no_auth_no_tls_and_no_proxy() -> None:
    made = config()
    assert made["http"] == {
        "addr": "0.0.0.0:5001",
        "secret": "s3cret",
        "headers": {"X-Content-Type-Options": ["nosniff"]},
    }
    assert "auth" not in made
    assert "proxy" not in made


def test_config_names_realm_certificate_and_upstream() -> None:
    made = config(tls=True, realm="My realm", mirror_of="https://example.org")
    assert made["auth"] == {"htpasswd": {"realm": "My realm", "path": "/etc/regsetup/auth/htpasswd"}}
    assert made["proxy"] == {"remoteurl": "https://example.org"}
    assert isinstance(made["http"], dict)
    assert set(made["http"]["tls"]) == {"certificate", "key"}


def test_config_says_read_only_where_that_is_wanted() -> None:
    storage = config(read_only=True)["storage"]
    assert isinstance(storage, dict)
    assert storage["maintenance"] == {"readonly": {"enabled": True}}
    assert "maintenance" not in str(config()["storage"])


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp")), min_size=1))
def test_no_realm_breaks_out_of_its_quotes(realm: str) -> None:
    made = config(realm=realm, http_secret=realm)
    assert isinstance(made["auth"], dict)
    assert made["auth"]["htpasswd"]["realm"] == realm


def test_a_missing_value_is_an_error_and_not_an_empty_string() -> None:
    with pytest.raises(jinja2.UndefinedError, match="http_secret"):
        render("config.yml.j2", {key: value for key, value in VALUES.items() if key != "http_secret"})


def test_an_unknown_template_is_an_error() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        render("no-such-template", {})


def test_what_is_rendered_ends_with_a_newline() -> None:
    assert render("config.yml.j2", VALUES).endswith("\n")
