"""Rules about the registry itself: port, names, certificate, users, storage, clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regsetup import acme
from regsetup.auth.certificates import RENEW_BEFORE, Names
from regsetup.auth.htpasswd import Htpasswd
from regsetup.deployment import Tls
from regsetup.doctor.addresses import is_address
from regsetup.doctor.facts import Facts, Finding, Severity
from regsetup.host.docker_info import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MIN_FREE = 1 << 30  # bytes; a push of one ordinary image can take as much
OLDEST_NOW = 2025  # a clock that says an earlier year than this program's is wrong
_OTHERS_WRITE, _OTHERS_READ = 0o022, 0o007


def _port(facts: Facts) -> Iterator[Finding]:
    local = facts.wanted.local
    if not facts.there:
        if facts.listens is not None:
            yield Finding(
                "port-in-use",
                Severity.WARNING,
                f"{facts.listens} holds {local}",
                "regsetup up would need it",
                f"stop {facts.listens}, or regsetup up --port PORT",
            )
        return
    unasked = facts.wanted.tls in (Tls.SELF_SIGNED, Tls.OWN) and facts.leaf is None
    if facts.answers is not False or (unasked and facts.listens is not None):
        return  # without its certificate it can't be asked who it is
    if facts.listens is None:
        yield Finding(
            "registry-down",
            Severity.ERROR,
            f"nothing listens on {local}",
            "the registry is not running",
            "regsetup up; regsetup logs says why it ended",
        )
    else:
        yield Finding(
            "port-foreign",
            Severity.ERROR,
            f"{facts.listens} holds {local} and does not answer as the registry",
            "another program has the port, or the registry speaks the other of HTTP and HTTPS",
            f"stop {facts.listens}, or regsetup up --port PORT",
        )


def _names(facts: Facts) -> Iterator[Finding]:
    host = host_of(facts.wanted.address)
    if facts.resolved is None or is_address(host):
        return
    if not facts.resolved:
        yield Finding(
            "name-unknown",
            Severity.ERROR,
            f"{host} has no address",
            "neither DNS nor /etc/hosts knows it",
            "add it to DNS or /etc/hosts, or regsetup up --host ADDRESS",
        )
    elif not set(facts.resolved) & facts.own:
        yield Finding(
            "name-elsewhere",
            Severity.WARNING,
            f"{host} is {', '.join(facts.resolved)}, which is not {facts.wanted.machine or 'this machine'}",
            "an old DNS entry, or a machine behind a proxy or NAT",
            f"point {host} to one of {', '.join(sorted(facts.own))}",
        )
    elif ":" in facts.resolved[0] and facts.shadow is not None:
        yield Finding(
            "name-ipv6-first",
            Severity.WARNING,
            f"{host} is {facts.resolved[0]} first, and there {facts.shadow} has port {facts.wanted.port}",
            f"the registry listens on {facts.wanted.bind} only, and clients try IPv6 first",
            f"regsetup up --bind ::, or use {facts.wanted.local} as the address",
        )


def _certificate(facts: Facts) -> Iterator[Finding]:
    if facts.wanted.tls is Tls.OFF:
        return
    leaf, error = facts.leaf, Severity.ERROR
    own = facts.wanted.tls is Tls.OWN
    renew = "regsetup up --cert FILE --key FILE, with a new pair" if own else "regsetup cert renew"
    if facts.wanted.tls is Tls.ACME:
        yield from _issued(facts)
        return
    if leaf is None:
        cause = "it is missing, damaged, or its key is another's"
        yield Finding(
            "certificate-missing", error, "the registry has no usable certificate", cause, "regsetup up"
        )
        return
    if facts.now > leaf.not_after:
        message = f"the certificate ended on {leaf.not_after:%Y-%m-%d}"
        yield Finding("certificate-expired", error, message, "nobody renewed it", renew)
    elif leaf.ends_soon(facts.now):
        message = f"the certificate ends in {leaf.days_left(facts.now)} days"
        cause = f"less than {RENEW_BEFORE.days} days are left"
        yield Finding("certificate-ends-soon", Severity.WARNING, message, cause, renew)
    if missing := leaf.names.missing(Names.of(facts.wanted.hosts)):
        message = f"the certificate does not name {missing}"
        yield Finding(
            "certificate-names", error, message, f"it names {leaf.names}", renew if own else "regsetup up"
        )
    if facts.ca is not None and facts.wanted.tls is Tls.SELF_SIGNED and leaf.issuer_key_id != facts.ca.key_id:
        message = "the certificate is not from the registry's own CA"
        yield Finding("certificate-other-ca", error, message, f"its issuer is {leaf.issuer}", "regsetup up")


def _issued(facts: Facts) -> Iterator[Finding]:
    """Judge what the registry got from Let's Encrypt; each name has a certificate of its own."""
    host = ", ".join(facts.wanted.hosts)
    mend = f"regsetup logs; {host} must lead here, and its port {acme.PORT} to the registry"
    if facts.leaf is None:
        message, cause = f"Let's Encrypt gave no certificate for {host}", "no order has succeeded yet"
        yield Finding("certificate-missing", Severity.ERROR, message, cause, mend)
    elif facts.now > facts.leaf.not_after:
        message = f"the certificate ended on {facts.leaf.not_after:%Y-%m-%d}"
        yield Finding("certificate-expired", Severity.ERROR, message, "the registry did not renew it", mend)
    elif facts.leaf.days_left(facts.now) < acme.LATE:
        message = f"the certificate ends in {facts.leaf.days_left(facts.now)} days"
        cause = "the registry should have renewed it 30 days before"
        yield Finding("certificate-ends-soon", Severity.WARNING, message, cause, mend)


