"""What is rendered, value by value; tests/cli/test_render.py shows it to the programs that read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from regsetup.backends.container import (
    ACME,
    AUTH,
    CERTS,
    DATA,
    Container,
    Facts,
    OnlyBundled,
    Sources,
    config_text,
    describe,
)
from regsetup.deployment import Deployment, Directory, Listen, RestartPolicy, Tls, Volume
from regsetup.handover import compose, kubernetes, quadlet
from regsetup.handover.files import File, FileDiffers, write
from regsetup.handover.kubernetes import Cluster, Contents, NotForKubernetes
from regsetup.host.files import CannotWrite
from regsetup.secret import Secret

ROOT = Path("/srv/registry")
WANTED = Deployment(
    "registry",
    Directory(ROOT / "data"),
    auth=True,
    tls=Tls.SELF_SIGNED,
    bind="0.0.0.0",
    env=(("A", 'b$c "d" 50% ${HOME}'),),
)
FACTS = Facts("/etc/docker/registry/config.yml", ("wget", "-q"), user="7:8")
SOURCES = Sources(ROOT / "config.yml", Path("/var/lib/regsetup/registry/auth"), ROOT / "certs", ROOT / "acme")
CONTENTS = Contents("version: 0.1\n", "alice:$2y$05$x\n", {"tls.crt": "c", "tls.key": "k"})


def container(wanted: Deployment = WANTED, facts: Facts = FACTS) -> Container:
    return describe(wanted, SOURCES, facts)


def composed(made: Container, *, volume_exists: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(compose.text(made, ROOT, volume_exists=volume_exists))
    return found


def objects(made: Container, contents: Contents = CONTENTS, namespace: str | None = None) -> dict[str, Any]:
    text = kubernetes.text(made, contents, Cluster(namespace, "20Gi"))
    return {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(text)}


def test_a_container_mounts_what_the_deployment_asks_for() -> None:
    assert [str(mount) for mount in container().mounts] == [
        f"/srv/registry/data:{DATA}:rw",
        "/srv/registry/config.yml:/etc/docker/registry/config.yml:ro",
        f"/var/lib/regsetup/registry/auth:{AUTH}:ro",
        f"/srv/registry/certs:{CERTS}:ro",
    ]
    bare = replace(WANTED, auth=False, tls=Tls.OFF, storage=Volume("images"))
    labelled = container(bare, replace(FACTS, selinux=True))
    assert [str(mount) for mount in labelled.mounts] == [
        f"images:{DATA}:rw,z",
        "/srv/registry/config.yml:/etc/docker/registry/config.yml:ro,z",
    ]


def test_what_registry_2_can_not_do_is_refused_for_a_container() -> None:
    assert "readonly" in config_text(replace(WANTED, read_only=True), Secret("s"))
    with pytest.raises(OnlyBundled, match="--immutable-tags, --upload-ttl"):
        config_text(replace(WANTED, immutable_tags=("v*",), upload_ttl="1d"), Secret("s"))


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        (Listen("0.0.0.0", 5000), "https://127.0.0.1:5000/"),
        (Listen("::", 81), "https://127.0.0.1:81/"),
        (Listen("10.0.0.7", 5000), "https://10.0.0.7:5000/"),
    ],
)
def test_the_health_check_asks_where_it_listens(listen: Listen, asked: str) -> None:
    assert container(replace(WANTED, listen=listen)).health == ("wget", "-q", asked)
    assert container(facts=replace(FACTS, probe=None)).health is None


def test_compose_names_what_lies_beside_it_from_there() -> None:
    service = composed(container())["services"]["registry"]
    assert service["volumes"] == [
        f"./data:{DATA}:rw",
        "./config.yml:/etc/docker/registry/config.yml:ro",
        f"/var/lib/regsetup/registry/auth:{AUTH}:ro",
        f"./certs:{CERTS}:ro",
    ]
    assert service["environment"]["A"] == 'b$$c "d" 50% $${HOME}'
    assert (service["user"], service["restart"]) == ("7:8", "unless-stopped")
    assert service["ports"] == ["0.0.0.0:5000:5000"]


def test_compose_says_no_as_a_word_and_ipv6_in_brackets() -> None:
    made = container(replace(WANTED, restart_policy=RestartPolicy.NO, bind="::1"))
    service = composed(made)["services"]["registry"]
    assert service["restart"] == "no"
    assert service["ports"] == ["[::1]:5000:5000"]


def test_compose_makes_a_volume_and_takes_over_one_that_is_there() -> None:
    made = container(replace(WANTED, storage=Volume("images")))
    assert composed(made)["volumes"] == {"images": {"name": "images"}}
    assert composed(made, volume_exists=True)["volumes"]["images"]["external"] is True
    assert "volumes" not in composed(container())


def test_an_image_without_a_program_gets_no_health_check() -> None:
    made = container(facts=replace(FACTS, probe=None))
    assert "healthcheck" not in composed(made)["services"]["registry"]
    assert "Health" not in quadlet.files(made)["registry.container"]


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("registry:2", "docker.io/library/registry:2"),
        ("distribution/registry:3", "docker.io/distribution/registry:3"),
        ("ghcr.io/a/registry:2", "ghcr.io/a/registry:2"),
        ("localhost/registry", "localhost/registry"),
    ],
)
def test_podman_is_told_where_an_image_comes_from(image: str, named: str) -> None:
    assert quadlet.full_name(image) == named


def test_what_systemd_would_expand_is_doubled() -> None:
    made = container(replace(WANTED, storage=Directory(Path("/srv/100%/$x"))))
    lines = quadlet.files(made)["registry.container"].splitlines()
    assert 'Environment="A=b$$c \\"d\\" 50%% $${HOME}"' in lines
    assert f"Volume=/srv/100%%/$$x:{DATA}:rw" in lines


def test_a_volume_has_a_unit_of_its_own() -> None:
    files = quadlet.files(container(replace(WANTED, storage=Volume("images"))))
    assert list(files) == ["registry.container", "images.volume"]
    assert f"Volume=images.volume:{DATA}:rw\n" in files["registry.container"]
    assert "VolumeName=images\n" in files["images.volume"]


def test_in_a_cluster_hashes_and_keys_are_secrets_and_one_pod_has_the_disk() -> None:
    found = objects(container(), namespace="infra")
    assert list(found) == [
        "Namespace infra", "Secret registry-config", "Secret registry-users", "Secret registry-tls",
        "PersistentVolumeClaim registry-data", "Deployment registry", "Service registry",
    ]  # fmt: skip
    assert {one["metadata"].get("namespace", "infra") for one in found.values()} == {"infra"}
    assert found["Secret registry-users"]["stringData"] == {"htpasswd": "alice:$2y$05$x\n"}
    spec = found["Deployment registry"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    pod = spec["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    (inside,) = pod["containers"]
    assert inside["env"][1] == {"name": "A", "value": 'b$$c "d" 50% $${HOME}'}
    assert inside["livenessProbe"]["httpGet"] == {"path": "/", "port": "registry", "scheme": "HTTPS"}
    assert {one["mountPath"] for one in inside["volumeMounts"]} == {m.target for m in container().mounts}
    users = next(one for one in inside["volumeMounts"] if one["mountPath"] == AUTH)
    assert "subPath" not in users, "a file mounted by itself is not seen to change"
    assert found["Service registry"]["spec"]["type"] == "LoadBalancer"


def test_a_certificate_of_lets_encrypt_is_kept_and_no_probe_asks_for_it() -> None:
    made = container(replace(WANTED, tls=Tls.ACME, hosts=("registry.example.org",)))
    assert f"./acme:{ACME}:rw" in composed(made)["services"]["registry"]["volumes"]
    assert "healthcheck" not in composed(made)["services"]["registry"]
    assert f"Volume={ROOT}/acme:{ACME}:rw" in quadlet.files(made)["registry.container"].splitlines()
    found = objects(made, replace(CONTENTS, certificates=None))
    (inside,) = found["Deployment registry"]["spec"]["template"]["spec"]["containers"]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert inside[probe]["tcpSocket"] == {"port": "registry"}
        assert "httpGet" not in inside[probe]
    kept = next(one for one in inside["volumeMounts"] if one["mountPath"] == ACME)
    assert (kept["name"], kept["subPath"], kept.get("readOnly")) == ("data", ".regsetup-acme", None)


def test_without_users_and_certificate_there_are_no_such_secrets() -> None:
    bare = replace(WANTED, auth=False, tls=Tls.OFF, bind="127.0.0.1")
    found = objects(container(bare), Contents("version: 0.1\n", None, None))
    assert [one for one in found if one.startswith(("Secret", "Namespace"))] == ["Secret registry-config"]
    assert found["Service registry"]["spec"]["type"] == "ClusterIP"


def test_another_certificate_makes_another_pod() -> None:
    def mark(contents: Contents) -> str:
        template = objects(container(), contents)["Deployment registry"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["io.regsetup.config"])

    assert mark(CONTENTS) == mark(replace(CONTENTS, htpasswd="bob:$2y$05$y\n"))
    assert mark(CONTENTS) != mark(replace(CONTENTS, certificates={"tls.crt": "d", "tls.key": "k"}))


@pytest.mark.parametrize(
    ("name", "cluster"),
    [
        ("Registry", Cluster(None, "20Gi")),
        ("my.registry", Cluster(None, "20Gi")),
        ("5000", Cluster(None, "20Gi")),
        ("registry", Cluster("In Fra", "20Gi")),
        ("registry", Cluster("infra", "much")),
        ("registry", Cluster("infra", "0")),
    ],
)
def test_what_a_cluster_does_not_take_is_refused(name: str, cluster: Cluster) -> None:
    with pytest.raises(NotForKubernetes):
        kubernetes.check(name, cluster)
    kubernetes.check("registry-2", Cluster("infra", "500Mi"))


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    one, two = File(tmp_path / "a/one", "1"), File(tmp_path / "two", "2")
    (tmp_path / "two").write_text("somebody's")
    with pytest.raises(FileDiffers, match="two is there"):
        write([one, two], force=False)
    assert not one.path.exists()
    assert write([one, two], force=True) == {one.path: "written", two.path: "replaced"}
    assert write([one, two], force=False) == {one.path: "unchanged", two.path: "unchanged"}
    assert one.path.stat().st_mode & 0o777 == 0o600
    assert write([replace(two, text="2+", grows=True)], force=False) == {two.path: "replaced"}


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite):
        write([File(tmp_path / "file/below", "1")], force=False)
    with pytest.raises(CannotWrite):
        write([File(tmp_path, "1")], force=False)
