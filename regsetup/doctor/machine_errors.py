"""What engines and their machine say before a registry is even asked: each text with its cause and its mend.

Docker from 20.10 to 29, dockerd, systemd, podman, containerd's ctr, credential helpers, SELinux.
"""

from __future__ import annotations

from typing import ClassVar

from regsetup.errors import RegsetupError

# Where a registry in a container keeps what it reads and writes, and how distribution's driver names itself.
_FILES = r"(/var/lib/registry|/auth/|/certs/|/etc/docker/registry|/etc/distribution|filesystem: )"


class Explained(RegsetupError):
    """A pasted error that is not known.

    A subclass explains those in which one of its ``marks`` is found.
    """

    code = "unexplained"
    marks: ClassVar[tuple[str, ...]] = ()  # regular expressions; case is nothing, line ends are blanks
    fact = "this error is not known to regsetup"
    why = "none of the texts that regsetup knows is in it"
    mend = "regsetup doctor looks at the whole machine"

    def __init__(self) -> None:
        super().__init__(self.fact, cause=self.why, fix=self.mend)


class EngineSocketDenied(Explained):
    """This user may not speak to the engine."""

    code = "engine-socket-denied"
    marks = (
        "permission denied while trying to connect to the docker",
        r"dial unix \S+\.sock: connect: permission denied",
    )
    fact = "this user may not use the Docker engine"
    why = "its socket is for root and the group docker"
    mend = "sudo usermod -aG docker $USER, then log in again; or use sudo"


class EngineNotRunning(Explained):
    """No engine answers on the socket."""

    code = "engine-not-running"
    marks = (
        "cannot connect to the docker daemon",
        "failed to connect to the docker api",
        "(cannot|unable to) connect to podman",
        r"dial unix \S+\.sock: connect: (connection refused|no such file)",
        r"failed to dial \S*containerd\.sock",
        "cannot access containerd socket",  # nerdctl
        "rootless containerd not running",
        "error during connect: .*docker_engine",  # Windows
    )
    fact = "no engine answers"
    why = "it is not running, or DOCKER_HOST or the docker context points elsewhere"
    mend = "sudo systemctl start docker; docker context ls; regsetup doctor"


class DaemonFlagTwice(Explained):
    """dockerd does not start: a key stands in its flags and in daemon.json."""

    code = "daemon-flag-conflict"
    marks = ("specified both as a flag and in the configuration file",)
    fact = "dockerd does not start: a setting stands both in its flags and in daemon.json"
    why = "dockerd takes each setting from one place only"
    mend = "systemctl cat docker shows the flags; take the setting out of one of the two, restart Docker"


class DaemonEntryBad(Explained):
    """dockerd does not start: an entry of insecure-registries or registry-mirrors is none."""

    code = "daemon-json-entry"
    marks = (
        "insecure registry .*(should not contain|is not valid)",
        "invalid (registry )?mirror",
        "invalid insecure registry",
    )
    fact = "dockerd does not take an entry of insecure-registries or registry-mirrors"
    why = "an insecure registry is written HOST:PORT, without http://; a mirror is a URL, without a path"
    mend = "mend the entry in daemon.json, then sudo systemctl restart docker"


class SettingsOfClientRefused(Explained):
    """podman or containerd can't read a file that says how it may talk to registries."""

    code = "client-settings-unreadable"
    marks = (
        "loading registries configuration",  # podman, skopeo, buildah
        r"failed to decode hosts\.toml",
        "invalid `host` tree",  # containerd up to 1.7, of a hosts.toml without a [host] table
        "`mirrors` cannot be set when `config_path` is provided",
    )
    fact = "a client can't read its settings for registries"
    why = "registries.conf or hosts.toml is no TOML, or containerd has config_path beside the older mirrors"
    mend = "mend the file that is named, or take the older tables out; regsetup trust status names ours"


class NothingToPush(Explained):
    """The image is not among those of the engine that is asked to push it."""

    code = "image-not-tagged"
    marks = (
        "an image does not exist locally with the tag",
        r"tag does not exist: ",
        r"no such image: ",
        r"image not known",  # podman
    )
    fact = "the engine has no image of that name to push, tag or run"
    why = "it has another name there, or was built by another engine or builder"
    mend = "docker images shows the names; docker tag IMAGE HOST:PORT/NAME:TAG, then push that"


