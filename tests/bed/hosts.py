"""Whole machines for tests: systemd as process 1, their own dockerd, names on a network of their own.

A host is a container of the machine's engine. Its root file system is made once with debootstrap (two or
three minutes) and kept, packed, outside the tree: in REGSETUP_TEST_CACHE, by default ~/.cache/regsetup-tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors

from tests.bed import clients
from tests.bed.run import missing, need, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.models.containers import Container
    from docker.models.networks import Network

    from tests.bed.clients import Completed

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"  # bookworm's
_BASE = """
systemd systemd-sysv dbus dbus-user-session libpam-systemd
iproute2 iptables ca-certificates curl python3 procps kmod docker.io
"""
_CLIENTS = "containerd podman skopeo busybox-static uidmap slirp4netns"  # debootstrap can't order these
# Tests start what they need; a host that boots an engine nobody asked for is slow.
_SETTLE = f"""\
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y install --no-install-recommends {_CLIENTS}
rm /usr/sbin/policy-rc.d
systemctl -q disable docker.service docker.socket containerd.service
systemctl -q disable podman.socket podman-auto-update.timer podman-restart.service
systemctl -q mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /etc/machine-id
touch /etc/machine-id
"""
# What systemd and a dockerd below it need; --privileged and SYS_RESOURCE are refused on some machines. By the
# docker command, for the SDK can't say systempaths=unconfined.
_FLAGS = """
--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE --cap-add SYS_NICE --cap-add SYS_TTY_CONFIG
--cap-add DAC_READ_SEARCH --cap-add IPC_LOCK --cap-add SYS_BOOT
--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined
--device-cgroup-rule 'a *:* rwm'
--tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec
--volume /sys/fs/cgroup:/sys/fs/cgroup:rw
--env container=docker
--stop-signal SIGRTMIN+3
"""
_COMMAND = """\
#!/opt/regsetup/bin/python3
from regsetup.__main__ import main

raise SystemExit(main())
"""
_IMAGE_SETTINGS = [
    'CMD ["/sbin/init"]',
    'VOLUME ["/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"]',
]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that runs; ``name`` is what others on its network resolve."""

    container: Container
    name: str

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 180.0) -> Completed:
        """Run a program on it as root."""
        return clients.run(
            [need("docker"), "exec", "-i", "-e", "COLUMNS=80", str(self.container.id), *args],
            stdin=stdin,
            timeout=timeout,
        )

    def sh(self, script: str, *, timeout: float = 180.0) -> Completed:
        """Run a shell script on it as root."""
        return self("/bin/sh", "-ec", script, timeout=timeout)

    def write(self, path: str, content: bytes | str, *, mode: int = 0o644) -> None:
        """Put a file on it."""
        raw = content.encode() if isinstance(content, str) else content
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(raw), mode
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.addfile(entry, io.BytesIO(raw))
        self.container.put_archive("/", packed.getvalue())

    def copy(self, source: Path, directory: str) -> None:
        """Copy a file or directory of this machine into ``directory`` on the host."""
        self("mkdir", "-p", directory).ok()
        clients.run([need("docker"), "cp", str(source), f"{self.container.id}:{directory}/"]).ok()

    def wait_until_up(self) -> None:
        """Wait until systemd has started what it starts."""

        def up() -> bool:
            return self("systemctl", "is-system-running").out.strip() in {"running", "degraded"}

        wait_for(f"{self.name} to boot", up, seconds=60)

    def start_engine(self) -> None:
        """Enable and start its dockerd, and wait until that answers."""
        self("systemctl", "enable", "--now", "docker").ok()
        wait_for(f"dockerd on {self.name}", lambda: self("docker", "info").code == 0, seconds=60)

    def reboot(self) -> None:
        """Shut it down in order, as ``systemctl reboot`` does, and boot it again."""
        self.container.stop(timeout=60)
        self.container.start()
        self.wait_until_up()

    def install_regsetup(self, packages: Path) -> None:
        """Install what ``regsetup_packages`` gathered into /opt/regsetup, as `pipx install` would."""
        self("python3", "-m", "venv", "--without-pip", "/opt/regsetup").ok()
        self.copy(packages, f"/opt/regsetup/lib/python{PYTHON}")
        command = (
            "#!/opt/regsetup/bin/python3\nfrom regsetup.__main__ import main\n\nraise SystemExit(main())\n"
        )
        self.write("/opt/regsetup/bin/regsetup", command, mode=0o755)
        self("ln", "-s", "/opt/regsetup/bin/regsetup", "/usr/local/bin/regsetup").ok()


def regsetup_packages(place: Path) -> Path:
    """Build a wheel of this checkout, unpack it with all it needs; return a host's ``site-packages``."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(place), str(ROOT)], check=True, capture_output=True)
    (wheel,) = place.glob("regsetup-*.whl")
    target = place / "site-packages"
    subprocess.run(
        [
            *pip,
            "install",
            "--only-binary=:all:",
            f"--python-version={PYTHON}",
            f"--target={target}",
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    return target


@dataclass(frozen=True, slots=True)
class HostFactory:
    """Boots machines on one network; all carry ``mark``, by which ``remove_marked`` finds them."""

    client: docker.DockerClient
    image: str
    network: Network
    mark: str

    def __call__(self, name: str) -> Host:
        """Boot one; the others on the network reach it as ``name``."""
        identity = ["--name", f"{self.mark}-{name}", "--hostname", name]
        network = ["--network", str(self.network.name), "--network-alias", name]
        done = clients.run(
            [need("docker"), "run", "-d", *shlex.split(_FLAGS), *identity, *network, self.image]
        ).ok()
        container = self.client.containers.get(done.out.strip())
        host = Host(container, name)
        host.wait_until_up()
        return host


def ensure_host_image(client: docker.DockerClient) -> str:
    """Return the tag of the hosts' image; make it, from the cache or from Debian's packages, if need be."""
    recipe = json.dumps([_BASE, _SETTLE, _IMAGE_SETTINGS])
    tag = f"regsetup-test/host:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    cache = Path(os.environ.get("REGSETUP_TEST_CACHE") or Path.home() / ".cache/regsetup-tests")
    cache.mkdir(parents=True, exist_ok=True)
    packed = cache / f"{tag.replace('/', '-').replace(':', '-')}.tar.gz"
    with _locked(cache / "lock"):
        if _has(client, tag):
            return tag
        if not packed.exists():
            _make_root(packed)
        settings = [word for setting in _IMAGE_SETTINGS for word in ("--change", setting)]
        clients.run([need("docker"), "import", *settings, str(packed), tag], timeout=600).ok()
    return tag


def _make_root(packed: Path) -> None:
    """Fill ``packed`` with a Debian root file system; it appears under its name only when it is whole."""
    if os.geteuid() != 0:
        missing("debootstrap needs root")
    debootstrap = need("debootstrap")
    root = Path(tempfile.mkdtemp(prefix="rth", dir=packed.parent))
    root.chmod(0o755)
    half = packed.with_suffix(".half")
    include = f"--include={','.join(_BASE.split())}"
    try:
        clients.run([debootstrap, "--variant=minbase", include, "bookworm", str(root)], timeout=1200).ok()
        clients.run(["chroot", str(root), "/bin/sh", "-ec", _SETTLE], timeout=1200).ok()
        clients.run(["tar", "-C", str(root), "-I", "gzip -1", "-cf", str(half), "."], timeout=600).ok()
        half.rename(packed)
    finally:
        shutil.rmtree(root)
        half.unlink(missing_ok=True)


def _has(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
