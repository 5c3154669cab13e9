"""The program's start: ``regsetup`` and ``python -m regsetup``."""

import sys

from regsetup import __version__


def main() -> int:
    """Run the command line and return its exit status.

    ``--version`` is answered before anything is imported: scripts ask it often.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"regsetup {__version__}")  # noqa: T201  the one line that the renderer is too slow for
        return 0
    from regsetup.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
