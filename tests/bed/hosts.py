"""Whole machines for tests: systemd as process 1, their own dockerd, names on a network of their own.

A host is a container of the machine's engine, with a Debian root of ``tests.bed.roots``.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bed import clients
from tests.bed.roots import Recipe
from tests.bed.run import need, wait_for

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.networks import Network

    from tests.bed.clients import Completed

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"  # bookworm's
HOST = Recipe(
    "host",
    "bookworm",
    """
    systemd systemd-sysv dbus dbus-user-session libpam-systemd
    iproute2 iptables ca-certificates curl python3 procps kmod docker.io
    """,
    # debootstrap can't order these clients; and a host that boots an engine nobody asked for is slow
    """
    apt-get -q update
    install='apt-get -q -y install --no-install-recommends'
    $install containerd podman skopeo busybox-static uidmap slirp4netns polkitd openssh-server rootlesskit
    systemctl -q disable docker.service docker.socket containerd.service
    systemctl -q disable ssh.service
    systemctl -q disable podman.socket podman-auto-update.timer podman-restart.service
    systemctl -q mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer
    rm /etc/machine-id
    touch /etc/machine-id
    """,
    (
        'CMD ["/sbin/init"]',
        'VOLUME ["/var/lib/docker", "/var/lib/containerd", "/var/lib/containers"]',
    ),
)
# What systemd and a dockerd below it need; --privileged and SYS_RESOURCE are refused on some machines. By the
# docker command, for the SDK can't say systempaths=unconfined.
MACHINE_FLAGS = """
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
        """Copy a file or directory of this machine into ``directory`` on the host.

        By tar in the host: ``docker cp`` does not see its tmpfs mounts, such as /tmp.
        """
        self("mkdir", "-p", directory).ok()
        packed = subprocess.run(
            ["tar", "-C", str(source.parent), "-cf", "-", source.name], check=True, capture_output=True
        ).stdout
        unpack = ["exec", "-i", str(self.container.id), "tar", "-C", directory, "-xf", "-", "--no-same-owner"]
        subprocess.run([need("docker"), *unpack], input=packed, check=True, capture_output=True)

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

    def regsetup(self, *args: str) -> dict[str, Any]:
        """Run regsetup with ``--json``, which must go well; return the envelope."""
        envelope: dict[str, Any] = json.loads(self("regsetup", *args, "--json").ok().out)
        assert envelope["ok"], envelope
        return envelope

    def status(self, url: str, *flags: str) -> str:
        """Return the HTTP status that curl sees there, ``000`` while nothing answers."""
        return self("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *flags, url).out

    def files(self) -> set[str]:
        """Return all that a command could have left, but for what the engines and the journal keep."""
        kept = """
        /proc /sys /var/log /var/cache /var/lib/docker /var/lib/containers /var/lib/systemd /opt/regsetup
        /var/tmp/systemd-private-* /root/.docker
        """
        skipped = " -o ".join(f"-path '{path}'" for path in kept.split())
        listed = self.sh(f"find / -xdev \\( {skipped} \\) -prune -o -print").ok()
        return set(listed.out.splitlines())


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
        host = self.run(name, self.image)
        host.wait_until_up()
        return host

    def without_systemd(self, name: str) -> Host:
        """Start one whose services are sysvinit's scripts; process 1 does nothing but bury its children."""
        return self.run(name, "--init", self.image, "sleep", "infinity")

    def run(self, name: str, *what: str) -> Host:
        """Start a container with a machine's rights; ``what`` is flags, an image and its command."""
        identity = ["--name", f"{self.mark}-{name}", "--hostname", name]
        network = ["--network", str(self.network.name), "--network-alias", name]
        done = clients.run(
            [need("docker"), "run", "-d", *shlex.split(MACHINE_FLAGS), *identity, *network, *what]
        ).ok()
        return Host(self.client.containers.get(done.out.strip()), name)
