"""The program's start: ``regsetup`` and ``python -m regsetup``."""

import contextlib
import signal
import sys

from regsetup import __version__


def main() -> int:
    """Run the command line and return its exit status.

    ``--version`` is answered before anything is imported: scripts ask it often.
    """
    if sys.argv[1:] == ["--version"]:
        with contextlib.suppress(OSError):  # what can't be written is told by the command line, below
            print(f"regsetup {__version__}", flush=True)  # noqa: T201  the one line that the renderer is too slow for
            return 0
    try:
        from regsetup.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before a command began; commands end by themselves
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from regsetup.cli import stopped

        return stopped(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
