"""Rules about who uses the registry: engine, its settings, trust, proxies, firewall."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from regsetup.backends.engine import EngineNoRights, is_elsewhere
from regsetup.deployment import Tls, is_loopback
from regsetup.doctor.addresses import excepted
from regsetup.doctor.facts import Facts, Finding, Severity
from regsetup.errors import RegsetupError
from regsetup.host.daemon_json import INSECURE, MIRRORS, DaemonJsonUnreadable, decode, entries, keys
from regsetup.host.docker_info import host_of, is_listed
from regsetup.host.engine import Manager
from regsetup.host.flags import FLAG_OF, flags_of
from regsetup.host.reload import restart_command
from regsetup.trust.docker import DockerMirror
from regsetup.trust.install import State
from regsetup.trust.rights import by_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regsetup.host.engine import Dockerd
    from regsetup.trust.install import Status

_MIRROR = re.compile(r"https?://[^/?#@\s]+/?")


def _engine(facts: Facts) -> Iterator[Finding]:
    if facts.engine is None or facts.info is not None:
        return
    needed, stopped = facts.backend == "docker", facts.engine.manager is Manager.STOPPED
    if not needed and (facts.there or not facts.engine_installed):
        return
    severity = Severity.ERROR if needed else Severity.WARNING
    if facts.engine_closed:
        error = EngineNoRights(facts.engine_closed)
        yield Finding(error.code, severity, error.message, error.cause or "", error.fix or "")
    else:
        yield Finding(
            "engine-silent",
            severity,
            f"the Docker engine {'is not running' if stopped else 'does not answer'}",
            "the registry is a container in it" if needed else "up would take the bundled registry instead",
            restart_command(facts.engine),
        )


def _shell(facts: Facts) -> Iterator[Finding]:
    """DOCKER_HOST, DOCKER_CONTEXT and `docker context use` send commands elsewhere than one thinks."""
    if facts.shell_trouble is not None:
        error = facts.shell_trouble
        yield Finding(error.code, Severity.WARNING, error.message, error.cause or "", error.fix or "")
    elif not facts.there and facts.shell_engine and is_elsewhere(facts.shell_engine):
        yield Finding(
            "engine-elsewhere",
            Severity.WARNING,
            f"docker commands of this shell go to {facts.shell_engine}, on another machine",
            "DOCKER_HOST or the context says so, and up would set the registry up there",
            "unset DOCKER_HOST DOCKER_CONTEXT; docker context use default",
        )
    elif facts.wanted.machine:
        return  # a registry elsewhere knows its engine, and this shell may well have another
    elif facts.backend == "docker" and facts.shell_engine not in (None, facts.engine_address):
        yield Finding(
            "engine-other",
            Severity.WARNING,
            f"docker commands of this shell go to {facts.shell_engine}",
            f"DOCKER_HOST or the context says so; the registry is a container of {facts.engine_address}",
            "unset DOCKER_HOST DOCKER_CONTEXT; docker context use default",
        )


def _daemon_json(facts: Facts) -> Iterator[Finding]:
    if facts.engine is None or facts.daemon_json is None:
        return
    try:
        lists = {key: entries(decode(facts.daemon_json), key) for key in (INSECURE, MIRRORS)}
        for key in (key for key, found in lists.items() if found):
            facts.engine.check_flags(key)
    except RegsetupError as error:
        if isinstance(error, DaemonJsonUnreadable):
            error.of(facts.engine.config)
        yield Finding(error.code, Severity.ERROR, error.message, error.cause or "", error.fix or "")
        return
    yield from _flags_twice(facts.engine, decode(facts.daemon_json))
    for mirror in lists[MIRRORS]:
        if mirror.strip() and not _MIRROR.fullmatch(mirror.strip()):
            yield Finding(
                "daemon-json-entry",
                Severity.ERROR,
                f"{facts.engine.config} has a mirror that is none: {_without_password(mirror)}",
                "dockerd starts only if a mirror is http:// or https:// and a host, without path or user",
                f"mend it in {facts.engine.config}",
            )
    for key, found in lists.items():
        if any(not entry.strip() or entry != entry.strip() for entry in found):
            yield Finding(
                "daemon-json-blank-entry",
                Severity.ERROR,
                f"{facts.engine.config} has an empty entry, or one with blanks, in {key}",
                "dockerd does not start from it (moby#43051)",
                f"take it out of {facts.engine.config}",
            )
    listed = lists[INSECURE]
    address = facts.wanted.address
    if address in listed and facts.info is not None and not is_listed(facts.info, address):
        yield Finding(
            "daemon-not-reloaded",
            Severity.ERROR,
            f"the engine has not taken {address} from {facts.engine.config}",
            "the file was changed after the engine read it",
            f"{facts.command} trust install",
        )
    if address in listed and facts.wanted.tls is not Tls.OFF:
        yield Finding(
            "insecure-beside-tls",
            Severity.WARNING,
            f"the engine does not check the certificate of {address}",
            f"{facts.engine.config} names it in {INSECURE}, though it speaks TLS",
            f"{facts.command} trust remove, then {facts.command} trust install",
        )


def _flags_twice(engine: Dockerd, text: str) -> Iterator[Finding]:
    """Most often "hosts" beside the -H of the unit: dockerd runs on until somebody restarts it."""
    for key in keys(text):
        places = " and ".join(engine.flag_places(key)) if key not in FLAG_OF else ""
        if places:
            yield Finding(
                "daemon-flag-conflict",
                Severity.ERROR,
                f'{engine.config} has "{key}", and dockerd gets {flags_of(key)[-1]} from {places}',
                "dockerd takes each setting from one place only, and does not start",
                f'take "{key}" out of {engine.config}, or the flag out there; then restart Docker',
            )


def _trust(facts: Facts) -> Iterator[Finding]:
    for client in facts.clients:
        if client.state is State.DIFFERS and client.client == DockerMirror.name:
            yield Finding(
                "mirror-missing",
                Severity.WARNING,
                f"the engine does not ask {facts.wanted.address} first for images of Docker Hub",
                client.detail,
                _telling(facts, client),
            )
        elif client.state is State.DIFFERS:
            yield Finding(
                "trust-missing",
                Severity.WARNING,
                f"{client.client} does not trust {facts.wanted.address}",
                client.detail,
                _telling(facts, client),
            )


def _telling(facts: Facts, client: Status) -> str:
    """Return what makes ``client`` trust the registry, by the person whose it is or by root."""
    words = ("--for", client.client)
    return by_script(words) if client.closed else f"{facts.command} trust install {' '.join(words)}"


def _proxy(facts: Facts) -> Iterator[Finding]:
    host = host_of(facts.wanted.address)
    info = facts.info or {}
    places = {
        "the engine": (info.get("HttpsProxy") or info.get("HttpProxy"), info.get("NoProxy") or ""),
        "this shell": (
            facts.proxies.get("https_proxy") or facts.proxies.get("http_proxy"),
            facts.proxies.get("no_proxy", ""),
        ),
    }
    for place, (proxy, exceptions) in places.items():
        if proxy and not excepted(host, str(exceptions)):
            yield Finding(
                "proxy",
                Severity.WARNING,
                f"{place} asks the proxy {_without_password(str(proxy))} for {host}",
                f"NO_PROXY lacks it: {exceptions or 'it is empty'}",
                f"add {host} to NO_PROXY for {place}" + (" and restart it" if place == "the engine" else ""),
            )


def _firewall(facts: Facts) -> Iterator[Finding]:
    if facts.firewall and facts.backend == "docker" and not is_loopback(facts.wanted.bind):
        yield Finding(
            "firewall-bypassed",
            Severity.WARNING,
            f"{facts.firewall} does not guard port {facts.wanted.port}",
            "Docker's published ports go around it (moby#22054)",
            "regsetup up --bind 127.0.0.1 or a LAN address; or rules in the DOCKER-USER chain",
        )


def _without_password(proxy: str) -> str:
    """A proxy's URL may hold its password."""
    scheme, mark, rest = proxy.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _engine,
    _shell,
    _daemon_json,
    _trust,
    _proxy,
    _firewall,
)
