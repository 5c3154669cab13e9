"""Programs that keep credentials: ``docker-credential-NAME get|store|erase``.

Protocol: https://github.com/docker/docker-credential-helpers, "Development". A key or JSON goes in by
standard input, JSON comes out; nothing secret stands in arguments.
"""

from __future__ import annotations

import json

from regsetup.client.endpoint import Credentials
from regsetup.errors import RegsetupError
from regsetup.host.process import run
from regsetup.secret import Secret

_TIMEOUT = 60.0  # seconds; the keyring may ask its owner to unlock it
_MISSING = "credentials not found in native keychain"  # the protocol's own sentence


class HelperFailed(RegsetupError):
    """A credential helper did not do what it was asked."""

    code = "credential-helper-failed"

    def __init__(self, program: str, action: str, key: str, said: str) -> None:
        super().__init__(
            f"{program} {action} failed for {key}",
            cause=said,
            fix=f"credsStore or credHelpers in Docker's config.json names it; try echo {key} | {program} get",
        )


def get(helper: str, key: str) -> Credentials | None:
    """Return what the helper keeps for ``key``, None where it has nothing.

    Raises:
        ProgramMissing, ProgramTimeout: it can't be started, or does not end.
        HelperFailed: it failed, or says what is no answer.
    """
    program = _program(helper)
    done = run([program, "get"], input=key.encode(), timeout=_TIMEOUT)
    if done.code != 0:
        said = f"{done.out.strip()} {done.err.strip()}".strip()
        if _MISSING in said:
            return None
        raise HelperFailed(program, "get", key, said or f"it ended with {done.code}")
    try:
        answer = json.loads(done.out)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HelperFailed(program, "get", key, "no JSON with Username and Secret") from None
    return Credentials(user, Secret(secret)) if user or secret else None


def store(helper: str, key: str, credentials: Credentials) -> None:
    """Have the helper keep credentials; raises as ``get``."""
    content = {"ServerURL": key, "Username": credentials.user, "Secret": credentials.password.reveal()}
    _tell(helper, "store", key, json.dumps(content))


def erase(helper: str, key: str) -> None:
    """Have the helper forget what it keeps for ``key``; raises as ``get``."""
    _tell(helper, "erase", key, key)


def _tell(helper: str, action: str, key: str, content: str) -> None:
    program = _program(helper)
    done = run([program, action], input=content.encode(), timeout=_TIMEOUT)
    if done.code != 0:
        said = f"{done.out.strip()} {done.err.strip()}".strip()
        raise HelperFailed(program, action, key, said or f"it ended with {done.code}")


def _program(helper: str) -> str:
    return f"docker-credential-{helper}"