class DaemonJsonRefused(Explained):
    """dockerd does not start: it can't read daemon.json."""

    code = "daemon-json-unreadable"
    marks = (
        "unable to configure the docker daemon with file",
        "don't match any configuration option",
        r"(daemon\.json|start daemon\b).*(invalid character|unexpected end of JSON|cannot unmarshal)",
    )
    fact = "dockerd does not take daemon.json"
    why = "it is not JSON, or has a key that this engine does not know"
    mend = "regsetup doctor names the line; mend it, then sudo systemctl restart docker"


class EngineGivenUp(Explained):
    """systemd tried to start Docker and gave up."""

    code = "engine-given-up"
    marks = (
        r"docker\.(service|socket): (start request repeated too quickly|failed with result)",
        r"job for docker\.service failed",
    )
    fact = "systemd could not start Docker, and has given up"
    why = "dockerd ended at once; its own log has the reason, most often daemon.json"
    mend = (
        "sudo journalctl -u docker -n 20 names it; then sudo systemctl reset-failed docker, and start docker"
    )


class DiskFull(Explained):
    """A disk is full."""

    code = "disk-full"
    marks = ("no space left on device", "disk quota exceeded")
    fact = "a disk is full"
    why = "the registry's storage, or the engine's"
    mend = "df -h; regsetup gc frees what no tag uses, docker image prune what no container uses"


class PortTaken(Explained):
    """Another process or container has the port."""

    code = "port-in-use"
    marks = ("address already in use", "port is already allocated", "ports are not available")
    fact = "the port is taken"
    why = "another process or container listens there"
    mend = "regsetup doctor names it; regsetup up --port PORT takes another"


class NameTaken(Explained):
    """A container of that name is there."""

    code = "container-name-taken"
    marks = ("the container name .* is already in use",)
    fact = "there is a container of that name already"
    why = "docker run was typed twice, or an old registry is still there"
    mend = "docker ps -a shows it; docker rm NAME if nobody needs it, or regsetup up --name OTHER"


class StorageDenied(Explained):
    """The registry may not read or write its own files."""

    code = "storage-denied"
    marks = (rf"{_FILES}.*(permission denied|operation not permitted|read-only file system)",)
    fact = "the registry may not read or write its files"
    why = "their owner or mode, a rootless engine, a read-only file system, or SELinux"
    mend = "regsetup doctor looks at each; ls -lnZ shows owner and label"


class SelinuxDenied(Explained):
    """SELinux keeps a container from a file."""

    code = "selinux"
    marks = (r"avc:\s+denied", "selinux is preventing", "relabel failed")
    fact = "SELinux forbade it"
    why = "a container may use files with the label container_file_t only"
    mend = "sudo chcon -Rt container_file_t DIRECTORY; sudo ausearch -m avc -ts recent"


class CredentialHelperFailed(Explained):
    """Docker's credential helper does not work."""

    code = "credential-helper-failed"
    marks = ("error (getting|storing|saving|erasing) credentials", "docker-credential-.*not found")
    fact = "docker can't use its credential helper"
    why = "~/.docker/config.json names one (credsStore, credHelpers) that is missing, or has no session"
    mend = "install docker-credential-NAME, or take credsStore out of ~/.docker/config.json"


class CertsDMisnamed(Explained):
    """A file in certs.d has a name that means something else to Docker."""

    code = "certs-d-misnamed"
    marks = (
        "missing (key|client certificate) .* for (client certificate|key)",
        "should use the extension .crt",
    )
    fact = "a file in certs.d has the wrong name"
    why = "Docker takes *.crt for a CA, and *.cert with *.key for a client's own certificate"
    mend = "sudo mv FILE.cert FILE.crt, in /etc/docker/certs.d/HOST:PORT"


class PolicyMissing(Explained):
    """podman and skopeo want a policy for signatures."""

    code = "policy-missing"
    marks = (r"policy\.json: no such file",)
    fact = "podman and skopeo have no policy for signatures"
    why = "/etc/containers/policy.json is missing"
    mend = "install containers-common (Debian: golang-github-containers-common), or skopeo --insecure-policy"


KINDS: tuple[type[Explained], ...] = (
    EngineSocketDenied,
    EngineNotRunning,
    DaemonFlagTwice,
    DaemonEntryBad,
    SettingsOfClientRefused,
    NothingToPush,
    DaemonJsonRefused,
    EngineGivenUp,
    DiskFull,
    PortTaken,
    NameTaken,
    StorageDenied,
    SelinuxDenied,
    CredentialHelperFailed,
    CertsDMisnamed,
    PolicyMissing,
)
