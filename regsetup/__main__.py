"""The program's start: ``regsetup`` and ``python -m regsetup``."""

import contextlib
import gc
import signal
import sys

from regsetup import __version__

_ALLOCATIONS = (
    10_000  # between collections; with Python's 700 the modules are gone through 50 times in a start
)


def main() -> int:
    """Run the command line and return its exit status.

    ``--version`` is answered before anything is imported: scripts ask it often.
    """
    if sys.argv[1:] == ["--version"]:
        with contextlib.suppress(OSError):  # what can't be written is told by the command line, below
            print(f"regsetup {__version__}", flush=True)  # noqa: T201  the one line that the renderer is too slow for
            return 0
    gc.set_threshold(_ALLOCATIONS)
    try:
        from regsetup.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before a command began; commands end by themselves
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from regsetup.cli import stopped

        return stopped(sys.argv[1:])
    finally:
        gc.freeze()  # nothing is looked through again at the end, which takes a tenth of a short command


if __name__ == "__main__":
    sys.exit(main())
