"""Docker contexts, from the files that `docker context` writes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from regsetup.backends.context import BadContext
from regsetup.backends.engine import DEFAULT_ENGINE, find_address

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = hashlib.sha256(b"ours").hexdigest()
SOCKET = "unix:///run/user/1000/docker.sock"


def make(directory: Path, endpoint: Any) -> dict[str, str]:
    """Write a context ``ours`` and return the variables that choose it."""
    meta = directory / "contexts" / "meta" / IDENTITY
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "ours", "Endpoints": {"docker": endpoint}}))
    return {"DOCKER_CONFIG": str(directory), "DOCKER_CONTEXT": "ours"}


def test_a_context_is_found_without_a_config_json_beside_it(tmp_path: Path) -> None:
    environ = make(tmp_path, {"Host": SOCKET})
    assert not (tmp_path / "config.json").exists()
    assert find_address(environ) == (SOCKET, None)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"currentContext": "ours"}', SOCKET),
        ("{}", DEFAULT_ENGINE),
        ("[]", DEFAULT_ENGINE),
        ("{", DEFAULT_ENGINE),
    ],
)
def test_what_docker_context_use_wrote_counts(tmp_path: Path, config: str, expected: str) -> None:
    environ = make(tmp_path, {"Host": SOCKET})
    del environ["DOCKER_CONTEXT"]
    (tmp_path / "config.json").write_text(config)
    assert find_address(environ)[0] == expected


def test_docker_host_wins_and_a_context_without_host_is_the_default_engine(tmp_path: Path) -> None:
    environ = make(tmp_path, {})
    assert find_address({**environ, "DOCKER_HOST": "unix:///x"}) == ("unix:///x", None)
    assert find_address(environ) == (DEFAULT_ENGINE, None)


def test_the_tls_files_of_a_context_are_taken_where_it_has_some(tmp_path: Path) -> None:
    environ = make(tmp_path, {"Host": "tcp://localhost:2376"})
    assert find_address(environ) == ("tcp://localhost:2376", None)
    directory = tmp_path / "contexts" / "tls" / IDENTITY / "docker"
    directory.mkdir(parents=True)
    assert find_address(environ) == ("tcp://localhost:2376", directory)


@pytest.mark.parametrize("endpoint", [None, "x", []])
def test_a_context_that_says_nothing_is_an_error(tmp_path: Path, endpoint: object) -> None:
    with pytest.raises(BadContext, match="ours"):
        find_address(make(tmp_path, endpoint))


def test_a_context_that_nobody_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadContext) as caught:
        find_address({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "nobody-made-it"})
    assert "nobody-made-it" in caught.value.message
