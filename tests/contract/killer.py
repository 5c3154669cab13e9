"""Does one verb of a runtime and dies before its n-th change: ``VERB N PLACE NAME PORT detached|systemd``.

Changes are seen by an audit hook: files opened to write, renamed, removed, programs started, signals sent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.contract.runtimes import STANDIN, embedded

KILLED = 137  # exit code of a shell's child after SIGKILL
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.kill", "subprocess.Popen"}


def die_before(number: int) -> None:
    """End this process, without any clean-up, when it is about to make its n-th change."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in CHANGES or (writes and arguments[0] != os.devnull):
            seen += 1
            if seen == number:
                os._exit(KILLED)

    sys.addaudithook(hook)


def main(verb: str, number: str, place: str, name: str, port: str, how: str) -> None:
    bench = embedded(Path(place), name, int(port), detached=how == "detached", command=STANDIN)
    runtime = bench.open()
    spec = runtime.spec(bench.wanted)
    die_before(int(number))
    if verb == "create":
        runtime.create(bench.wanted, spec)
    else:
        getattr(runtime, verb)()


if __name__ == "__main__":
    main(*sys.argv[1:])