def _users(facts: Facts) -> Iterator[Finding]:
    if not facts.wanted.auth:
        return
    if facts.htpasswd is None:
        yield Finding(
            "users-missing",
            Severity.ERROR,
            "the registry asks for users, and there is no htpasswd",
            "registry:2 then invents a user and logs its password",
            "regsetup adduser NAME",
        )
        return
    place = facts.htpasswd_path or "htpasswd"
    for problem in Htpasswd.parse(facts.htpasswd.decode(errors="replace")).problems:
        yield Finding(
            "users-line",
            Severity.ERROR if problem.stops_reload else Severity.WARNING,
            f"htpasswd, line {problem.line}: {problem.reason}",
            "registry:2 refuses the whole file and keeps the users it read before"
            if problem.stops_reload
            else "that line gives nobody access",
            f"sed -i {problem.line}d {place}, or "
            + ("mend that line" if problem.stops_reload else "regsetup passwd NAME"),
        )
    if facts.htpasswd_mode is not None and facts.htpasswd_mode & (_OTHERS_WRITE | _OTHERS_READ):
        yield Finding(
            "users-exposed",
            Severity.WARNING,
            f"htpasswd has mode {facts.htpasswd_mode & 0o777:04o}",
            "others on this machine can read or change the password hashes",
            f"chmod 600 {place}",
        )


def _storage(facts: Facts) -> Iterator[Finding]:
    if facts.storage_writable is False:
        yield Finding(
            "storage-not-writable",
            Severity.ERROR,
            f"{facts.wanted.storage} can't be written",
            "its owner or mode, a read-only file system, or this user's rights",
            f"ls -ld {facts.wanted.storage}; run regsetup as its owner, or with sudo",
        )
    if facts.storage_free is not None and facts.storage_free < MIN_FREE:
        yield Finding(
            "disk-full",
            Severity.ERROR if facts.storage_free == 0 else Severity.WARNING,
            f"{facts.storage_free >> 20} MiB are free below {facts.wanted.storage}",
            "a push that does not fit fails",
            f"df -h {facts.wanted.storage}; regsetup gc frees what no tag uses",
        )
    if facts.selinux and facts.backend == "docker" and facts.answers is False:
        yield Finding(
            "selinux",
            Severity.WARNING,
            "SELinux is enforcing, and may keep the container from its files",
            "a bind mount needs the label container_file_t",
            f"sudo chcon -Rt container_file_t {facts.wanted.storage}; sudo ausearch -m avc -ts recent",
        )


def _rootless(facts: Facts) -> Iterator[Finding]:
    info = facts.info or {}
    options = info.get("SecurityOptions") or ()
    user, owner = facts.engine_uid, facts.storage_owner
    if facts.backend != "docker" or None in (user, owner) or user == owner:
        return
    if info.get("Rootless") or any("rootless" in option for option in options):
        yield Finding(
            "storage-rootless",
            Severity.ERROR,
            f"{facts.wanted.storage} belongs to user {owner}",
            f"the engine is rootless: root in its containers is user {user} here",
            f"sudo chown -R {user} {facts.wanted.storage}",
        )


def _clock(facts: Facts) -> Iterator[Finding]:
    behind = facts.leaf is not None and facts.now < facts.leaf.not_before
    if facts.now.year < OLDEST_NOW or behind:
        yield Finding(
            "clock-behind",
            Severity.ERROR,
            f"this machine's clock says {facts.now:%Y-%m-%d %H:%M} UTC",
            "certificates are not valid yet at that time" if behind else "this program is younger than that",
            "sudo timedatectl set-ntp true, or sudo date -s",
        )
    elif facts.synchronized is False and facts.wanted.tls is not Tls.OFF:
        yield Finding(
            "clock-free",
            Severity.WARNING,
            "this machine's clock follows no time server",
            "certificates are judged by the clock",
            "sudo timedatectl set-ntp true",
        )


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _port,
    _names,
    _certificate,
    _users,
    _storage,
    _rootless,
    _clock,
)
