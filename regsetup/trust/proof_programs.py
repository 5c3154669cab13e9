"""The proof by podman and by ctr: each pushes an image of a few kB, pulls it back, and keeps nothing.

As ``proof`` does by the engine. podman works in a storage of its own and reads the trust of this machine; ctr
works in a namespace of its own. A password reaches them in a file that only this user can read, never on a
command line: podman's auth.json, and for ctr a copy of the hosts directory whose hosts.toml has the header.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.errors import RegsetupError
from regsetup.host.files import write_atomic
from regsetup.host.process import run
from regsetup.reference import Reference
from regsetup.trust.refusals import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regsetup.client import Credentials

_NOISE = 2048  # bytes that no other image has
_TIMEOUT = 120.0  # seconds for one step of a client
_NAMESPACE = "regsetup-proof"


class OtherImage(RegsetupError):
    """What a client pulled is not what it pushed."""

    code = "client-other-image"

    def __init__(self, client: str, reference: Reference, pushed: str, pulled: str) -> None:
        super().__init__(
            f"{reference}: {client} pushed {pushed} and pulled {pulled}",
            cause="something between client and registry answers for it: a mirror, a proxy or a cache",
            fix="look at the client's mirrors and at HTTPS_PROXY",
        )


def has_podman() -> bool:
    """Tell whether podman itself is installed, not only skopeo or buildah."""
    return shutil.which("podman") is not None


def has_ctr() -> bool:
    """Tell whether ctr is installed and reaches a containerd."""
    return shutil.which("ctr") is not None and run(["ctr", "version"], timeout=_TIMEOUT).code == 0


def prove_podman(address: str, credentials: Credentials | None, *, repository: str) -> Reference:
    """Push an image to ``address`` by podman and pull it back.

    Raises:
        Refusal: a subclass names the cause; see ``regsetup.trust.refusals``.
        OtherImage: the pull gave other content than the push.
    """
    reference = Reference(address, repository, f"proof-{secrets.token_hex(4)}")
    # Below /tmp: podman refuses a runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="rgp", dir="/tmp") as name:
        home = Path(name)
        write_atomic(home / "auth.json", _auth_json(address, credentials), mode=0o600)
        (home / "image.tar").write_bytes(_archive(reference))
        podman = [
            *("podman", f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/t"),
            *("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"),
        ]
        auth, image = f"--authfile={home}/auth.json", str(reference)
        _do(address, [*podman, "load", "-q", "-i", str(home / "image.tar")])
        pushed = _do(address, [*podman, "image", "inspect", "--format={{.Id}}", image]).strip()
        _do(address, [*podman, "push", "-q", auth, image])
        _do(address, [*podman, "rmi", image])
        _do(address, [*podman, "pull", "-q", auth, image])
        pulled = _do(address, [*podman, "image", "inspect", "--format={{.Id}}", image]).strip()
    if pushed != pulled:
        raise OtherImage("podman", reference, pushed, pulled)
    return reference


def prove_ctr(address: str, credentials: Credentials | None, *, repository: str, certs_d: Path) -> Reference:
    """Push an image to ``address`` by ctr, by the hosts.toml in ``certs_d``, and pull it back.

    Raises:
        Refusal: a subclass names the cause; see ``regsetup.trust.refusals``.
        OtherImage: the pull gave other content than the push.
    """
    reference = Reference(address, repository, f"proof-{secrets.token_hex(4)}")
    image = str(reference)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        hosts = f"--hosts-dir={_with_header(certs_d, home, address, credentials) or certs_d}"
        (home / "image.tar").write_bytes(_archive(reference))
        ctr = ["ctr", f"--namespace={_NAMESPACE}", "images"]
        try:
            _do(address, [*ctr, "import", str(home / "image.tar")])
            pushed = _digest(address, ctr, image)
            _do(address, [*ctr, "push", hosts, image])
            _do(address, [*ctr, "rm", "--sync", image])
            _do(address, [*ctr, "pull", hosts, image])
            pulled = _digest(address, ctr, image)
        finally:
            run([*ctr, "rm", "--sync", image], timeout=_TIMEOUT)
            run(["ctr", "namespaces", "remove", _NAMESPACE], timeout=_TIMEOUT)
    if pushed != pulled:
        raise OtherImage("ctr", reference, pushed, pulled)
    return reference


def _do(address: str, command: Sequence[str]) -> str:
    done = run(command, timeout=_TIMEOUT)
    if done.code != 0:
        raise explain((done.err or done.out).strip(), address)
    return done.out


def _digest(address: str, ctr: Sequence[str], image: str) -> str:
    for line in _do(address, [*ctr, "ls", f"name=={image}"]).splitlines():
        found = [word for word in line.split() if word.startswith("sha256:")]
        if found:
            return found[0]
    return ""


def _basic(credentials: Credentials) -> str:
    return base64.b64encode(f"{credentials.user}:{credentials.password.reveal()}".encode()).decode()


def _auth_json(address: str, credentials: Credentials | None) -> str:
    """Without credentials an empty file: a person's own are not to be taken."""
    return json.dumps({"auths": {address: {"auth": _basic(credentials)}} if credentials else {}})


def _with_header(certs_d: Path, home: Path, address: str, credentials: Credentials | None) -> Path | None:
    """Return a copy of the hosts directory that enters as ``credentials``; None if it needs none."""
    hosts = certs_d / address / "hosts.toml"
    if credentials is None or not hosts.is_file():
        return None
    copy = home / "hosts" / address
    copy.mkdir(parents=True)
    text = hosts.read_text(encoding="utf-8")
    scheme = "https" if '[host."https://' in text else "http"
    header = f'[host."{scheme}://{address}".header]\nauthorization = "Basic {_basic(credentials)}"\n'
    write_atomic(copy / "hosts.toml", f"{text}\n{header}", mode=0o600)
    return home / "hosts"


def _archive(reference: Reference) -> bytes:
    """Return a docker-archive (`docker save`) of one layer with one file that no other image has."""
    layer = _tar({"regsetup-proof": secrets.token_bytes(_NOISE)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [str(reference)], "Layers": ["layer.tar"]}]
    return _tar({name: config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})


def _tar(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()
