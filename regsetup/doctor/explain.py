"""Explains the error text of a client, an engine or a registry that somebody pasted: text in, error out.

What an engine says of a registry is known to ``trust.refusals``; here stands what a person meets before that
and around it. Matching is by the part that has stayed the same between versions.
"""

from __future__ import annotations

import re

from regsetup.errors import RegsetupError
from regsetup.trust.refusals import Refusal
from regsetup.trust.refusals import explain as explain_refusal

_URL = re.compile(r"https?://([^/\s\"'\\\\]+)")
_DIAL = re.compile(r"dial tcp (\[[^\]]+\]:\d+|[^\s:]+:\d+)|lookup ([^\s:]+)")


class Explained(RegsetupError):
    """A pasted error, explained."""

    code = "unexplained"

    def __init__(self, message: str, cause: str, fix: str) -> None:
        super().__init__(message, cause=cause, fix=fix)


class EngineSocketDenied(Explained):
    """This user may not speak to the engine."""

    code = "engine-socket-denied"


class EngineNotRunning(Explained):
    """No engine answers on the socket."""

    code = "engine-not-running"


class DaemonFlagTwice(Explained):
    """dockerd does not start: a key stands in its flags and in daemon.json."""

    code = "daemon-flag-conflict"


class DaemonJsonRefused(Explained):
    """dockerd does not start: it can't read daemon.json."""

    code = "daemon-json-unreadable"


class NotPermittedByCa(Explained):
    """The registry's CA may not vouch for this name."""

    code = "certificate-not-permitted"


class DiskFull(Explained):
    """A disk is full."""

    code = "disk-full"


class PortTaken(Explained):
    """Another process or container has the port."""

    code = "port-in-use"


class RateLimited(Explained):
    """Docker Hub, or a registry like it, counts pulls."""

    code = "rate-limited"


class PushDenied(Explained):
    """The name in front of the image is not a registry's, so the engine asked Docker Hub."""

    code = "push-denied"


# (class, text, message, cause, fix); the first whose text is found counts.
_KNOWN: tuple[tuple[type[Explained], str, str, str, str], ...] = (
    (
        EngineSocketDenied,
        "permission denied while trying to connect to the docker",
        "this user may not use the Docker engine",
        "its socket is for root and the group docker",
        "sudo usermod -aG docker $USER, then log in again; or use sudo",
    ),
    (
        EngineNotRunning,
        "cannot connect to the docker daemon",
        "no Docker engine answers",
        "it is not running, or DOCKER_HOST or the docker context points elsewhere",
        "sudo systemctl start docker; docker context ls; regsetup doctor",
    ),
    (
        DaemonFlagTwice,
        "specified both as a flag and in the configuration file",
        "dockerd does not start: a setting stands both in its flags and in daemon.json",
        "dockerd takes each setting from one place only",
        "systemctl cat docker shows the flags; take the setting out of one of the two, restart Docker",
    ),
    (
        DaemonJsonRefused,
        "unable to configure the docker daemon with file",
        "dockerd does not take daemon.json",
        "it is not JSON, or has a key that this engine does not know",
        "regsetup doctor names the line; mend it, then sudo systemctl restart docker",
    ),
    (
        NotPermittedByCa,
        "is not permitted by any constraint",
        "the registry's CA may not vouch for this name",
        "a registry's CA permits only the names that it was made for",
        "regsetup up --host NAME makes a new CA; then regsetup trust export for every client",
    ),
    (
        NotPermittedByCa,
        "permitted subtree violation",
        "the registry's CA may not vouch for this name",
        "a registry's CA permits only the names that it was made for",
        "regsetup up --host NAME makes a new CA; then regsetup trust export for every client",
    ),
    (
        DiskFull,
        "no space left on device",
        "a disk is full",
        "the registry's storage, or the engine's",
        "df -h; regsetup gc frees what no tag uses, docker image prune what no container uses",
    ),
    (
        PortTaken,
        "address already in use",
        "the port is taken",
        "another process or container listens there",
        "regsetup doctor names it; regsetup up --port PORT takes another",
    ),
    (
        PortTaken,
        "port is already allocated",
        "the port is taken",
        "another container publishes it",
        "docker ps shows it; regsetup up --port PORT takes another",
    ),
    (
        RateLimited,
        "toomanyrequests",
        "the registry counts pulls, and this machine has had its share",
        "Docker Hub limits pulls without login",
        "docker login, or wait; regsetup up --mirror-of URL makes a cache",
    ),
    (
        PushDenied,
        "requested access to the resource is denied",
        "the engine asked a registry that does not know this user",
        "the image's name does not begin with your registry's address, so that Docker Hub was asked",
        "docker tag IMAGE HOST:PORT/NAME, then docker push HOST:PORT/NAME",
    ),
)


def explain(text: str) -> RegsetupError:
    """Return the error that explains ``text``; its code is ``unexplained`` if none is known."""
    folded = " ".join(text.split()).casefold()
    for kind, mark, message, cause, fix in _KNOWN:
        if mark in folded:
            return kind(message, cause, fix)
    refusal = explain_refusal(text, address_in(text) or "the registry")
    if type(refusal) is not Refusal:
        return refusal
    return Explained(
        "this error is not known to regsetup", text.strip(), "regsetup doctor looks at the whole machine"
    )


def address_in(text: str) -> str | None:
    """Return the ``host:port`` that an error text is about, if it names one."""
    found = _URL.search(text) or _DIAL.search(text)
    return next((group for group in found.groups() if group), None) if found else None
