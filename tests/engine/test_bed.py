"""The bed itself: what every other engine test stands on is what it says it is."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.bed.images import busybox_archive, load, tiny_archive
from tests.bed.processes import end_marked, marked_processes
from tests.bed.run import RUN, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import docker

    from tests.bed.clients import DockerCli, Podman, Skopeo
    from tests.bed.engine import PrivateEngine
    from tests.bed.registry import RegistryProcess


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except (urllib.error.URLError, ConnectionError):
        return 0


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["registry_image", "scratch_registry_image"])
def test_the_registry_images_serve(
    engine: docker.DockerClient,
    docker_cli: DockerCli,
    kind: str,
    unique_name: str,
    request: pytest.FixtureRequest,
) -> None:
    image: str = request.getfixturevalue(kind)
    port = free_port()
    engine.containers.run(image, name=unique_name, detach=True, ports={"5000/tcp": ("127.0.0.1", port)})
    wait_for("the registry", lambda: _status(f"http://127.0.0.1:{port}/v2/") == 200)
    inside = docker_cli("exec", unique_name, "/bin/sh", "-c", "wget -q -O - http://127.0.0.1:5000/v2/")
    assert (inside.code == 0) is (kind == "registry_image"), (
        "only the official-like image has a shell and wget"
    )


@pytest.mark.engine
def test_the_official_like_image_takes_registry_commands(
    engine: docker.DockerClient, registry_image: str
) -> None:
    said = engine.containers.run(registry_image, ["--version"], remove=True)
    assert b"registry" in said


@pytest.mark.engine
def test_a_private_engine_has_the_hidden_default_and_publishes_ports(private_engine: PrivateEngine) -> None:
    client, port = private_engine.client(), free_port()
    client.containers.run("registry:2", detach=True, ports={"5000/tcp": ("127.0.0.1", port)})
    client.close()
    wait_for("the registry", lambda: _status(f"http://127.0.0.1:{port}/v2/") == 200)


@pytest.mark.engine
def test_a_private_engine_is_put_back(private_engine: PrivateEngine) -> None:
    private_engine.daemon_json.write_text('{"insecure-registries": ["registry.test:5000"]}\n')
    private_engine.reload()
    client = private_engine.client()

    def trusted() -> bool:
        return "registry.test:5000" in client.info()["RegistryConfig"]["IndexConfigs"]

    wait_for("the reload", trusted)
    client.containers.create("registry:2")
    client.close()
    private_engine.restore()
    client = private_engine.client()
    assert not trusted()
    assert client.containers.list(all=True) == []
    client.close()


@pytest.mark.engine
def test_docker_skopeo_and_podman_move_a_real_image(
    engine: docker.DockerClient,
    docker_cli: DockerCli,
    skopeo: Skopeo,
    podman: Podman,
    registry_process: Callable[..., RegistryProcess],
    tmp_path: Path,
) -> None:
    registry = registry_process()
    reference = f"{registry.address}/{RUN}:1"
    image = load(engine, busybox_archive(reference, noise=1 << 16))
    try:
        docker_cli("push", reference).ok()
        assert "hello from busybox" in docker_cli("run", "--rm", reference).ok().out
    finally:
        engine.images.remove(str(image.id), force=True)
    skopeo("copy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{tmp_path}/copied").ok()
    podman("pull", "--tls-verify=false", reference).ok()
    assert RUN in podman("images").ok().out


def test_two_tiny_images_are_never_the_same() -> None:
    assert tiny_archive("a/b:1") != tiny_archive("a/b:1")
    assert len(tiny_archive("a/b:1")) < 32_768


def test_what_detaches_itself_is_found_by_its_environment(unique_name: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)",
        ],
        env=dict(os.environ) | {"MARK": unique_name},
        check=True,
    )
    assert list(marked_processes(unique_name).values()) == ["sleep 600"]
    end_marked(unique_name)
    assert marked_processes(unique_name) == {}


def _run_pytest(place: Path, test: str, **env: str) -> subprocess.CompletedProcess[str]:
    (place / "conftest.py").write_text("from tests.conftest import *\n")
    (place / "test_it.py").write_text(test)
    markers = ("-o", "markers=engine", "-p", "no:cacheprovider", "--rootdir", str(place))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", *markers, str(place)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ) | {"PYTHONPATH": os.getcwd()} | env,  # noqa: PTH109
    )


@pytest.mark.slow
def test_a_run_that_leaves_a_process_behind_fails(tmp_path: Path) -> None:
    done = _run_pytest(
        tmp_path,
        "import subprocess\n"
        "def test_it():\n"
        "    global kept\n"
        "    kept = subprocess.Popen(['sleep', '600'], start_new_session=True)\n",
    )
    assert "1 passed" in done.stdout
    assert "left behind" in done.stdout
    assert "sleep 600" in done.stdout
    assert done.returncode == 1


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_cleans_up_first(tmp_path: Path) -> None:
    test = (
        "import os, signal, time\n"
        "def test_it(unique_name, tmp_path):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    fixture = (
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def cleaned():\n"
        "    yield\n"
        f"    open({str(tmp_path / 'cleaned')!r}, 'w').close()\n"
    )
    assert _run_pytest(tmp_path, fixture + test).returncode == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "cleaned").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skipped_engine_test_fails_the_run_in_ci_only(tmp_path: Path, ci: str, code: int) -> None:
    test = "import pytest\n@pytest.mark.engine\ndef test_it(): pytest.skip('no engine')\n"
    assert _run_pytest(tmp_path, test, CI=ci).returncode == code


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "word"), [("true", "1 error"), ("", "1 skipped")])
def test_a_missing_engine_skips_the_test_but_fails_it_in_ci(tmp_path: Path, ci: str, word: str) -> None:
    test = "import pytest\n@pytest.mark.engine\ndef test_it(engine): pass\n"
    done = _run_pytest(tmp_path, test, CI=ci, DOCKER_HOST=f"unix://{tmp_path}/nobody")
    assert word in done.stdout
    assert "no Docker engine answers" in done.stdout


@pytest.mark.slow
def test_a_test_that_uses_the_engine_must_say_so(tmp_path: Path) -> None:
    done = _run_pytest(tmp_path, "def test_it(engine): pass\n")
    assert "without @pytest.mark.engine" in done.stdout + done.stderr
    assert done.returncode != 0
